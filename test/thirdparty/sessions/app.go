package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
)

const (
	// lifetime bounds a session that is used all the time; no test lasts so long.
	lifetime = 24 * time.Hour
	userKey  = "user"
	// byUser is the header of calls that a session's own user makes.
	byUser = "X-By-User"
)

// use is one call: a line of /log.
type use struct {
	Call     string    `json:"call"` // "login" or "me"
	User     string    `json:"user"` // "" where the session is over
	Session  string    `json:"session"`
	ByUser   bool      `json:"by_user"`
	Received time.Time `json:"received"`
	Status   int       `json:"status"`
}

// app is a web app. Its sessions are the library's.
type app struct {
	o        options
	sessions *scs.SessionManager

	mu    sync.Mutex
	log   []use
	names map[string]string // of sessions, by token: what the log calls them
}

func newApp(o options) *app {
	a := &app{o: o, sessions: scs.New(), names: map[string]string{}}
	a.sessions.IdleTimeout, a.sessions.Lifetime = o.idle, lifetime
	a.sessions.Cookie.Name = "sid"
	return a
}

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /login", a.sessions.LoadAndSave(http.HandlerFunc(a.login)))
	mux.Handle("GET /me", a.sessions.LoadAndSave(http.HandlerFunc(a.me)))
	mux.HandleFunc("GET /login", page)
	mux.HandleFunc("GET /log", a.serveLog)
	return mux
}

// login starts a session under a new token.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	name, password := r.PostFormValue("username"), r.PostFormValue("password")
	if !a.knows(name) || password != "password-of-"+name {
		a.note(use{Call: "login", Status: http.StatusUnauthorized})
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	if err := a.sessions.RenewToken(r.Context()); err != nil {
		http.Error(w, "no session", http.StatusInternalServerError)
		return
	}
	a.sessions.Put(r.Context(), userKey, name)
	a.note(use{Call: "login", User: name, Status: http.StatusOK})
	writeUser(w, name)
}

func (a *app) knows(name string) bool {
	digits, ok := strings.CutPrefix(name, "user-")
	n, err := strconv.Atoi(digits)
	return ok && err == nil && n >= 1 && n <= a.o.users
}

// me tells a session's user who he is; whoever has none is sent to the login page.
func (a *app) me(w http.ResponseWriter, r *http.Request) {
	u := use{Call: "me", User: a.sessions.GetString(r.Context(), userKey), ByUser: r.Header.Get(byUser) != "", Status: http.StatusOK}
	if c, err := r.Cookie(a.sessions.Cookie.Name); err == nil {
		u.Session = a.name(c.Value)
	}
	if u.User == "" {
		u.Status = http.StatusSeeOther
	}
	a.note(u)
	if u.User == "" {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	writeUser(w, u.User)
}

func writeUser(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(map[string]string{"id": name}); err != nil {
		return // the reader is gone
	}
}

func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = w.Write([]byte(`<form method="post"><input name="username"><input type="password" name="password"></form>`)) // likewise
}

// name is what the log calls a session.
func (a *app) name(token string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	name, ok := a.names[token]
	if !ok {
		name = "session-" + strconv.Itoa(len(a.names)+1)
		a.names[token] = name
	}
	return name
}

func (a *app) note(u use) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u.Received = time.Now().UTC()
	a.log = append(a.log, u)
}

// serveLog writes the log as NDJSON.
func (a *app) serveLog(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	log := slices.Clone(a.log)
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	for _, u := range log {
		if err := enc.Encode(u); err != nil {
			return // the reader is gone
		}
	}
}
