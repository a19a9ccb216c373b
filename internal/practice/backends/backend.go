package backends

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Kind says how a backend speaks.
type Kind string

// The kinds.
const (
	KindBearer  Kind = "bearer"
	KindHeader  Kind = "header"
	KindCookie  Kind = "cookie"
	KindGraphQL Kind = "graphql"
)

const (
	// SessionHeader carries the session of [KindHeader].
	SessionHeader = "X-Session-Token"
	// SessionCookie carries the session of [KindCookie].
	SessionCookie = "SID"

	// lockAfter is how many wrong passwords in a row lock an account.
	lockAfter = 3
)

// Options say what a backend is like.
type Options struct {
	Kind Kind

	// Life is that of an access token of [KindBearer].
	Life time.Duration
	// Refreshes makes a login of [KindBearer] bring a refresh token.
	Refreshes bool

	// Idle is after how long unused a session ends; the other kinds have it.
	Idle time.Duration
	// Absolute is how long a session lives at most; 0: as long as it is used.
	Absolute time.Duration
	// Renames gives a session another ID with each call that uses it; the one
	// before is good no more.
	Renames bool

	// Latency is how long each call takes.
	Latency time.Duration
}

// Backend is one backend. It is safe for concurrent use and starts no goroutine.
type Backend struct {
	o   Options
	mux *http.ServeMux

	mu      sync.Mutex
	users   map[string]*user
	access  map[string]*access
	refresh map[string]*refresh
	numbers int // of sessions and refresh tokens
	faults  []*Fault
	ledger  []Entry
	inAir   int
	ofUser  map[string]int
}

type user struct {
	name, password string
	uid            string
	data           json.RawMessage
	wrong          int // passwords in a row
	locked         bool
}

// access is an access token, or a session.
type access struct {
	number int
	user   *user
	login  *login
	began  time.Time
	used   time.Time
	until  time.Time // of a token; zero for a session
}

// login is what hangs together: a refresh token that comes twice ends it all.
type login struct{ ended bool }

type refresh struct {
	number    int
	user      *user
	login     *login
	presented int
	spent     bool
}

// New makes a backend.
func New(o Options) *Backend {
	b := &Backend{
		o: o, mux: http.NewServeMux(), users: map[string]*user{}, access: map[string]*access{},
		refresh: map[string]*refresh{}, ofUser: map[string]int{},
	}
	if o.Kind == KindGraphQL {
		b.mux.HandleFunc("POST /graphql", b.serve(""))
		return b
	}
	b.mux.HandleFunc("POST /login", b.serve(CallLogin))
	b.mux.HandleFunc("POST /refresh", b.serve(CallRefresh))
	b.mux.HandleFunc("GET /me", b.serve(CallUse))
	b.mux.HandleFunc("POST /logout", b.serve(CallLogout))
	return b
}

// ServeHTTP answers who calls from this machine.
func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if from, bad := netip.ParseAddr(host); err != nil || bad != nil || !from.Unmap().IsLoopback() {
		http.Error(w, "this backend is for practice, on loopback", http.StatusForbidden)
		return
	}
	b.mux.ServeHTTP(w, r)
}

// SetUser adds a user, or changes the password and the data of one, and unlocks
// the account. data is JSON; it is answered as the user's data.
func (b *Backend) SetUser(name, password, data string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u, ok := b.users[name]
	if !ok {
		u = &user{name: name, uid: "uid-" + strconv.Itoa(len(b.users)+1)}
		b.users[name] = u
	}
	u.password, u.data, u.wrong, u.locked = password, json.RawMessage(data), 0, false
}

// UID is what a backend calls a user: no name, and no secret.
func (b *Backend) UID(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.users[name].uid
}

// Lock locks an account, as the backend's operator does.
func (b *Backend) Lock(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.users[name].locked = true
}

// End ends everything that a user has: sessions, access and refresh tokens.
func (b *Backend) End(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.access {
		if a.user.name == name {
			a.login.ended = true
		}
	}
	for _, r := range b.refresh {
		if r.user.name == name {
			r.login.ended = true
		}
	}
}

// EndTokens ends a user's access tokens and sessions, and leaves the refresh
// tokens.
func (b *Backend) EndTokens(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.access, func(_ string, a *access) bool { return a.user.name == name })
}

// Minted is what a login brings, made without a call.
type Minted struct {
	Token   string // or session
	Refresh string // "" where there is none
}

// Mint logs a user in without a call.
func (b *Backend) Mint(name string) Minted {
	b.mu.Lock()
	defer b.mu.Unlock()
	u, l := b.users[name], &login{}
	m := Minted{Token: b.issue(u, l)}
	if b.o.Refreshes {
		m.Refresh = b.issueRefresh(u, l)
	}
	return m
}

// Visit uses a session as its user does: it is in no ledger. It reports whether
// the session was alive.
func (b *Backend) Visit(token string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.live(token)
	if ok {
		a.used = time.Now()
	}
	return ok
}

// Alive reports whether a token or session is taken, without using it.
func (b *Backend) Alive(token string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.live(token)
	return ok
}

// Secrets lists every token and session ID that was ever given out and is kept.
func (b *Backend) Secrets() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append(slices.Collect(maps.Keys(b.access)), slices.Collect(maps.Keys(b.refresh))...)
}

// live finds a token that is taken now; the caller holds the lock.
func (b *Backend) live(token string) (*access, bool) {
	a, ok := b.access[token]
	now := time.Now()
	switch {
	case !ok, a.login.ended:
		return a, false
	case !a.until.IsZero():
		return a, now.Before(a.until)
	default:
		alive := now.Sub(a.used) < b.o.Idle && (b.o.Absolute == 0 || now.Sub(a.began) < b.o.Absolute)
		return a, alive
	}
}

// issue makes an access token or a session; the caller holds the lock.
func (b *Backend) issue(u *user, l *login) string {
	now := time.Now()
	b.numbers++
	a := &access{number: b.numbers, user: u, login: l, began: now, used: now}
	kind := "st_"
	if b.o.Kind == KindBearer {
		a.until, kind = now.Add(b.o.Life), "at_"
	}
	token := secret(kind)
	b.access[token] = a
	return token
}

// issueRefresh makes a refresh token; the caller holds the lock.
func (b *Backend) issueRefresh(u *user, l *login) string {
	b.numbers++
	token := secret("rt_")
	b.refresh[token] = &refresh{number: b.numbers, user: u, login: l}
	return token
}

// secret is a prefix and 32 random characters, as a search for leaked ones
// expects.
func secret(prefix string) string { return prefix + (rand.Text() + rand.Text())[:32] }
