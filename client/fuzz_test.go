package client_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/client"
)

// FuzzReply feeds the client what is said to be refreshd's answer. What it
// makes of it is an error, or a token that a request can carry and that has
// not ended.
func FuzzReply(f *testing.F) {
	f.Add(200, "application/json", `{"access_token":"a","token_type":"Bearer","expires_in":60,"expires_at":"2026-01-02T03:04:05Z","send":{"as":"cookie","name":"sid"}}`)
	f.Add(200, "application/json", `{"access_token":"a","expires_in":9223372036854775807,"send":{"as":"odd","name":"\u0000"}}`)
	f.Add(202, "application/json", `{"access_token":"a","expires_in":1e400}`)
	f.Add(409, "application/problem+json", `{"code":"reauth_required","since":"2026-01-02T03:04:05Z","errors":[{}]}`)
	f.Add(503, "application/problem+json; charset=utf-8", `{"code":"unavailable","detail":"\u001b\ud800","errors":null}`)
	f.Fuzz(func(t *testing.T, status int, kind, body string) {
		if status < 200 || status > 999 {
			return
		}
		desk := newTokenDesk()
		desk.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{kind}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
		c := desk.client(t, client.Options{})
		token, err := c.Token(t.Context(), "alice")
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") || len(err.Error()) > 2000 {
				t.Errorf("the error is not fit to be shown: %q", err)
			}
			return
		}
		if token.AccessToken == "" || !token.ExpiresAt.After(time.Now()) {
			t.Errorf("handed out %v", token)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1", nil)
		if err != nil {
			t.Fatal(err)
		}
		token.Apply(req)
		for name, values := range req.Header {
			if strings.ContainsAny(name+strings.Join(values, ""), "\r\n\x00") {
				t.Errorf("the request cannot be sent: %q", name)
			}
		}
	})
}
