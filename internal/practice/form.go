package practice

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxForm is the largest body of a token call in bytes.
const maxForm = 64 << 10

// form holds the parameters of a call that this server knows. A parameter
// without a value counts as left out (RFC 6749, 3.2).
type form struct {
	grantType       string
	refreshToken    string
	clientID        string
	clientSecret    string
	scope           string
	token           string // of /revoke and /introspect
	hasClientSecret bool
}

// formError says what is wrong with a body, in words fit for
// error_description.
type formError struct{ what string }

func (e *formError) Error() string { return e.what }

// parseForm reads an application/x-www-form-urlencoded body. It does what
// url.ParseQuery does, without a map, and refuses a known parameter that comes
// twice (RFC 6749, 3.2).
func parseForm(body string) (form, error) {
	var f form
	for body != "" {
		var pair string
		pair, body, _ = strings.Cut(body, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, okName := unescape(name)
		value, okValue := unescape(value)
		if !okName || !okValue || strings.IndexByte(pair, ';') >= 0 {
			return form{}, &formError{"The request body is not properly form-encoded."}
		}
		field := f.field(name)
		if field == nil || value == "" && name != "client_secret" {
			continue
		}
		if *field != "" || name == "client_secret" && f.hasClientSecret {
			return form{}, &formError{"A parameter is there more than once."}
		}
		*field = value
		f.hasClientSecret = f.hasClientSecret || name == "client_secret"
	}
	return f, nil
}

func (f *form) field(name string) *string {
	switch name {
	case "grant_type":
		return &f.grantType
	case "refresh_token":
		return &f.refreshToken
	case "client_id":
		return &f.clientID
	case "client_secret":
		return &f.clientSecret
	case "scope":
		return &f.scope
	case "token":
		return &f.token
	default:
		return nil
	}
}

// unescape undoes form encoding; a text without an escape is returned as it is.
func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, true
	}
	decoded, err := url.QueryUnescape(s)
	return decoded, err == nil
}

// readForm reads and parses a request's body, to its very end: only then does
// net/http watch the connection for a client that goes away. An error other
// than a *formError means that the connection broke.
func (s *Server) readForm(r *http.Request) (form, error) {
	if t := r.Header.Get("Content-Type"); t != formType && mediaType(t) != formType {
		return form{}, &formError{"The Content-Type has to be " + formType + "."}
	}
	buf, _ := s.buffers.Get().(*bytes.Buffer)
	defer s.buffers.Put(buf)
	buf.Reset()
	if _, err := buf.ReadFrom(io.LimitReader(r.Body, maxForm+1)); err != nil {
		return form{}, err
	}
	if buf.Len() > maxForm {
		return form{}, &formError{"The request body is too large."}
	}
	return parseForm(buf.String())
}

const formType = "application/x-www-form-urlencoded"

func mediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}
