package api

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	problemType = "application/problem+json"
	jsonType    = "application/json"
	// typePrefix starts the type of every problem; its code follows.
	typePrefix = "urn:refreshd:problem:"
)

// Codes of problems that are not a [FaultKind].
const (
	codeUnauthorized = "unauthorized"     // no key, or one that does not exist
	codeForbidden    = "forbidden"        // the key may not do this
	codeBadRequest   = "bad_request"      // it cannot be read
	codeInvalid      = "invalid"          // it can be read, and a field is wrong
	codeNoRoute      = "no_such_route"    // nothing is served under that path
	codeBadMethod    = "bad_method"       // not with that method
	codeTooLarge     = "too_large"        // the body is over its limit
	codeSlowBody     = "slow_body"        // the body did not come in time
	codeMediaType    = "media_type"       // the body is not plain JSON
	codePrecondition = "precondition"     // If-Match or If-None-Match does not hold
	codeTooMany      = "too_many_streams" // every place for an event stream is taken
	codeManyTickets  = "too_many_tickets" // this key makes more tickets than anybody needs
	codeInternal     = "internal"         // a fault of the service itself
	codeSessionOver  = "session_over"     // touched, and the session had ended
	codeKeyNotFound  = "key_not_found"    // no API key has that ID
	codeLastAdmin    = "last_admin_key"   // revoking it would lock everybody out
	codeNoSignals    = "no_signals"       // no security event tokens are sent
	codeNoStream     = "no_stream"        // none are delivered so under that name
	codeNotTaken     = "not_taken"        // a receiver did not take one
)

// Problem is an error as RFC 9457 describes it. It never holds what was sent.
//
//nolint:errname // the name that it has in the OpenAPI document
type Problem struct {
	Type       string         `json:"type" doc:"A URN that ends in the code" example:"urn:refreshd:problem:not_found"`
	Title      string         `json:"title" doc:"The status in words" example:"Not Found"`
	Status     int            `json:"status" doc:"HTTP status" example:"404"`
	Code       string         `json:"code" doc:"What went wrong, for programs" example:"not_found"`
	Detail     string         `json:"detail" doc:"What went wrong and what to do, for people" example:"no credential has the ID github:alice"`
	State      string         `json:"state,omitempty" doc:"State of the credential, where that is the reason"`
	Reason     string         `json:"reason,omitempty" doc:"Why it is in that state, or why no token can be had"`
	Since      *time.Time     `json:"since,omitempty" doc:"When it entered that state"`
	RetryAfter int            `json:"retry_after,omitempty" doc:"Seconds after which to ask again, as in the Retry-After header"`
	Errors     []ProblemField `json:"errors,omitempty" nullable:"false" doc:"Where in the request the trouble is"`

	header http.Header
}

// ProblemField names one wrong part of a request.
type ProblemField struct {
	Location string `json:"location" doc:"Where" example:"body.token.expires_in"`
	Message  string `json:"message" doc:"What is wrong with it" example:"must be a whole number from 1 to 31622400"`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders returns the headers that go with the problem.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType makes a problem of what would be plain JSON.
func (p *Problem) ContentType(string) string { return problemType }

func problem(status int, code, detail string) *Problem {
	return &Problem{Type: typePrefix + code, Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// invalid is a problem with one field of the request.
func invalid(location, message string) *Problem {
	p := problem(http.StatusUnprocessableEntity, codeInvalid, location+" "+message)
	p.Errors = []ProblemField{{Location: location, Message: message}}
	return p
}

// with adds a header.
func (p *Problem) with(name, value string) *Problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(name, value)
	return p
}

// again says when to come back, in whole seconds and at least one.
func (p *Problem) again(wait time.Duration) *Problem {
	p.RetryAfter = max(int(math.Ceil(wait.Seconds())), 1)
	return p.with("Retry-After", strconv.Itoa(p.RetryAfter))
}

// write sends the problem outside of an operation.
func (p *Problem) write(w http.ResponseWriter) {
	h := w.Header()
	maps.Copy(h, p.header)
	h.Set("Content-Type", problemType)
	h.Set("Cache-Control", "no-store")
	body, err := json.Marshal(p)
	if err != nil { // its types cannot fail to encode
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // whoever asked may be gone
}

// faultStatus is the HTTP status of each kind of fault.
func faultStatus(kind FaultKind) int {
	switch kind {
	case FaultNotFound, FaultNoSubscription:
		return http.StatusNotFound
	case FaultInvalid, FaultUnknownProvider, FaultLoginRefused, FaultNoLogin, FaultDeadOnArrival, FaultMinTTL, FaultBadCursor, FaultBadFilter:
		return http.StatusUnprocessableEntity
	case FaultStaleToken, FaultConflict, FaultNotRefreshable, FaultFreshRejected, FaultNoSession, FaultState,
		FaultSubscriptionExists, FaultManagedByConfig, FaultTurnedOff, FaultNotDelivered:
		return http.StatusConflict
	case FaultForbidden:
		return http.StatusForbidden
	case FaultUnavailable:
		return http.StatusServiceUnavailable
	case FaultFull:
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

// problemOf turns an error of an interface in ports.go into a problem. It
// returns nil for one that callers must not see.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	fault, ok := errors.AsType[*FaultError](err)
	if !ok {
		return nil
	}
	p := problem(faultStatus(fault.Kind), string(fault.Kind), fault.Detail)
	p.Reason = string(fault.Reason)
	switch fault.Kind {
	case FaultState:
		p.Code = string(fault.State)
		p.Type = typePrefix + p.Code
		p.State = string(fault.State)
		p.Since = moment(fault.Since)
	case FaultUnavailable:
		return p.again(fault.RetryAfter)
	case FaultSubscriptionExists:
		if fault.RetryAfter > 0 {
			return p.again(fault.RetryAfter)
		}
	case FaultInvalid:
		return invalid(fault.Field, fault.Detail)
	case FaultLoginRefused:
		if fault.Reason == credential.ReasonAccountLocked {
			p.Code = string(fault.Reason)
			p.Type = typePrefix + p.Code
		}
	default:
	}
	return p
}

// at says which part of the request a fault is about.
func (p *Problem) at(location string) *Problem {
	p.Errors = []ProblemField{{Location: location, Message: p.Detail}}
	return p
}

// moment is a time as the API shows it, nil for none.
func moment(m credential.Millis) *time.Time {
	if m == 0 {
		return nil
	}
	return new(m.Time())
}

// concealing returns the transformer that turns huma's own errors into
// problems. Huma's tell which value was wrong; ours do not, for it may be a
// secret that was put into the wrong place.
func concealing(_ huma.Context, _ string, body any) (any, error) {
	model, ok := body.(*huma.ErrorModel)
	if !ok {
		return body, nil
	}
	p := problem(model.Status, codeOf(model.Status), model.Detail)
	for _, detail := range model.Errors {
		if detail != nil {
			p.Errors = append(p.Errors, ProblemField{Location: detail.Location, Message: detail.Message})
		}
	}
	if len(p.Errors) > 0 {
		p.Detail = p.Errors[0].Location + ": " + p.Errors[0].Message
	}
	return p, nil
}

func codeOf(status int) string {
	switch status {
	case http.StatusUnprocessableEntity:
		return codeInvalid
	case http.StatusInternalServerError:
		return codeInternal
	default:
		return codeBadRequest
	}
}
