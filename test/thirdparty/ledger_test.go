package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lockedServer serves in this process, so that a test can hold the door and
// see each request's context.
func lockedServer(t *testing.T) (s *server, host string, contexts <-chan context.Context) {
	t.Helper()
	s, err := newServer(t.Context(), options{
		accessTTL: 20 * time.Second, clients: map[string]string{testID: testSecret}, redirect: "http://127.0.0.1/callback", users: 1, inside: 1,
	}, "http://127.0.0.1")
	require.NoError(t, err)
	seen := make(chan context.Context, 10)
	routes := s.routes()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Context()
		routes.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	return s, h.Listener.Addr().String(), seen
}

func send(t *testing.T, host string, form url.Values) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", host)
	require.NoError(t, err)
	body := form.Encode()
	_, err = fmt.Fprintf(conn, "POST /token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		host, len(body), body)
	require.NoError(t, err)
	return conn
}

// waitFor asks until the ledger satisfies.
func waitFor(t *testing.T, s *server, what func([]record) bool) []record {
	t.Helper()
	require.Eventually(t, func() bool { return what(s.ledger.after(0)) }, waitLimit, 5*time.Millisecond)
	return s.ledger.after(0)
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {testID}, "client_secret": {testSecret}}
}

func TestLogCountsWhatIsInTheAir(t *testing.T) {
	t.Parallel()
	s, host, _ := lockedServer(t)
	s.door <- struct{}{}
	for i, token := range []string{"one", "one", "two", "one"} {
		conn := send(t, host, refreshForm(token))
		t.Cleanup(func() { assert.NoError(t, conn.Close()) })
		waitFor(t, s, func(all []record) bool { return len(all) == i+1 })
	}
	all := s.ledger.after(0)
	assert.Equal(t, []int{1, 2, 1, 3}, []int{all[0].InAir, all[1].InAir, all[2].InAir, all[3].InAir})
	for _, r := range all {
		assert.Nil(t, r.Answered, "in the air")
	}
	<-s.door
	waitFor(t, s, func(all []record) bool {
		for _, r := range all {
			if r.Answered == nil {
				return false
			}
		}
		return true
	})
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	assert.Empty(t, s.ledger.inAir)
}

func TestLogTellsThatTheClientWasGone(t *testing.T) {
	t.Parallel()
	s, host, contexts := lockedServer(t)
	s.door <- struct{}{}
	conn := send(t, host, refreshForm("one"))
	ctx := <-contexts
	waitFor(t, s, func(all []record) bool { return len(all) == 1 })
	require.NoError(t, conn.Close())
	<-ctx.Done()
	<-s.door
	all := waitFor(t, s, func(all []record) bool { return all[0].Answered != nil })
	assert.False(t, all[0].ClientAlive)
	assert.Equal(t, "invalid_grant", all[0].Error, "the library handled it all the same")
}

func TestBodyThatCannotBeReadIsLogged(t *testing.T) {
	t.Parallel()
	s, host, _ := lockedServer(t)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", host)
	require.NoError(t, err)
	_, err = fmt.Fprintf(conn, "POST /token HTTP/1.1\r\nHost: %s\r\nContent-Length: 100\r\n\r\ngrant_type=refr", host)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	all := waitFor(t, s, func(all []record) bool { return len(all) == 1 && all[0].Answered != nil })
	assert.Equal(t, "body_unreadable", all[0].Error)

	conn = send(t, host, url.Values{"refresh_token": {strings.Repeat("x", maxBody)}})
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, res.StatusCode)
	require.NoError(t, res.Body.Close())
	all = waitFor(t, s, func(all []record) bool { return len(all) == 2 })
	assert.Equal(t, "body_unreadable", all[1].Error)
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"":                                "no --client given",
		"--client app":                    "want id:secret",
		"--client a%zz:b":                 "want id:secret",
		"--client :b":                     "want id:secret",
		"--client a:b --access-ttl 1s":    "--access-ttl is 1s, want at least 2s",
		"--client a:b --users -1":         "--users is -1",
		"--client a:b and":                `unexpected argument "and"`,
		"--client a:b --listen 0.0.0.0:0": "", // refused when it is opened
	} {
		_, err := parse(strings.Fields(args), io.Discard)
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want, args)
	}
	var stderr bytes.Buffer
	assert.Equal(t, 1, run([]string{"--client", "a:b", "--listen", "0.0.0.0:0"}, io.Discard, &stderr))
	assert.Contains(t, stderr.String(), "want a loopback address")
	assert.Equal(t, 2, run(nil, io.Discard, io.Discard))
	assert.Equal(t, 0, run([]string{"--help"}, io.Discard, io.Discard))
	o, err := parse([]string{"--client", "a%3Ab:c+d", "--client", "e:f"}, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a:b": "c d", "e": "f"}, o.clients)
}
