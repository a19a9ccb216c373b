package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// backendPassword is what the backend takes, of any user but locked.
const backendPassword = `pw-canary "of+every\user`

// backendToken starts the tokens that the backend issues; the user's name
// follows.
const backendToken = "shop-token-of-"

// startBackend starts a backend of one's own: it signs in with a name and a
// password, and tells of its user. The user locked is locked, for the user away
// it is away, and the user eager calls too often.
func startBackend(t testing.TB) string {
	t.Helper()
	mux := http.NewServeMux()
	signIn := func(w http.ResponseWriter, r *http.Request) (user string, ok bool) {
		var in struct {
			Username string `json:"username"`
			Password string `json:"password"`
		}
		switch err := json.NewDecoder(r.Body).Decode(&in); {
		case err != nil:
			w.WriteHeader(http.StatusBadRequest)
		case in.Username == "away":
			w.WriteHeader(http.StatusServiceUnavailable)
		case in.Username == "eager":
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(http.StatusTooManyRequests)
		case in.Username == "locked":
			w.WriteHeader(http.StatusLocked)
		case in.Password != backendPassword:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			return in.Username, true
		}
		return "", false
	}
	known := func(w http.ResponseWriter, text string) (user string, ok bool) {
		user, ok = strings.CutPrefix(text, backendToken)
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
		}
		return user, ok
	}
	tell := func(w http.ResponseWriter, format, user string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, format, user)
	}
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if user, ok := signIn(w, r); ok {
			tell(w, `{"token": "`+backendToken+`%[1]s", "expiresIn": 3600, "user": {"id": "uid-%[1]s", "role": "clerk"}}`, user)
		}
	})
	mux.HandleFunc("POST /session", func(w http.ResponseWriter, r *http.Request) {
		if user, ok := signIn(w, r); ok {
			w.Header().Set("X-Session-Token", backendToken+user)
			tell(w, `{"id": "uid-%s"}`, user)
		}
	})
	mux.HandleFunc("GET /me", func(w http.ResponseWriter, r *http.Request) {
		if user, ok := known(w, r.Header.Get("X-Session-Token")); ok {
			tell(w, `{"id": "uid-%s"}`, user)
		}
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, ok := known(w, text); ok {
			w.WriteHeader(http.StatusNoContent)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func loginRequest(url string) map[string]any {
	return map[string]any{"method": "POST", "url": url, "json": map[string]string{"username": "{{.username}}", "password": "{{.password}}"}}
}

func shopSettings(url string) map[string]any {
	return map[string]any{
		"kind": "http",
		"login": map[string]any{
			"request":  loginRequest(url + "/login"),
			"response": map[string]string{"access_token": "token", "expires_in": "expiresIn", "subject": "user.id", "user_data": "user"},
		},
		"logout": map[string]any{"request": map[string]any{"method": "POST", "url": url + "/logout"}},
	}
}

func airlineSettings(url string) map[string]any {
	return map[string]any{
		"kind": "http",
		"login": map[string]any{
			"request":  loginRequest(url + "/session"),
			"response": map[string]any{"access_token": map[string]string{"header": "X-Session-Token"}, "subject": "id"},
		},
		"send": map[string]string{"header": "X-Session-Token"},
		"session": map[string]any{
			"idle_timeout": "15m", "absolute_timeout": "8h", "warn_before": "2m",
			"extend": map[string]any{"request": map[string]any{"method": "GET", "url": url + "/me"}},
		},
	}
}
