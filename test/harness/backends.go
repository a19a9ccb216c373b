package harness

import (
	"testing"

	"github.com/refreshd/refreshd/internal/practice/backends"
)

// NewBackend runs a practice backend on a loopback port until the end of the
// test and returns it with its URL.
func NewBackend(t testing.TB, o backends.Options) (*backends.Backend, string) {
	t.Helper()
	b := backends.New(o)
	return b, Serve(t, ServeHTTP(b))
}

// BackendSettings are a provider's settings in config.yaml for a practice
// backend at a URL: everything that such a backend has is declared. A session's
// times are for the caller to add.
func BackendSettings(kind backends.Kind, url string) map[string]any {
	const user, password = "{{.username}}", "{{.password}}"
	login := map[string]any{"method": "POST", "url": url + "/login"}
	me := map[string]any{"method": "GET", "url": url + "/me"}
	set := map[string]any{
		"kind":   "http",
		"limits": map[string]any{"concurrency": 64, "per_second": 500},
	}
	var told map[string]any
	extend := map[string]any{"request": me, "response": map[string]any{"user_data": "profile"}}
	session := map[string]any{"extend": extend, "logged_out_when": []any{map[string]any{"status": 401}}}
	switch kind {
	case backends.KindBearer:
		login["form"] = map[string]any{"username": user, "password": password}
		told = map[string]any{"access_token": "token", "expires_in": "expiresIn", "subject": "user.id", "user_data": "user.profile"}
		session = nil
	case backends.KindHeader:
		login["json"] = map[string]any{"user": user, "password": password}
		told = map[string]any{"access_token": map[string]any{"header": backends.SessionHeader}, "subject": "id", "user_data": "profile"}
		set["send"] = map[string]any{"header": backends.SessionHeader}
		extend["response"] = map[string]any{"user_data": "profile", "access_token": map[string]any{"header": backends.SessionHeader}}
	case backends.KindCookie:
		login["form"] = map[string]any{"username": user, "password": password}
		told = map[string]any{"access_token": map[string]any{"cookie": backends.SessionCookie}}
		set["send"] = map[string]any{"cookie": backends.SessionCookie}
		extend["response"] = map[string]any{"user_data": "profile", "access_token": map[string]any{"cookie": backends.SessionCookie}}
		session["logged_out_when"] = []any{map[string]any{"redirect": "*/login*"}}
	case backends.KindGraphQL:
		graph := url + "/graphql"
		login = map[string]any{"method": "POST", "url": graph, "graphql": map[string]any{
			"query":     "mutation Login($user: String!, $password: String!) { login(user: $user, password: $password) { token user { id profile } } }",
			"variables": map[string]any{"user": user, "password": password}, "operation_name": "Login",
		}}
		told = map[string]any{"access_token": "data.login.token", "subject": "data.login.user.id", "user_data": "data.login.user.profile"}
		extend["request"] = map[string]any{"method": "POST", "url": graph, "graphql": map[string]any{"query": "query Me { me { id profile } }"}}
		extend["response"] = map[string]any{"user_data": "data.me.profile"}
		session["logged_out_when"] = []any{map[string]any{"json": "errors.0.extensions.code", "equals": "UNAUTHENTICATED"}}
	}
	set["login"] = map[string]any{"request": login, "response": told}
	if session != nil {
		set["session"] = session
	}
	return set
}

// BackendRefresh adds to the settings of a bearer backend that its logins bring a
// refresh token, which rotates.
func BackendRefresh(set map[string]any, url string) {
	login := set["login"].(map[string]any)["response"].(map[string]any) //nolint:errcheck,forcetypeassert // made by BackendSettings
	login["refresh_token"] = "refreshToken"
	set["refresh"] = map[string]any{
		"request": map[string]any{"method": "POST", "url": url + "/refresh", "json": map[string]any{"refreshToken": "{{.refresh_token}}"}},
		"response": map[string]any{
			"access_token": "token", "refresh_token": "refreshToken", "expires_in": "expiresIn", "user_data": "user.profile",
		},
	}
	set["rotation"] = map[string]any{"rotates": "yes"}
}
