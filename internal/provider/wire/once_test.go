package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// unasked ends the names of endings that send what nobody asked for.
const unasked = ", unasked"

// endings are the ways in which a server ends a keep-alive connection on which
// a request may be under way, by where it does.
func endings() map[string]func(*peer) {
	reset := func(p *peer) {
		if tcp, ok := p.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // the close becomes a reset
		}
	}
	line := func(p *peer, n int) {
		for range n {
			if _, err := p.in.ReadString('\n'); err != nil {
				return
			}
		}
	}
	return map[string]func(*peer){
		"at once":                  func(*peer) {},
		"at once, with a reset":    reset,
		"on the first byte":        func(p *peer) { _, _ = p.in.Peek(1) },
		"on the first byte, reset": func(p *peer) { _, _ = p.in.Peek(1); reset(p) },
		"after the request line":   func(p *peer) { line(p, 1) },
		"after the header":         func(p *peer) { line(p, 6) },
		"after the request":        func(p *peer) { p.request() },
		"after the request, reset": func(p *peer) { p.request(); reset(p) },
		"in an interim reply":      func(p *peer) { p.request(); p.say("HTTP/1.1 103 Early Hints\r\n\r\nHTT") },
		"in the status line":       func(p *peer) { p.request(); p.say("HTTP/1.1 2") },
		"in the header":            func(p *peer) { p.request(); p.say("HTTP/1.1 200 OK\r\nContent-Le") },
		"in the body":              func(p *peer) { p.request(); p.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}") },
		"with a reset in the body": func(p *peer) { p.request(); p.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"); reset(p) },
		"in a chunk":               func(p *peer) { p.request(); p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}") },
		"after the reply":          func(p *peer) { p.request(); p.say(goodReply) },
		"after the reply, reset":   func(p *peer) { p.request(); p.say(goodReply); reset(p) },
		"with 408" + unasked:       func(p *peer) { p.say("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n") },
		"with a reply" + unasked:   func(p *peer) { p.say(goodReply) },
		"with more than a reply":   func(p *peer) { p.request(); p.say(goodReply + goodReply); p.gone() },
		"with less than it said":   func(p *peer) { p.request(); p.say(strings.Replace(goodReply, ": 2", ": 9", 1)) },
		"with something else":      func(p *peer) { p.request(); p.say("SSH-2.0-OpenSSH_9.2\r\n") },
		"with 503 and a wish":      func(p *peer) { p.request(); p.say("HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n") },
		"with 421 to go elsewhere": func(p *peer) { p.request(); p.say("HTTP/1.1 421 Misdirected\r\nConnection: close\r\n\r\n") },
	}
}

// Whatever a server does to its connections, and wherever, each request
// reaches it once at the most; and one that is said not to have been sent has
// not reached it at all.
func TestEachRequestIsSeenAtMostOnce(t *testing.T) {
	t.Parallel()
	for name, end := range endings() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(p *peer) {
				for range 2 { // so that the connection is a used one
					if !p.request() {
						return
					}
					p.say(goodReply)
				}
				end(p)
			})
			asked := !strings.HasSuffix(name, unasked)
			checkOnce(t, s, 1, 20, asked)
			checkOnce(t, s, 4, 20, asked)
		})
	}
}

// The same with all of these at once, on connections that live and die at
// random under many callers.
func TestEachRequestIsSeenAtMostOnceInChaos(t *testing.T) {
	t.Parallel()
	var ways []func(*peer)
	for _, end := range endings() {
		ways = append(ways, end)
	}
	var turn atomic.Int64
	s := newServer(t, func(p *peer) {
		n := int(turn.Add(1))
		for range n % 4 {
			if !p.request() {
				return
			}
			p.say(goodReply)
		}
		ways[n%len(ways)](p)
	})
	checkOnce(t, s, 8, 100, false)
}

// checkOnce sends requests from several callers and compares what they were
// told with what the server saw. asked tells that the server replies only to
// requests: what comes just as a request goes out cannot be told from a reply.
func checkOnce(t *testing.T, s *server, callers, each int, asked bool) {
	t.Helper()
	c := newClient(t, Options{MaxConns: callers})
	type result struct {
		token string
		err   error
	}
	results := make(chan result, callers*each)
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for i := range each {
				token := fmt.Sprintf("<%s-%d-%d-%d>", t.Name(), callers, caller, i)
				in := post(s.url(), token)
				if i%3 == 1 { // the transport would repeat it
					in = Request{Method: http.MethodGet, URL: s.url(), Header: http.Header{"X-Token": {token}, "X-More": {"1"}}}
				}
				reply, err := c.Do(t.Context(), in)
				if err == nil {
					reply.Release()
				}
				results <- result{token, err}
			}
		})
	}
	wg.Wait()
	close(results)
	replies := 0
	seen := s.seen()
	for r := range results {
		times := bytes.Count(seen, []byte(r.token))
		assert.LessOrEqual(t, times, 1, "%s was sent more than once", r.token)
		if r.err == nil {
			replies++
			if asked {
				assert.Equal(t, 1, times, "%s was answered", r.token)
			}
			continue
		}
		var failed *Error
		require.ErrorAs(t, r.err, &failed)
		assert.Contains(t, []credential.Class{credential.ClassNotSent, credential.ClassAmbiguous}, failed.Outcome.Class)
		if failed.Outcome.Class == credential.ClassNotSent {
			assert.Zero(t, times, "%s is said not to have been sent: %v", r.token, errors.Unwrap(failed))
		}
	}
	assert.Positive(t, replies, "some requests are answered")
}

// A connection that died while it lay idle is not in doubt: nothing was
// written on it.
func TestDeadIdleConnection(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	s := newServer(t, func(p *peer) {
		p.request()
		p.say(goodReply)
		p.gone()
	})
	require.Equal(t, got{200, "ok", false}, call(t, c, post(s.url(), "first")))

	raw, other := net.Pipe()
	dead := &conn{Conn: raw}
	require.NoError(t, other.Close())
	n, err := dead.Write([]byte("second"))
	require.Error(t, err)
	assert.Zero(t, n)
	assert.Zero(t, dead.sent())
	require.NoError(t, raw.Close())
}

// A reply that is longer than announced ends the connection, and what was too
// much is not the answer to the next request.
func TestExcessIsNoReply(t *testing.T) {
	t.Parallel()
	planted := "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nplanted"
	for name, reply := range map[string]string{
		"with a length": goodReply,
		"in chunks":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"without body":  "HTTP/1.1 204 No Content\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(p *peer) {
				if !p.request() {
					return
				}
				p.say(reply + planted)
				p.gone()
			})
			c := newClient(t, Options{MaxConns: 1})
			const callers = 8 // who wait for the one connection
			bodies := make(chan string, callers)
			for range callers {
				go func() {
					reply, err := c.Do(t.Context(), post(s.url(), "x"))
					if err != nil {
						bodies <- err.Error()
						return
					}
					bodies <- string(reply.Body)
					reply.Release()
				}()
			}
			for range callers {
				assert.Contains(t, []string{"ok", ""}, <-bodies)
			}
			assert.Equal(t, callers, s.connections())
		})
	}
}

// What comes while nothing was asked ends the connection.
func TestUnaskedBytes(t *testing.T) {
	t.Parallel()
	client, provider := net.Pipe()
	c := &conn{Conn: client}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = provider.Write([]byte("token=secret")) })
	n, err := c.Read(make([]byte, 100))
	assert.Zero(t, n)
	require.ErrorIs(t, err, errUnsolicited)
	wg.Wait()
	n, err = c.Write([]byte("next"))
	assert.Zero(t, n)
	require.ErrorIs(t, err, errUnfit)
	require.NoError(t, client.Close())
	require.NoError(t, provider.Close())
}

// Ordinary replies leave the connection open for the next call.
func TestConnectionIsReused(t *testing.T) {
	t.Parallel()
	replies := []string{
		goodReply,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + goodReply,
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
	}
	s := newServer(t, func(p *peer) {
		for i := 0; ; i++ {
			if !p.request() {
				return
			}
			p.say(replies[i%len(replies)])
		}
	})
	c := newClient(t, Options{})
	for range 3 * len(replies) {
		call(t, c, post(s.url(), "x"))
	}
	assert.Equal(t, 1, s.connections())
}
