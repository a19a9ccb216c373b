package backends

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxBody bounds what is read of a request.
const maxBody = 64 << 10

// request is a call as it came.
type request struct {
	call               Call
	username, password string
	token              string // or session
	refresh            string
}

// serve answers one kind of call; "" is told by the body.
func (b *Backend) serve(call Call) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, "the body cannot be read", http.StatusBadRequest)
			return
		}
		q := b.read(call, r, body)
		seq := b.arrive(q)
		defer b.leave(seq)
		f := b.fault(seq)
		if !pass(r.Context(), b.o.Latency+f.Wait) {
			return
		}
		a := answer{status: http.StatusOK}
		if f.Reply != nil {
			a = f.Reply.answer()
		} else {
			done := b.do(q, &a)
			b.note(seq, func(e *Entry) { e.Done = done })
		}
		if !pass(r.Context(), f.Hold) {
			return
		}
		if f.Reset {
			reset(w)
		}
		if f.Cut || f.Reset {
			panic(http.ErrAbortHandler)
		}
		b.note(seq, func(e *Entry) { e.Status, e.Replied = a.status, time.Now() })
		a.write(w)
	}
}

// pass lets a time pass, and reports false if the caller went away meanwhile.
func pass(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reset ends a call's connection such that the other side meets an error, and not
// an end.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // the end is all that is left to it
	}
	_ = conn.Close()
}

// read takes what a call brings from wherever its kind of backend has it.
func (b *Backend) read(call Call, r *http.Request, body []byte) request {
	q := request{call: call}
	var in struct {
		User      string `json:"user"`
		Password  string `json:"password"`
		Refresh   string `json:"refreshToken"`
		Query     string `json:"query"`
		Variables struct {
			User     string `json:"user"`
			Password string `json:"password"`
		} `json:"variables"`
	}
	_ = json.Unmarshal(body, &in) // what is no JSON is a form, or nothing
	form, err := url.ParseQuery(string(body))
	if err != nil {
		form = url.Values{}
	}
	q.token, _ = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch b.o.Kind {
	case KindHeader:
		q.token = r.Header.Get(SessionHeader)
		q.username, q.password = in.User, in.Password
	case KindCookie:
		q.token = ""
		if c, err := r.Cookie(SessionCookie); err == nil {
			q.token = c.Value
		}
		q.username, q.password = form.Get("username"), form.Get("password")
	case KindGraphQL:
		q.username, q.password = in.Variables.User, in.Variables.Password
		q.call = CallUse
		if strings.HasPrefix(strings.TrimSpace(in.Query), "mutation") {
			q.call = CallLogin
		}
	case KindBearer:
		q.username, q.password = form.Get("username"), form.Get("password")
		q.refresh = in.Refresh
	}
	if q.call != CallLogin {
		q.username, q.password = "", ""
	}
	return q
}

// do does what was asked for, and reports whether it was allowed.
func (b *Backend) do(q request, a *answer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch q.call {
	case CallLogin:
		return b.logIn(q, a)
	case CallRefresh:
		return b.exchange(q, a)
	case CallUse:
		return b.use(q, a)
	case CallLogout:
		if known, ok := b.access[q.token]; ok {
			known.login.ended = true
		}
		a.status = http.StatusNoContent
		return true
	}
	return false
}

func (b *Backend) logIn(q request, a *answer) bool {
	u, known := b.users[q.username]
	switch {
	case known && u.locked:
		b.locked(a)
		return false
	case !known || u.password != q.password:
		if known {
			u.wrong++
			u.locked = u.wrong >= lockAfter
		}
		b.refused(CallLogin, a)
		return false
	}
	u.wrong = 0
	l := &login{}
	token := b.issue(u, l)
	switch b.o.Kind {
	case KindBearer:
		out := map[string]any{"token": token, "expiresIn": b.o.Life.Seconds(), "user": map[string]any{"id": u.uid, "profile": u.data}}
		if b.o.Refreshes {
			out["refreshToken"] = b.issueRefresh(u, l)
		}
		a.json(out)
	case KindHeader:
		a.set(SessionHeader, token)
		a.json(map[string]any{"id": u.uid, "profile": u.data})
	case KindCookie:
		a.status = http.StatusFound
		a.set("Location", "/home")
		a.cookie(token)
	case KindGraphQL:
		a.json(map[string]any{"data": map[string]any{"login": map[string]any{"token": token, "user": map[string]any{"id": u.uid, "profile": u.data}}}})
	}
	return true
}

// exchange spends a refresh token.
func (b *Backend) exchange(q request, a *answer) bool {
	r, known := b.refresh[q.refresh]
	if known && r.spent {
		r.login.ended = true
	}
	if !known || r.login.ended {
		b.refused(CallRefresh, a)
		return false
	}
	r.spent = true
	a.json(map[string]any{
		"token": b.issue(r.user, r.login), "refreshToken": b.issueRefresh(r.user, r.login), "expiresIn": b.o.Life.Seconds(),
		"user": map[string]any{"id": r.user.uid, "profile": r.user.data},
	})
	return true
}

// use is any call that a session carries.
func (b *Backend) use(q request, a *answer) bool {
	s, ok := b.live(q.token)
	if !ok {
		b.refused(CallUse, a)
		return false
	}
	s.used = time.Now()
	if b.o.Renames {
		renamed := b.issue(s.user, s.login)
		b.access[renamed].began = s.began
		b.access[q.token] = &access{number: s.number, user: s.user, login: &login{ended: true}}
		switch b.o.Kind {
		case KindHeader:
			a.set(SessionHeader, renamed)
		case KindCookie:
			a.cookie(renamed)
		case KindGraphQL, KindBearer:
		}
	}
	me := map[string]any{"id": s.user.uid, "profile": s.user.data}
	if b.o.Kind == KindGraphQL {
		a.json(map[string]any{"data": map[string]any{"me": me}})
		return true
	}
	a.json(me)
	return true
}
