package httpflow

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/refreshd/refreshd/internal/provider/wire"
	"github.com/refreshd/refreshd/internal/reqtemplate"
)

// request is a declared request, ready to be rendered. It is safe for concurrent
// use.
type request struct {
	key     string // what the settings call it
	method  string
	origin  string // scheme and host
	target  *reqtemplate.Template
	search  *reqtemplate.Template // the query that the URL has
	query   []pair
	headers []header
	plain   http.Header // those that are the same each time
	form    []pair      // with hasForm
	hasForm bool
	body    any // a tree, with hasBody
	hasBody bool
	graphQL bool
	fields  []reqtemplate.Field // that it uses
	send    *Send               // adds the token; nil if the request has it, or none
}

// header is a declared header.
type header struct {
	pair

	basic bool // the value goes into base64 (RFC 7617)
}

// path returns the path that the request is sent to, as it is declared.
func (q *request) path() string {
	return q.target.Render(func(reqtemplate.Field) string { return "x" })
}

// render makes the request. The error is an [emptyError] or an [unfitError].
func (q *request) render(get values) (wire.Request, error) {
	for _, f := range q.fields {
		if get(f) == "" {
			return wire.Request{}, &emptyError{q.key, f}
		}
	}
	if q.send != nil && get(reqtemplate.AccessToken) == "" {
		return wire.Request{}, &emptyError{q.key, reqtemplate.AccessToken}
	}
	to, err := q.url(get)
	if err != nil {
		return wire.Request{}, err
	}
	head, err := q.header(get)
	if err != nil {
		return wire.Request{}, err
	}
	out := wire.Request{Method: q.method, URL: to, Header: head}
	switch {
	case q.hasForm:
		out.Body = encode(q.form, get)
	case q.hasBody:
		out.Body, err = writeJSON(q.key, q.body, get)
	}
	return out, err
}

// encode renders pairs as application/x-www-form-urlencoded.
func encode(list []pair, get values) string {
	var parts []string
	for _, p := range list {
		parts = append(parts, url.QueryEscape(p.name)+"="+url.QueryEscape(p.value.Render(get)))
	}
	return strings.Join(parts, "&")
}

// url renders the URL. Values neither leave their path segment nor become one
// that leads upwards (RFC 3986 section 5.2.4).
func (q *request) url(get values) (*url.URL, error) {
	escaped := func(f reqtemplate.Field) string { return url.PathEscape(get(f)) }
	target := q.target.Render(escaped)
	to, err := url.Parse(q.origin + target)
	if err != nil || !straight(target) {
		return nil, &unfitError{q.key + ".url", q.astray(escaped), "leads to another path"}
	}
	search := q.search.Render(func(f reqtemplate.Field) string { return url.QueryEscape(get(f)) })
	if more := encode(q.query, get); search == "" {
		search = more
	} else if more != "" {
		search += "&" + more
	}
	to.RawQuery = search
	return to, nil
}

// astray returns the field whose value leads a path to another one: the first that
// does so alone, else the last.
func (q *request) astray(escaped values) (field reqtemplate.Field) {
	for _, field = range q.target.Fields() {
		alone := func(f reqtemplate.Field) string {
			if f != field {
				return "x"
			}
			return escaped(f)
		}
		if !straight(q.target.Render(alone)) {
			break
		}
	}
	return field
}

// straight reports whether no segment of a path leads upwards, or nowhere, however it
// is escaped.
func straight(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		plain, err := url.PathUnescape(segment)
		if err != nil {
			return false
		}
		for piece := range strings.FieldsFuncSeq(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
			if piece == "." || piece == ".." {
				return false
			}
		}
	}
	return true
}

// header renders the headers. A value that would end its line, or hold what a
// header cannot, is an error.
func (q *request) header(get values) (http.Header, error) {
	out := q.plain.Clone()
	for _, h := range q.headers {
		apart := strings.EqualFold(h.name, "Cookie")
		why, field := "", reqtemplate.Field("")
		text := h.value.Render(func(f reqtemplate.Field) string {
			value := get(f)
			switch {
			case h.basic && f == reqtemplate.Username && strings.Contains(value, ":"):
				why, field = "has a colon, which ends a user's name (RFC 7617 section 2)", f
			case !h.basic && !printable(value):
				why, field = "has a control character", f
			case apart && strings.Contains(value, ";"):
				why, field = "has a semicolon, which ends a cookie", f
			}
			return value
		})
		if why != "" {
			return nil, &unfitError{q.key + ".headers." + h.name, field, why}
		}
		if h.basic {
			text = "Basic " + base64.StdEncoding.EncodeToString([]byte(text))
		}
		out.Set(h.name, text)
	}
	if q.send == nil {
		return out, nil
	}
	token := get(reqtemplate.AccessToken)
	if !printable(token) || q.send.As == AsCookie && strings.Contains(token, ";") {
		return nil, &unfitError{"send", reqtemplate.AccessToken, "has a character that cannot travel there"}
	}
	switch q.send.As {
	case AsHeader:
		out.Set(q.send.Name, token)
	case AsCookie:
		cookies := q.send.Name + "=" + token
		if more := out.Get("Cookie"); more != "" {
			cookies = more + "; " + cookies
		}
		out.Set("Cookie", cookies)
	case AsBearer:
		out.Set("Authorization", "Bearer "+token)
	}
	return out, nil
}
