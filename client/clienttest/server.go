package clienttest

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/client"
)

// apiKey is the key of every server: nothing is protected by it.
const apiKey = "rdk_key-of-clienttest" //nolint:gosec // made up

// A Server is a refreshd in memory. Make one with [New]. Its methods may be
// called concurrently, and what they change is there for the next call. Those
// that name a credential that was never put fail the test.
type Server struct {
	URL string // where it is reached
	Key string // an API key that may do everything

	t    testing.TB
	stop chan struct{} // closed at the end

	mu          sync.Mutex
	credentials map[string]*stored
	log         eventLog
	calls       Calls
	awayUntil   time.Time
}

// Calls counts what a [Server] was asked, answered or refused.
type Calls struct {
	Token    int // tokens that were read
	Refresh  int // rejections that were reported
	Get      int // records that were read
	UserData int // user data that was read
	Put      int
	Logout   int
	Delete   int
	Presence int
	Touch    int // calls that touched one session
	Touches  int // calls that touched many
	Events   int // streams and pages of events
	Refused  int // of all these, those that were answered 503 because of [Server.Unavailable], or 401
}

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{Key: apiKey, t: t, stop: make(chan struct{}), credentials: map[string]*stored{}}
	s.log.begin()
	served := httptest.NewServer(s.routes())
	s.URL = served.URL
	t.Cleanup(func() {
		close(s.stop)
		served.CloseClientConnections()
		served.Close()
	})
	return s
}

// Client returns a client of the server. It is closed when the test ends.
func (s *Server) Client(t testing.TB) *client.Client {
	t.Helper()
	c, err := client.New(s.URL, client.Options{Key: s.Key})
	if err != nil {
		t.Fatalf("clienttest: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("clienttest: %v", err)
		}
	})
	return c
}

// Put stores a credential with its first token, or logs it in again with the
// next.
func (s *Server) Put(id string, c Credential) {
	s.t.Helper()
	userData, err := json.Marshal(c.UserData)
	if err != nil {
		s.t.Errorf("clienttest: the user data of %s: %v", id, err)
		return
	}
	if c.UserData == nil {
		userData = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store(id, c, userData, time.Now())
}

// store installs a first or another login.
func (s *Server) store(id string, c Credential, userData json.RawMessage, now time.Time) *stored {
	c.Provider = cmp.Or(c.Provider, "test")
	c.Lifetime = cmp.Or(c.Lifetime, time.Hour)
	c.Send.As = cmp.Or(c.Send.As, client.SendBearer)
	c.Labels = maps.Clone(c.Labels)
	kind := client.EventReauthorized
	held := s.credentials[id]
	if held == nil {
		held = &stored{id: id, spent: map[string]bool{}}
		s.credentials[id] = held
	}
	if held.state == "" || held.state == client.StateDeleted {
		kind = client.EventConnected
		held.createdAt = now
		held.state = ""
	}
	was := held.state
	held.Credential, held.userData, held.tokenType = c, userData, "Bearer"
	held.install(now)
	held.hasLogin = false
	held.reason = ""
	if was != client.StateActive {
		held.since = now
	}
	held.state = client.StateActive
	s.tellChange(held, was, kind, "owner", now)
	return held
}

// change calls do with a credential that is stored.
func (s *Server) change(id string, do func(c *stored, now time.Time)) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.find(id)
	if c == nil {
		s.t.Errorf("clienttest: no credential has the ID %q", id)
		return
	}
	do(c, time.Now())
}

// find returns a credential, nil if there is none.
func (s *Server) find(id string) *stored {
	if c := s.credentials[id]; c != nil && c.state != client.StateDeleted {
		return c
	}
	return nil
}

// Expire ends the life of the credential's token, as if its time had passed.
// The next who asks gets another; a session needs its user then.
func (s *Server) Expire(id string) {
	s.t.Helper()
	s.change(id, func(c *stored, now time.Time) {
		c.expiresAt = now
		s.lapse(c, now)
	})
}

// Reject has resources refuse the credential's present token although its time
// has not passed, as after a revocation: [Server.Accepts] and [Server.Guard]
// know. The server itself learns of it when a client reports it, and issues
// another. Reject that one as well and the client is told so: it gets
// [client.ErrFreshRejected].
func (s *Server) Reject(id string) {
	s.t.Helper()
	s.change(id, func(c *stored, _ time.Time) { c.refusedBy = c.generation })
}

// RequireReauth has the provider call the credential dead: only its user can
// mend it. The reason is one of refreshd's, such as "invalid_grant".
func (s *Server) RequireReauth(id, reason string) {
	s.t.Helper()
	s.change(id, func(c *stored, now time.Time) {
		was := c.state
		c.end(now, client.StateReauthRequired, reason)
		s.tellChange(c, was, client.EventReauthRequired, "provider", now)
	})
}

// LogOut ends the credential as its owner would.
func (s *Server) LogOut(id string) {
	s.t.Helper()
	s.change(id, func(c *stored, now time.Time) { s.logOut(c, now) })
}

func (s *Server) logOut(c *stored, now time.Time) {
	if c.state == client.StateLoggedOut {
		return
	}
	was := c.state
	c.end(now, client.StateLoggedOut, "owner")
	s.tellChange(c, was, client.EventLoggedOut, "owner", now)
}

// Delete removes the credential.
func (s *Server) Delete(id string) {
	s.t.Helper()
	s.change(id, func(c *stored, now time.Time) { s.remove(c, now) })
}

func (s *Server) remove(c *stored, now time.Time) {
	was := c.state
	c.end(now, client.StateDeleted, "owner")
	s.tellChange(c, was, client.EventDeleted, "owner", now)
}

// Unavailable has every call answered 503 for a time, which Retry-After tells
// in whole seconds. 0 ends an outage.
func (s *Server) Unavailable(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awayUntil = time.Now().Add(d)
}

// Token returns the credential's present access token, "" where there is none.
func (s *Server) Token(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.find(id); c != nil {
		return c.token
	}
	return ""
}

// Refreshes returns how often the provider was asked for another token of the
// credential.
func (s *Server) Refreshes(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.credentials[id]; c != nil {
		return c.refreshes
	}
	return 0
}

// Calls returns what was asked until now.
func (s *Server) Calls() Calls {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Accepts reports whether a resource takes the token: it is the credential's
// present one, its time has not passed, and it was not rejected.
func (s *Server) Accepts(id, token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.find(id)
	return c != nil && token == c.token && c.valid(time.Now(), 0) && c.refusedBy != c.generation
}

// Guard is a resource: next serves the requests that carry the credential's
// token in the way that its Send says, and 401 is what all others get.
func (s *Server) Guard(id string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.ContainsFunc(s.carried(id, r), func(token string) bool { return s.Accepts(id, token) }) {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			http.Error(w, "the token is not accepted", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// carried returns what stands on a request where the credential's token should.
func (s *Server) carried(id string, r *http.Request) []string {
	s.mu.Lock()
	send := client.Send{As: client.SendBearer}
	if c := s.find(id); c != nil {
		send = c.Send
	}
	s.mu.Unlock()
	switch send.As {
	case client.SendHeader:
		return r.Header.Values(send.Name)
	case client.SendCookie:
		var found []string
		for _, cookie := range r.CookiesNamed(send.Name) {
			found = append(found, cookie.Value)
		}
		return found
	default:
		return bearer(r)
	}
}
