package main

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What the library does with RFC 6749, section 2.3.1: it decodes both halves
// of the Basic header, always.
func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	const (
		oddID     = "odd:client/ü+%"
		oddSecret = "p%41ss w+rd&=:/ü€"
	)
	p := startProvider(t, "--client", url.QueryEscape(oddID)+":"+url.QueryEscape(oddSecret), "--client", "percent:"+url.QueryEscape("p%41ss"))
	raw := func(id, secret string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(id, secret) }
	}
	none := func(*http.Request) {}
	post := func(id, secret string) url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	for _, tc := range []struct {
		name   string
		form   url.Values
		auth   func(*http.Request)
		status int
		error  string
	}{
		{"basic", form, basic(testID, testSecret), http.StatusOK, ""},
		{"basic, odd characters form-encoded", form, basic(oddID, oddSecret), http.StatusOK, ""},
		{"basic, wrong secret", form, basic(testID, "wrong"), http.StatusUnauthorized, "invalid_client"},
		{"basic, unknown client", form, basic("nobody", testSecret), http.StatusUnauthorized, "invalid_client"},
		{"basic, not form-encoded and not decodable", form, raw(testID, "100%"), http.StatusBadRequest, "invalid_request"},
		{"basic, form-encoded percent sign", form, basic("percent", "p%41ss"), http.StatusOK, ""},
		{"basic, not form-encoded percent sign", form, raw("percent", "p%41ss"), http.StatusUnauthorized, "invalid_client"},
		{"post", post(testID, testSecret), none, http.StatusOK, ""},
		{"post, odd characters", post(oddID, oddSecret), none, http.StatusOK, ""},
		{"post, wrong secret", post(testID, "wrong"), none, http.StatusUnauthorized, "invalid_client"},
		{"nothing", form, none, http.StatusBadRequest, "invalid_request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := p.post(t, "/token", tc.form, tc.auth)
			assert.Equal(t, tc.status, a.status)
			assert.Equal(t, tc.error, a.Error)
			assert.Empty(t, a.header.Get("WWW-Authenticate"), "RFC 6749, section 5.2 asks for it beside a 401; the library sends none")
		})
	}
}
