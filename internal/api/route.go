package api

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/rs/zerolog"
)

// The ways of authentication, as the OpenAPI document names them.
const (
	securityKey    = "key"
	securityTicket = "ticket"
)

// route is one operation: how it is reached, who may, and what it answers.
type route struct {
	method, path string
	id           string // operationId
	tag          string
	summary      string // a few words
	description  string
	public       bool    // needs no key
	needs        []Scope // one of them; none: any key will do
	creates      bool    // what is stored under the ID need not be the caller's: the engine sees to that
	tickets      bool    // a ticket does in place of a key
	bodyLimit    int64   // 64 KiB if 0
	bodyOptional bool
	success      int   // status; 200 if 0
	problems     []int // beyond those that follow from the rest
	responses    map[string]*huma.Response
}

func (rt route) withID() bool { return strings.Contains(rt.path, "{id}") }

// define registers an operation: its place in the router and in the OpenAPI
// document, and what is checked before handle is called. I declares parameters
// and body, O headers and body of the answer.
func define[I, O any](a *API, rt route, handle func(context.Context, *I) (*O, error)) {
	in := reflect.TypeFor[I]()
	op := a.operation(rt, in)
	op.Middlewares = a.checks(rt, in)
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, a.explain(ctx, err, rt.id)
		}
		return out, nil
	})
}

// checks returns what a request passes before its operation.
func (a *API) checks(rt route, in reflect.Type) huma.Middlewares {
	var list huma.Middlewares
	if !rt.public {
		list = append(list, a.guard(rt))
	}
	known, many := queryNames(in)
	list = append(list, func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		if _, p := checkQuery(r, known, many); p != nil {
			p.write(w)
			return
		}
		next(ctx)
	})
	if body, ok := in.FieldByName("Body"); ok {
		list = append(list, readBody(body.Type, rt.limit(), !rt.bodyOptional))
	}
	return list
}

func (rt route) limit() int64 {
	if rt.bodyLimit == 0 {
		return bodyLimit
	}
	return rt.bodyLimit
}

// queryNames returns the query parameters that an input declares, and which of
// them may be repeated.
func queryNames(in reflect.Type) (known, many []string) {
	for _, field := range reflect.VisibleFields(in) {
		tag := field.Tag.Get("query")
		if tag == "" {
			continue
		}
		name, _, _ := strings.Cut(tag, ",")
		known = append(known, name)
		if field.Type.Kind() == reflect.Slice {
			many = append(many, name)
		}
	}
	slices.Sort(known)
	return known, many
}

// operation describes a route to huma.
func (a *API) operation(rt route, in reflect.Type) huma.Operation {
	_, withBody := in.FieldByName("Body")
	op := huma.Operation{
		OperationID: rt.id, Method: rt.method, Path: rt.path,
		Tags: []string{rt.tag}, Summary: rt.summary, Description: rt.description,
		DefaultStatus: rt.success, Responses: map[string]*huma.Response{},
		// The body was read when huma sees it. A deadline would stay on the
		// connection and cancel the request's context.
		BodyReadTimeout: -1, MaxBodyBytes: rt.limit() + 1,
	}
	maps.Copy(op.Responses, rt.responses)
	statuses := append([]int{http.StatusInternalServerError}, rt.problems...)
	if !rt.public {
		statuses = append(statuses, http.StatusUnauthorized, http.StatusForbidden, http.StatusServiceUnavailable)
		op.Security = security(rt)
	}
	if known, _ := queryNames(in); withBody || rt.withID() || len(known) > 0 {
		statuses = append(statuses, http.StatusBadRequest, http.StatusUnprocessableEntity)
	}
	if withBody {
		statuses = append(statuses, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	for _, status := range statuses {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{problemType: {Schema: schema}},
		}
	}
	return op
}

// security lists the scopes of which a key needs one, and what does in place of
// a key.
func security(rt route) []map[string][]string {
	if len(rt.needs) == 0 {
		return []map[string][]string{{securityKey: {}}}
	}
	list := make([]map[string][]string, 0, len(rt.needs)+1)
	for _, scope := range rt.needs {
		list = append(list, map[string][]string{securityKey: {string(scope)}})
	}
	if rt.tickets {
		list = append(list, map[string][]string{securityTicket: {}})
	}
	return list
}

// explain turns an error into the problem that is answered. What callers must
// not see is logged.
func (a *API) explain(ctx context.Context, err error, operation string) *Problem {
	p := problemOf(err)
	switch {
	case p != nil && p.Code == string(FaultNotFound) && a.lost() != "":
		p = untold("whether it is stored", a.lost())
	case p != nil:
		if fault, ok := errors.AsType[*FaultError](err); ok && fault.Err != nil {
			level := zerolog.DebugLevel
			if word := outage(fault.Err); word != "" && fault.Kind == FaultUnavailable {
				p.Detail += ": " + word
				level = zerolog.WarnLevel
			}
			a.log.WithLevel(level).Err(fault.Err).Str("operation", operation).Str("code", p.Code).Msg("request not fulfilled")
		}
	case ctx.Err() != nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		p = problem(http.StatusServiceUnavailable, string(FaultUnavailable), "the answer was not there in time; Redis or the provider may be slow or away").again(0)
	case outage(err) != "":
		a.log.Warn().Err(err).Str("operation", operation).Msg("what the request needs does not serve it now")
		p = problem(http.StatusServiceUnavailable, string(FaultUnavailable), outage(err)).again(time.Second)
	default:
		a.log.Error().Err(err).Str("operation", operation).Msg("request failed")
		p = problem(http.StatusInternalServerError, codeInternal, "this is a fault of the service; its log has the cause")
	}
	return p
}

// lost says in which way the store has lost what it held, "" where it has not.
func (a *API) lost() string {
	if a.emptied == nil {
		return ""
	}
	return a.emptied()
}

// untold says what cannot be told because the store has lost what it held.
func untold(what, lost string) *Problem {
	return problem(http.StatusServiceUnavailable, string(FaultUnavailable), what+" cannot be told: "+lost).again(time.Second)
}

// answer describes a response whose body is like the sample. A header is a
// text.
func (a *API) answer(description string, sample any, headers ...string) *huma.Response {
	schemas := a.huma.OpenAPI().Components.Schemas
	t := reflect.TypeOf(sample)
	response := &huma.Response{
		Description: description,
		Content:     map[string]*huma.MediaType{jsonType: {Schema: schemas.Schema(t, true, t.Name())}},
	}
	for _, name := range headers {
		if response.Headers == nil {
			response.Headers = map[string]*huma.Param{}
		}
		response.Headers[name] = &huma.Header{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	return response
}
