package config

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/reqtemplate"
	"github.com/refreshd/refreshd/internal/webaddr"
)

// tokenShape is what names of headers and cookies look like (RFC 9110 section
// 5.6.2, RFC 6265 section 4.1.1).
var tokenShape = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// operationShape is what names in GraphQL look like.
var operationShape = regexp.MustCompile(`^[_A-Za-z][_0-9A-Za-z]*$`)

// index is the key of an item of a list.
func index(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// checkCall looks at one call to a backend, if it is set.
func (l *loader) checkCall(key, section string, c HTTPCall) {
	at := join(key, section)
	if !l.set(at) {
		return
	}
	kind := kindOfCall(section)
	used := l.checkRequest(at+".request", kind, c.Request)
	if kind.needs == "" && !slices.Contains(used, reqtemplate.AccessToken) {
		l.checkRoom(at+".request.headers", l.carrier(key), c.Request.Headers)
	}
	if kind.needs != "" && !slices.Contains(used, kind.needs) && l.whole(at+".request") {
		l.refuse(at+".request", "{{.%s}} stands nowhere in it, and %s; write it where the backend expects it", kind.needs, kind.why)
	}
	if section == extendCall && !slices.Contains(used, reqtemplate.AccessToken) {
		_, name, _ := strings.Cut(key, ".")
		l.checkSent(key, l.cfg.Providers[name].Login.Response)
	}
	l.checkResponse(at+".response", kind, c.Response)
	for i, f := range c.FailedWhen {
		l.checkFailure(index(at+".failed_when", i), f)
	}
}

// carrier returns how the requests of a provider carry the token.
func (l *loader) carrier(key string) Send {
	_, name, _ := strings.Cut(key, ".")
	return l.cfg.Providers[name].Send
}

// checkRoom refuses a header that stands where the token will.
func (l *loader) checkRoom(key string, send Send, headers map[string]credential.Secret) {
	carrier := cmp.Or(send.Header, "Authorization")
	if send.Cookie != "" {
		carrier = "Cookie"
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if strings.EqualFold(name, carrier) {
			l.refuse(join(key, name), "the token travels in this header; write {{.access_token}} where it has to be, or remove the header")
		}
	}
}

// checkRequest looks at what is sent, and returns the fields that its templates
// hold.
func (l *loader) checkRequest(key string, kind callKind, r HTTPRequest) []reqtemplate.Field {
	u := use{loader: l, kind: kind}
	graphQL := l.set(key + ".graphql")
	if r.Method == "" && !graphQL && l.readable(key+".method") {
		l.refuse(key+".method", "it is missing; write GET or POST")
	}
	u.address(key+".url", r.URL)
	var bodies []string
	for _, body := range []string{"form", "json", "graphql"} {
		if l.set(join(key, body)) {
			bodies = append(bodies, body)
		}
	}
	switch {
	case len(bodies) > 1:
		l.refuse(key, "it has both %s and %s; a request has one body", bodies[0], bodies[1])
	case len(bodies) == 1 && r.Method == http.MethodGet:
		l.refuse(key+".method", "GET has no body, and %s is set; write query instead, or method: POST", bodies[0])
	}
	if graphQL {
		if r.Method != "" && r.Method != http.MethodPost && r.Method != http.MethodGet {
			l.refuse(key+".method", "%s is not the method of graphql, which is POST; remove method", r.Method)
		}
		u.graphQL(key+".graphql", r.GraphQL)
	}
	u.headers(key+".headers", r.Headers)
	for _, name := range slices.Sorted(maps.Keys(r.Query)) {
		u.name(key+".query", name)
		u.inAddress(join(key+".query", name), u.text(join(key+".query", name), r.Query[name].Reveal()))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Form)) {
		u.name(key+".form", name)
		u.text(join(key+".form", name), r.Form[name].Reveal())
	}
	u.value(key+".json", r.JSON)
	return u.fields
}

// use gathers which fields a request holds.
type use struct {
	*loader

	kind   callKind
	fields []reqtemplate.Field
}

// text looks at a template, and returns the fields in it.
func (u *use) text(key, text string) []reqtemplate.Field {
	tmpl, err := reqtemplate.Parse(text)
	if unknown, ok := errors.AsType[*reqtemplate.UnknownFieldError](err); ok {
		u.refuse(key, "%s", unknown.Among(u.kind.fields))
		return nil
	}
	if err != nil {
		u.refuse(key, "%v", err)
		return nil
	}
	fields := tmpl.Fields()
	for _, f := range fields {
		if !slices.Contains(u.kind.fields, f) {
			u.refuse(key, "{{.%s}} is not known in %s; known there: %s", f, u.kind.section, written(u.kind.fields))
		}
	}
	u.fields = append(u.fields, fields...)
	return fields
}

func written(fields []reqtemplate.Field) string {
	var names []string
	for _, f := range fields {
		names = append(names, "{{."+string(f)+"}}")
	}
	return strings.Join(names, ", ")
}

// inAddress warns about secrets in a URL.
func (u *use) inAddress(key string, fields []reqtemplate.Field) {
	for _, f := range fields {
		if f.Secret() {
			u.warn(key, "{{.%s}} becomes part of an address, which servers and proxies on the way write into their logs; send it in the body or a header if the backend takes it there", f)
		}
	}
}

// address looks at a URL with templates in it.
func (u *use) address(key, text string) {
	if text == "" {
		if u.readable(key) {
			u.refuse(key, "it is missing; write https://…")
		}
		return
	}
	fields := u.text(key, text)
	if !u.readable(key) {
		return
	}
	u.inAddress(key, fields)
	_, rest, _ := strings.Cut(text, "://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	if strings.Contains(rest, "{{") || strings.HasPrefix(text, "{{") {
		u.refuse(key, "a template stands in its host, so that whoever sets that value could choose who gets the credential; write the host out")
		return
	}
	tmpl, _ := reqtemplate.Parse(text)
	if err := webaddr.CheckEndpoint(tmpl.Render(func(reqtemplate.Field) string { return "x" }), false); err != nil {
		u.refuse(key, "%v", err)
	}
}

// headers looks at names and values of headers.
func (u *use) headers(key string, headers map[string]credential.Secret) {
	first := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		at := join(key, name)
		if u.checkHeaderName(at, name) {
			switch lower := strings.ToLower(name); {
			case first[lower] != "":
				u.refuse(at, "it is the same header as %s; remove one of them", first[lower])
			case slices.Contains(reservedHeaders(), lower):
				u.refuse(at, "this header is set where the request is sent, or could make it be sent twice; remove it")
			default:
				first[lower] = name
			}
		}
		u.text(at, headers[name].Reveal())
	}
}

// reservedHeaders lists what belongs to the transport. With an idempotency key
// Go's HTTP client sends a request again by itself.
func reservedHeaders() []string {
	return []string{
		"accept-encoding", "connection", "content-encoding", "content-length", "expect", "host", "idempotency-key", "keep-alive",
		"proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "x-idempotency-key",
	}
}

func (l *loader) checkHeaderName(key, name string) bool {
	if tokenShape.MatchString(name) {
		return true
	}
	l.refuse(key, "%q is not the name of a header; use letters, digits and - (RFC 9110, section 5.1)", name)
	return false
}

func (l *loader) checkCookieName(key, name string) {
	if !tokenShape.MatchString(name) {
		l.refuse(key, "%q is not the name of a cookie; use letters, digits, _ and - (RFC 6265, section 4.1.1)", name)
	}
}

// graphQL looks at a query and its variables.
func (u *use) graphQL(key string, g GraphQL) {
	switch {
	case g.Query == "" && u.readable(key+".query"):
		u.refuse(key+".query", "it is missing; write the query or mutation")
	case strings.Contains(g.Query, "{{"):
		u.refuse(key+".query", "it holds {{, and a query is sent as it is, so that no value can change it; declare $variables and put the templates into variables")
	}
	if g.OperationName != "" && !operationShape.MatchString(g.OperationName) {
		u.refuse(key+".operation_name", "%q is not a name in GraphQL; use letters, digits and _", g.OperationName)
	}
	if _, object := g.Variables.(map[string]any); g.Variables != nil && !object {
		u.refuse(key+".variables", "a mapping is expected, with a value for each variable of the query")
	}
	u.value(key+".variables", g.Variables)
}

// name looks at a name within the key.
func (u *use) name(key, name string) {
	if strings.Contains(name, "{{") {
		u.refuse(key, "a name in it holds {{, and templates stand in values only; write the name out")
	}
}

// value looks at the texts within a JSON value.
func (u *use) value(key string, value any) {
	switch value := value.(type) {
	case string:
		u.text(key, value)
	case []any:
		for i, item := range value {
			u.value(index(key, i), item)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			u.name(key, name)
			u.value(join(key, name), value[name])
		}
	}
}

// whole reports whether nothing below the key was refused, so that what is
// missing there is really not there.
func (l *loader) whole(key string) bool {
	for bad := range l.bad {
		if rest, below := strings.CutPrefix(bad, key); below && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return false
		}
	}
	return true
}
