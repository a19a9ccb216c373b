package httpflow

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/refreshd/refreshd/internal/provider/wire"
	"github.com/refreshd/refreshd/internal/reqtemplate"
)

// request makes a request of its declaration.
func (b *builder) request(key string, in Request) request {
	q := request{key: key, method: in.Method, plain: b.plain()}
	b.url(key+".url", in.URL, &q)
	q.query = b.pairs(key+".query", in.Query)
	b.headers(key+".headers", in.Headers, &q)
	b.body(key, in, &q)
	if q.method == "" {
		q.method = http.MethodPost
		if !q.hasBody && !q.hasForm && (b.kind == kindExtend || b.kind == kindVerify || b.kind == kindUserData) {
			q.method = http.MethodGet
		}
	}
	if methods := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}; !slices.Contains(methods, q.method) {
		b.problem(key+".method", fmt.Errorf("it is %q; give one of %v", q.method, methods))
	}
	if q.method == http.MethodGet && (q.hasBody || q.hasForm) {
		b.problem(key+".method", errors.New("it is GET, and there is a body; give POST, or query in place of the body"))
	}
	if q.graphQL && q.method != http.MethodPost {
		b.problem(key+".method", fmt.Errorf("it is %s, and GraphQL is a POST; drop it", q.method))
	}
	b.carries(key, &q)
	q.fields = b.fields
	return q
}

// carries checks that what the call is about is in its request, or has it added.
func (b *builder) carries(key string, q *request) {
	has := func(f reqtemplate.Field) bool { return slices.Contains(b.fields, f) }
	switch b.kind {
	case kindLogin:
		if !has(reqtemplate.Password) {
			b.problem(key, errors.New("it has no {{.password}} in it, so it can log nobody in; put it where the backend wants it"))
		}
	case kindRefresh:
		if !has(reqtemplate.RefreshToken) {
			b.problem(key, errors.New("it has no {{.refresh_token}} in it; put it where the backend wants it"))
		}
	case kindExtend, kindVerify, kindUserData, kindLogout:
		if has(reqtemplate.AccessToken) {
			return
		}
		send := b.options.Send
		if send.As == "" {
			send.As = AsBearer
		}
		name := "Authorization"
		if send.As == AsHeader {
			name = send.Name
		}
		if send.As != AsCookie && slices.ContainsFunc(q.headers, func(h header) bool { return strings.EqualFold(h.name, name) }) {
			b.problem(key+".headers."+name, errors.New("the token would travel in this header, which is taken; put {{.access_token}} where the token has to be"))
		}
		q.send = &send
	}
}

// plain returns the headers of every request.
func (b *builder) plain() http.Header {
	agent := "refreshd"
	if b.options.Version != "" {
		agent += "/" + b.options.Version
	}
	return http.Header{"Accept": {"application/json"}, "User-Agent": {agent}}
}

// url reads the URL of a request. What it holds beside scheme and host may be a
// secret and is not quoted.
func (b *builder) url(key, text string, q *request) {
	q.target, q.search = new(reqtemplate.Template), new(reqtemplate.Template)
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		b.problem(key, errors.New("it is not an absolute URL; write https://host/path"))
		return
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, target := rest[:end], rest[end:]
	if strings.Contains(scheme+host, opening) {
		b.problem(key, errors.New("it has a template in its host, by which a value would choose who gets the credential; write the host out"))
		return
	}
	if strings.Contains(target, "#") {
		b.problem(key, errors.New("it has a fragment, which is never sent; remove what follows the #"))
		return
	}
	target, search, _ := strings.Cut(target, "?")
	before := len(*b.problems)
	path, query := b.template(key, target), b.template(key, search)
	if len(*b.problems) > before {
		return
	}
	q.origin, q.target, q.search = scheme+"://"+host, path, query
	u, err := url.Parse(q.origin + q.path())
	switch {
	case err != nil:
		b.problem(key, errors.New("it cannot be read as a URL; write https://host/path"))
	case u.User != nil:
		b.problem(key, errors.New(`it has a user in it; give the header Authorization: "Basic {{.username}}:{{.password}}" instead`))
	default:
		if err := wire.CheckURL(u, false); err != nil {
			b.problem(key, fmt.Errorf("it %w", err))
			return
		}
		if _, err := q.url(func(reqtemplate.Field) string { return "x" }); err != nil {
			b.problem(key, errors.New("a part of its path is . or .., which leads elsewhere; write the path out"))
		}
	}
}

// headers reads the declared headers.
func (b *builder) headers(key string, in map[string]string, q *request) {
	taken := make(map[string]bool)
	for _, p := range b.pairs(key, in) {
		canonical := http.CanonicalHeaderKey(p.name)
		at := key + "." + p.name
		if err := checkHeaderName(p.name); err != nil {
			b.problem(at, err)
			continue
		}
		if taken[canonical] {
			b.problem(at, errors.New("it is given twice, in other letters; drop one of them"))
		}
		taken[canonical] = true
		h := header{pair: p}
		if rest, ok := strings.CutPrefix(in[p.name], "Basic "); ok && strings.Contains(rest, ":") {
			if t, err := reqtemplate.Parse(rest); err == nil {
				h.value, h.basic = t, true
			}
		}
		if !printable(in[p.name]) {
			b.problem(at, errors.New("it has a control character or a line break in it"))
		}
		q.headers = append(q.headers, h)
	}
}

// body reads what a request carries.
func (b *builder) body(key string, in Request, q *request) {
	kinds := 0
	for _, given := range []bool{in.Form != nil, in.JSON != nil, in.GraphQL != nil} {
		if given {
			kinds++
		}
	}
	if kinds > 1 {
		b.problem(key, errors.New("it has more than one of form, json and graphql; a request has one body"))
		return
	}
	kind := ""
	switch {
	case in.Form != nil:
		q.form, q.hasForm = b.pairs(key+".form", in.Form), true
		kind = "application/x-www-form-urlencoded"
	case in.JSON != nil:
		q.body, q.hasBody = b.tree(key+".json", in.JSON), true
		kind = "application/json"
	case in.GraphQL != nil:
		q.body, q.hasBody, q.graphQL = b.graphQL(key+".graphql", *in.GraphQL), true, true
		kind = "application/json"
	}
	if kind != "" {
		q.plain.Set("Content-Type", kind)
	}
}

// graphQL returns the body of a GraphQL request (GraphQL over HTTP, "Request
// Parameters").
func (b *builder) graphQL(key string, in GraphQL) any {
	switch {
	case strings.TrimSpace(in.Query) == "":
		b.problem(key+".query", errors.New("it is empty"))
	case strings.Contains(in.Query, opening):
		b.problem(key+".query", errors.New("it has a template in it, by which a value could change what is asked; put the value into variables"))
	case strings.Contains(in.OperationName, opening):
		b.problem(key+".operation_name", errors.New("it has a template in it; templates are for variables"))
	default:
		body := map[string]any{"query": b.template(key+".query", in.Query)}
		if in.Variables != nil {
			body["variables"] = b.tree(key+".variables", in.Variables)
		}
		if in.OperationName != "" {
			body["operationName"] = b.template(key+".operation_name", in.OperationName)
		}
		return body
	}
	return nil
}
