package backends

import (
	"encoding/json"
	"maps"
	"net/http"
)

// loginPage is what an app shows to whoever has to log in.
const loginPage = `<!doctype html><title>Log in</title><form method="post" action="/login"><input name="username"><input type="password" name="password"></form>`

// answer is a reply before it is written.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// answer is the reply in the form in which replies are written.
func (r *Reply) answer() answer {
	a := answer{status: r.Status, body: []byte(r.Body)}
	for name, value := range r.Header {
		a.set(name, value)
	}
	return a
}

func (a *answer) set(name, value string) {
	if a.header == nil {
		a.header = http.Header{}
	}
	a.header.Set(name, value)
}

func (a *answer) cookie(token string) {
	c := http.Cookie{Name: SessionCookie, Value: token, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode}
	a.set("Set-Cookie", c.String())
}

func (a *answer) json(v any) {
	body, err := json.Marshal(v)
	if err != nil {
		a.status = http.StatusInternalServerError // the user's data is no JSON
		return
	}
	a.set("Content-Type", "application/json")
	a.body = body
}

func (a *answer) page(status int) {
	a.status = status
	a.set("Content-Type", "text/html; charset=utf-8")
	a.body = []byte(loginPage)
}

func (a *answer) graphQL(code string) {
	a.json(map[string]any{"data": nil, "errors": []any{map[string]any{"message": "not for you", "extensions": map[string]any{"code": code}}}})
}

func (a *answer) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the caller may be gone
}

// refused says that a login, a token or a session is not taken.
func (b *Backend) refused(call Call, a *answer) {
	switch b.o.Kind {
	case KindGraphQL:
		a.graphQL("UNAUTHENTICATED")
		return
	case KindCookie:
		if call == CallLogin {
			a.page(http.StatusOK)
			return
		}
		a.status = http.StatusFound
		a.set("Location", "/login?next=%2Fme")
		return
	case KindBearer, KindHeader:
	}
	a.status = http.StatusUnauthorized
	code := "session_expired"
	switch call {
	case CallLogin:
		code = "invalid_credentials"
	case CallRefresh:
		code = "invalid_refresh_token"
	case CallUse, CallLogout:
	}
	a.json(map[string]string{"error": code})
}

// locked says that an account is locked.
func (b *Backend) locked(a *answer) {
	switch b.o.Kind {
	case KindGraphQL:
		a.graphQL("ACCOUNT_LOCKED")
	case KindCookie:
		a.page(http.StatusOK)
	case KindBearer, KindHeader:
		a.status = http.StatusLocked
		a.json(map[string]string{"error": "account_locked"})
	}
}
