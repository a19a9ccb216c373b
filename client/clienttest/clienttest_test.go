package clienttest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
	"github.com/refreshd/refreshd/client/clienttest"
	"github.com/refreshd/refreshd/client/clienttest/conformance"
)

func TestServerIsLikeTheService(t *testing.T) {
	t.Parallel()
	conformance.Run(t, func(t *testing.T) conformance.Service {
		t.Helper()
		server := clienttest.New(t)
		var issued atomic.Int64
		return conformance.Service{
			URL: server.URL, Key: server.Key, Provider: "acme",
			Issue: func(*testing.T) *client.PutToken {
				n := issued.Add(1)
				return &client.PutToken{AccessToken: fmt.Sprintf("a%d", n), RefreshToken: fmt.Sprintf("r%d", n), ExpiresIn: time.Hour}
			},
		}
	})
}

func TestExpire(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Put("a", clienttest.Credential{})
	old := server.Token("a")
	assert.True(t, server.Accepts("a", old))
	server.Expire("a")
	assert.False(t, server.Accepts("a", old))
	token, err := server.Client(t).Token(t.Context(), "a")
	require.NoError(t, err)
	assert.Equal(t, server.Token("a"), token.AccessToken)
	assert.NotEqual(t, old, token.AccessToken)
	assert.Equal(t, 1, server.Refreshes("a"))
	assert.Equal(t, 1, server.Calls().Token)
}

func TestReject(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Put("a", clienttest.Credential{})
	c := server.Client(t)
	token, err := c.Token(t.Context(), "a")
	require.NoError(t, err)
	server.Reject("a")
	assert.False(t, server.Accepts("a", token.AccessToken))
	next, err := c.Refresh(t.Context(), "a", token.Generation)
	require.NoError(t, err)
	assert.True(t, server.Accepts("a", next.AccessToken))
	server.Reject("a")
	_, err = c.Refresh(t.Context(), "a", next.Generation)
	require.ErrorIs(t, err, client.ErrFreshRejected)
	assert.Equal(t, 1, server.Refreshes("a"))
}

func TestWhatOnlyTheUserCanMend(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	c := server.Client(t)
	server.Put("a", clienttest.Credential{})
	server.RequireReauth("a", "invalid_grant")
	_, err := c.Token(t.Context(), "a")
	require.ErrorIs(t, err, client.ErrReauthRequired)
	assert.Empty(t, server.Token("a"))
	server.Put("a", clienttest.Credential{})
	server.LogOut("a")
	_, err = c.Token(t.Context(), "a")
	require.ErrorIs(t, err, client.ErrLoggedOut)
	server.Delete("a")
	_, err = c.Get(t.Context(), "a")
	require.ErrorIs(t, err, client.ErrNotFound)
}

func TestASession(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	c := server.Client(t)
	server.Put("a", clienttest.Credential{IdleTimeout: 15 * time.Minute, Send: client.Send{As: client.SendHeader, Name: "X-Session"}})
	r, err := c.Get(t.Context(), "a")
	require.NoError(t, err)
	require.NotNil(t, r.Session)
	assert.Equal(t, 15*time.Minute, r.Session.IdleTimeout)
	assert.Equal(t, client.PresencePassive, r.Presence)
	r, err = c.SetPresence(t.Context(), "a", client.PresenceActive)
	require.NoError(t, err)
	assert.Equal(t, client.PresenceActive, r.Presence)
	deadline, err := c.Touch(t.Context(), "a")
	require.NoError(t, err)
	assert.False(t, deadline.Before(r.Session.IdleDeadline))
	server.Expire("a")
	_, err = c.Touch(t.Context(), "a")
	require.ErrorIs(t, err, client.ErrSessionOver)
	r, err = c.Get(t.Context(), "a")
	require.NoError(t, err)
	assert.Equal(t, client.StateReauthRequired, r.State)
	assert.Equal(t, "idle_timeout", r.Reason)
}

func TestNoRefreshAndShortLives(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	c := server.Client(t)
	server.Put("a", clienttest.Credential{NoRefresh: true})
	server.Expire("a")
	_, err := c.Token(t.Context(), "a")
	require.ErrorIs(t, err, client.ErrNotRefreshable)

	server.Put("b", clienttest.Credential{Lifetime: 30 * time.Second}) // less than the client asks for
	token, err := c.Token(t.Context(), "b")
	require.NoError(t, err)
	assert.Equal(t, server.Token("b"), token.AccessToken)
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	c := server.Client(t)
	server.Put("a", clienttest.Credential{UserData: map[string]int{"n": 1}})
	server.Unavailable(time.Hour)
	_, err := c.Get(t.Context(), "a")
	require.ErrorIs(t, err, client.ErrUnavailable)
	server.Unavailable(0)
	_, err = c.Get(t.Context(), "a")
	require.NoError(t, err)
	assert.Equal(t, clienttest.Calls{Get: 2, Refused: 1}, server.Calls())
}

func TestGuard(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]client.Send{
		"bearer": {As: client.SendBearer},
		"header": {As: client.SendHeader, Name: "X-Session"},
		"cookie": {As: client.SendCookie, Name: "sid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := clienttest.New(t)
			server.Put("a", clienttest.Credential{Send: send})
			resource := httptest.NewServer(server.Guard("a", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "hello")
			})))
			t.Cleanup(resource.Close)
			own := &http.Transport{}
			t.Cleanup(own.CloseIdleConnections)

			ask := func(via http.RoundTripper) int {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, resource.URL, nil)
				require.NoError(t, err)
				res, err := via.RoundTrip(req)
				require.NoError(t, err)
				defer res.Body.Close()
				return res.StatusCode
			}
			through := server.Client(t).Transport("a", own)
			assert.Equal(t, http.StatusUnauthorized, ask(own), "without the token")
			assert.Equal(t, http.StatusOK, ask(through))
			server.Reject("a")
			assert.Equal(t, http.StatusOK, ask(through), "after one refresh")
			assert.Equal(t, 1, server.Refreshes("a"))
		})
	}
}

func TestEmit(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Put("a", clienttest.Credential{Subject: "4711"})
	told := server.Emit(client.Event{Type: client.EventSessionExpiring, Credential: "a"})
	assert.Equal(t, uint64(2), told.Version)
	assert.Equal(t, "4711", told.User)
	for e, err := range server.Client(t).Watch(t.Context(), client.Filter{Types: []string{"session.*"}}, client.FromStart) {
		require.NoError(t, err)
		assert.Equal(t, told.ID, e.ID)
		break
	}
}

// recorder is a test that fails without ending.
type recorder struct {
	testing.TB

	failed []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

func TestAMisspeltIDFailsTheTest(t *testing.T) {
	t.Parallel()
	r := &recorder{TB: t}
	server := clienttest.New(r)
	server.Put("alice", clienttest.Credential{})
	server.Expire("alcie")
	server.Put("bob", clienttest.Credential{UserData: func() {}})
	require.Len(t, r.failed, 2)
	assert.Contains(t, r.failed[0], "alcie")
	assert.Contains(t, r.failed[1], "bob")
}

// A token that ended is no token that was refused afresh: each time the next
// who asks gets another.
func TestExpireAgain(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Put("acme:u", clienttest.Credential{})
	served := httptest.NewServer(s.Guard("acme:u", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	t.Cleanup(served.Close)
	user := &http.Client{Transport: s.Client(t).Transport("acme:u", nil)}
	for range 4 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, served.URL, nil)
		require.NoError(t, err)
		res, err := user.Do(r)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		assert.Equal(t, http.StatusOK, res.StatusCode)
		s.Expire("acme:u")
	}
	assert.Equal(t, 3, s.Refreshes("acme:u"))
}
