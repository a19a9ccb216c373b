package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// The library's store has a goroutine that nobody can end without a race: it
// makes the channel that ends it by itself.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/alexedwards/scs/v2/memstore.(*MemStore).startCleanup"))
}

type client struct {
	t    *testing.T
	base string
	http *http.Client
}

func setup(t *testing.T, idle time.Duration) *client {
	t.Helper()
	server := httptest.NewServer(newApp(options{idle: idle, users: 2}).routes())
	t.Cleanup(server.Close)
	c := &client{t: t, base: server.URL, http: server.Client()}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// reply is what came back.
type reply struct {
	status   int
	location string
	session  string // that was set
	body     string
}

func (c *client) do(method, path, session string, form url.Values) reply {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(form.Encode()))
	require.NoError(c.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if session != "" {
		r.AddCookie(&http.Cookie{Name: "sid", Value: session}) //nolint:gosec // G124: of a request, where it has no attributes
	}
	res, err := c.http.Do(r)
	require.NoError(c.t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(c.t, err)
	require.NoError(c.t, res.Body.Close())
	got := reply{status: res.StatusCode, location: res.Header.Get("Location"), body: string(body)}
	for _, cookie := range res.Cookies() {
		got.session = cookie.Value
	}
	return got
}

func (c *client) login(user, password string) (status int, session string) {
	c.t.Helper()
	got := c.do(http.MethodPost, "/login", "", url.Values{"username": {user}, "password": {password}})
	return got.status, got.session
}

func TestASessionLivesWhileItIsUsed(t *testing.T) {
	t.Parallel()
	c := setup(t, time.Hour)
	status, session := c.login("user-2", "password-of-user-2")
	require.Equal(t, http.StatusOK, status)
	require.NotEmpty(t, session)
	got := c.do(http.MethodGet, "/me", session, nil)
	assert.Equal(t, http.StatusOK, got.status)
	assert.JSONEq(t, `{"id":"user-2"}`, got.body)
	got = c.do(http.MethodGet, "/me", "somebody's", nil)
	assert.Equal(t, http.StatusSeeOther, got.status)
	assert.Equal(t, "/login", got.location)
	for _, wrong := range [][2]string{{"user-2", "password-of-user-1"}, {"user-3", "password-of-user-3"}, {"user-x", ""}} {
		status, _ := c.login(wrong[0], wrong[1])
		assert.Equal(t, http.StatusUnauthorized, status, wrong[0])
	}
	assert.Contains(t, c.do(http.MethodGet, "/login", "", nil).body, "<form")

	body := c.do(http.MethodGet, "/log", "", nil).body
	var log []use
	for line := range strings.Lines(body) {
		var u use
		require.NoError(t, json.Unmarshal([]byte(line), &u))
		log = append(log, u)
	}
	require.Len(t, log, 6)
	assert.Equal(t, "user-2", log[1].User)
	assert.Equal(t, "session-1", log[1].Session)
	assert.Empty(t, log[2].User)
	assert.NotContains(t, body, session)
}

func TestASessionEndsUnused(t *testing.T) {
	t.Parallel()
	c := setup(t, 50*time.Millisecond)
	_, session := c.login("user-1", "password-of-user-1")
	tick := time.NewTicker(60 * time.Millisecond)
	defer tick.Stop()
	<-tick.C
	assert.Equal(t, http.StatusSeeOther, c.do(http.MethodGet, "/me", session, nil).status)
}

func TestFlags(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"--idle", "9s", "--users", "7"}, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, options{listen: "127.0.0.1:0", idle: 9 * time.Second, users: 7}, o)
	for _, args := range [][]string{{"more"}, {"--idle", "1ms"}, {"--users", "-1"}, {"--bad"}} {
		_, err := parse(args, io.Discard)
		require.Error(t, err, args)
		assert.Equal(t, 2, run(args, io.Discard, io.Discard))
	}
	assert.Equal(t, 0, run([]string{"-h"}, io.Discard, io.Discard))
	assert.Equal(t, 1, run([]string{"--listen", "192.0.2.1:1"}, io.Discard, io.Discard))
}

func TestItEndsInOrder(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	told, say := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, options{listen: "127.0.0.1:0", idle: time.Hour}, say) }()
	line := make([]byte, 200)
	n, err := told.Read(line)
	require.NoError(t, err)
	assert.Contains(t, string(line[:n]), "sessions: listening on http://127.0.0.1:")
	cancel()
	require.NoError(t, <-ended)
}
