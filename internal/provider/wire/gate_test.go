//go:build unix

package wire

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// becomes waits until the condition holds.
func becomes(t *testing.T, holds func() bool, what string) {
	t.Helper()
	require.Eventually(t, holds, patience, 2*time.Millisecond, what)
}

// gateOf returns a gate in which nobody goes without a place while a test waits.
func gateOf(places int) *gate { return newGate(places, time.Hour, nil) }

// sharing returns a client that has the gate.
func sharing(t *testing.T, g *gate, o Options) *Client {
	t.Helper()
	c := newClient(t, o)
	c.gate = g
	return c
}

// good starts a server that answers every request.
func good(t *testing.T) *server {
	t.Helper()
	return newServer(t, func(p *peer) {
		for p.request() {
			p.say(goodReply)
		}
	})
}

// bodyOf returns a reply's body, or what happened instead, and releases it.
func bodyOf(reply *Reply, err error) string {
	if err != nil {
		return err.Error()
	}
	defer reply.Release()
	return string(reply.Body)
}

// take1 makes a call whose reply holds its slot until the test releases it.
func take1(t *testing.T, g *gate, s *server) *Reply {
	t.Helper()
	reply, err := sharing(t, g, Options{}).Do(t.Context(), post(s.url(), "first"))
	require.NoError(t, err)
	return reply
}

// However a call ends, its slot comes back, once.
func TestSlotComesBack(t *testing.T) {
	t.Parallel()
	say := func(text string) func(*peer) { return func(p *peer) { p.request(); p.say(text) } }
	hang := func(text string) func(*peer) { return func(p *peer) { p.request(); p.say(text); p.gone() } }
	reset := func(text string) func(*peer) {
		return func(p *peer) {
			p.request()
			p.say(text)
			if tcp, ok := p.Conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // the close becomes a reset
			}
		}
	}
	tests := map[string]func(*peer){
		"ok":                    say(goodReply),
		"ok, kept alive":        hang(goodReply),
		"no body":               hang("HTTP/1.1 204 No Content\r\n\r\n"),
		"chunks":                hang("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
		"to the end":            say("HTTP/1.1 200 OK\r\n\r\ntoken"),
		"interim":               hang("HTTP/1.1 103 Early Hints\r\n\r\n" + goodReply),
		"an error status":       hang("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"),
		"another protocol":      hang("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nanything"),
		"more than announced":   hang(goodReply + goodReply),
		"a cut body":            say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"),
		"a body that is reset":  reset("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"),
		"a body that hangs":     hang("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"),
		"a body without end":    hang("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 2*maxBody)),
		"a header that hangs":   hang("HTTP/1.1 200 OK\r\nX: "),
		"nothing":               say(""),
		"a reset":               reset(""),
		"silence":               hang(""),
		"garbage":               say("SSH-2.0-OpenSSH_9.2\r\n"),
		"garbage, then silence": hang("\x00\x01\x02\r\n\r\n"),
		"a huge header":         hang("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n"),
		"a flood of 1xx":        hang(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 1000)),
		"closed unread":         func(*peer) {},
	}
	for name, serve := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, serve)
			checkSlotComesBack(t, s.url(), Options{Timeout: 400 * time.Millisecond}) // for those that hang
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, listener.Close())
		checkSlotComesBack(t, &url.URL{Scheme: "http", Host: listener.Addr().String()}, Options{})
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		s := newTLSServer(t)
		to, err := url.Parse(s.URL)
		require.NoError(t, err)
		checkSlotComesBack(t, to, Options{CAFile: caFile(t, s)})
		checkSlotComesBack(t, to, Options{}) // by an unknown authority
	})
}

// checkSlotComesBack makes calls of which each needs the only slot, then one
// that must be answered.
func checkSlotComesBack(t *testing.T, to *url.URL, o Options) {
	t.Helper()
	g := gateOf(1)
	c := sharing(t, g, o)
	for range 2 {
		reply, err := c.Do(t.Context(), post(to, "x"))
		if err == nil {
			assert.LessOrEqual(t, len(g.taken), 1)
			reply.Release()
		}
		becomes(t, func() bool { return len(g.taken) == 0 }, "the slot comes back")
	}
	assert.Equal(t, got{200, "ok", false}, call(t, sharing(t, g, Options{}), post(good(t).url(), "y")))
}

// A reply that comes byte by byte holds up nobody, though there is one slot.
func TestTricklingReply(t *testing.T) {
	t.Parallel()
	g := gateOf(1)
	next := make(chan byte)
	last := sync.OnceFunc(func() { close(next) })
	slow := newServer(t, func(p *peer) {
		p.request()
		for b := range next {
			p.say(string(b))
		}
		p.gone()
	})
	t.Cleanup(last)
	trickle := make(chan string, 1)
	c := sharing(t, g, Options{Timeout: time.Minute})
	go func() { trickle <- bodyOf(c.Do(t.Context(), post(slow.url(), "x"))) }()
	others := sharing(t, g, Options{})
	s := good(t)
	for _, b := range []byte(goodReply) {
		next <- b
		require.Equal(t, got{200, "ok", false}, call(t, others, post(s.url(), "y")))
	}
	last()
	assert.Equal(t, "ok", <-trickle)
	becomes(t, func() bool { return len(g.taken) == 0 }, "the slot comes back")
}

// A reply that is there in time is read, however long it waits for its turn: the
// call's time does not pass meanwhile.
func TestWaitingForASlotCostsNoTime(t *testing.T) {
	t.Parallel()
	g := gateOf(1)
	s := good(t)
	first := take1(t, g, s)
	const timeout = 2 * time.Second
	c := sharing(t, g, Options{Timeout: timeout})
	second := make(chan string, 1)
	go func() { second <- bodyOf(c.Do(t.Context(), post(s.url(), "second"))) }()
	becomes(t, func() bool { return strings.Contains(string(s.seen()), "second") }, "the second is sent")
	longer := sharing(t, gateOf(1), Options{Timeout: timeout * 3 / 2})
	failed := fail(t, longer, post(newServer(t, func(p *peer) { p.request(); p.gone() }).url(), "third")) // takes longer than the second has
	assert.Equal(t, credential.ReasonTimeout, failed.Outcome.Reason)
	assert.Empty(t, second)
	first.Release()
	assert.Equal(t, "ok", <-second)
	assert.Empty(t, g.taken)
}

// The next call on a connection waits for a slot of its own while the last
// one's reply is still worked on, and does not take that one's away.
func TestReusedConnectionWaitsForItsOwnSlot(t *testing.T) {
	t.Parallel()
	g := gateOf(1)
	s := good(t)
	c := sharing(t, g, Options{MaxConns: 1})
	first, err := c.Do(t.Context(), post(s.url(), "first"))
	require.NoError(t, err)
	second := make(chan string, 1)
	go func() { second <- bodyOf(c.Do(t.Context(), post(s.url(), "second"))) }()
	becomes(t, func() bool { return strings.Contains(string(s.seen()), "second") }, "the second is sent")
	assert.Empty(t, second)
	assert.Len(t, g.taken, 1)
	first.Release()
	assert.Equal(t, "ok", <-second)
	assert.Equal(t, 1, s.connections())
}

// What has nothing to keep needs no slot: calls that change nothing, and the
// end of connections that no call uses.
func TestWhatNeedsNoSlot(t *testing.T) {
	t.Parallel()
	g := gateOf(1)
	end, ended := make(chan struct{}), make(chan struct{})
	finish := sync.OnceFunc(func() { close(end) })
	idle := newServer(t, func(p *peer) {
		p.request()
		p.say(goodReply)
		<-end
		if tcp, ok := p.Conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		p.gone() // when the client has read the end, which it does not while it waits
		close(ended)
	})
	t.Cleanup(finish)
	call(t, sharing(t, g, Options{}), post(idle.url(), "x"))
	s := good(t)
	first := take1(t, g, s)
	defer first.Release()
	reply, err := sharing(t, g, Options{}).Do(t.Context(), Request{Method: http.MethodGet, URL: s.url(), Header: http.Header{}, Safe: true})
	require.NoError(t, err)
	assert.Equal(t, "ok", string(reply.Body))
	reply.Release()
	assert.Len(t, g.taken, 1)
	finish()
	<-ended
	assert.Len(t, g.taken, 1)
}

// A call that ended while its reader waited for a place does not get one.
func TestSlotOfAnEndedCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gateOf(1)
		first, second := &slot{gate: g}, &slot{gate: g}
		require.NoError(t, first.take())
		waited := make(chan error, 1)
		go func() { waited <- second.take() }()
		synctest.Wait()
		second.end()
		first.giveBack()
		require.ErrorIs(t, <-waited, errOver)
		assert.Empty(t, g.taken)
		require.NoError(t, first.take())
		first.end()
		assert.Empty(t, g.taken)
	})
}

// Where no place becomes free for long, a reply is read without one, all of it;
// it takes nobody's place, and is counted.
func TestReplyGoesWithoutASlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []uint64
		g := newGate(1, maxWait, func(so uint64) { told = append(told, so) })
		first, second, third := &slot{gate: g}, &slot{gate: g}, &slot{gate: g}
		require.NoError(t, first.take())
		began := time.Now()
		for _, s := range []*slot{second, third} {
			require.NoError(t, s.take())
		}
		assert.Equal(t, 2*maxWait, time.Since(began))
		second.giveBack()
		require.NoError(t, second.take(), "it has waited once and for all")
		assert.Equal(t, 2*maxWait, time.Since(began))
		assert.Equal(t, []uint64{1, 2}, told)
		assert.Len(t, g.taken, 1)
		second.end()
		assert.Len(t, g.taken, 1, "the first one's")
		require.ErrorIs(t, second.take(), errOver)
		first.end()
		assert.Empty(t, g.taken)
		third.end()
		assert.Empty(t, g.taken)
	})
}

// A call that ended while its reader waited does not go without a place either.
func TestEndedCallDoesNotGoWithout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1, maxWait, func(uint64) { assert.Fail(t, "counted") })
		first, second := &slot{gate: g}, &slot{gate: g}
		require.NoError(t, first.take())
		waited := make(chan error, 1)
		go func() { waited <- second.take() }()
		synctest.Wait()
		second.end()
		require.ErrorIs(t, <-waited, errOver)
		first.end()
	})
}

// Replies are read though none of those before them is ever released.
func TestStalledReadersHoldUpNobody(t *testing.T) {
	t.Parallel()
	s := good(t)
	var crowd atomic.Uint64
	c := newClient(t, Options{Timeout: patience, Crowded: crowd.Store})
	c.gate.patience = time.Millisecond
	replies := cap(c.gate.taken) + 3
	for range replies {
		reply, err := c.Do(t.Context(), post(s.url(), "x"))
		require.NoError(t, err)
		defer reply.Release()
	}
	assert.EqualValues(t, 3, crowd.Load())
}

// Whatever a slot's reader and its call do at the same time, no more than the
// gate has are held, and all come back.
func TestSlotsUnderRace(t *testing.T) {
	t.Parallel()
	const places, calls, reads = 3, 40, 20
	g := gateOf(places)
	var all sync.WaitGroup
	for n := range calls {
		ctx, cancel := context.WithCancel(t.Context())
		s := &slot{gate: g, done: ctx.Done()}
		read := make(chan struct{}, 1)
		all.Go(func() { // the reader
			for i := range reads {
				if s.take() != nil {
					break
				}
				if (n+i)%3 == 0 {
					s.giveBack()
				}
			}
			read <- struct{}{}
		})
		all.Go(func() { // the call
			if n%2 == 0 {
				<-read
			}
			cancel()
			s.end()
			s.end()
			assert.ErrorIs(t, s.take(), errOver)
		})
	}
	all.Wait()
	assert.Empty(t, g.taken)
}

// BenchmarkCall is a call to a server in the same process, with the gate and
// on connections that have none.
func BenchmarkCall(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"access_token":"2YotnFZFEjr1zCsicMWpAA"}`)
	}))
	b.Cleanup(s.Close)
	to, err := url.Parse(s.URL)
	require.NoError(b, err)
	for _, gated := range []bool{true, false} {
		for _, callers := range []int{1, 16} {
			b.Run(fmt.Sprintf("gated=%t/callers=%d", gated, callers), func(b *testing.B) {
				c, err := New(Options{Provider: "bench"})
				require.NoError(b, err)
				defer c.Close()
				if !gated {
					c.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
						plain, err := c.dialer.net.DialContext(ctx, network, addr)
						return &conn{Conn: plain}, err
					}
				}
				b.ReportAllocs()
				b.ResetTimer()
				var all sync.WaitGroup
				for n := range callers {
					all.Go(func() {
						for i := n; i < b.N; i += callers {
							reply, err := c.Do(b.Context(), post(to, "x"))
							if err != nil {
								b.Error(err)
								return
							}
							reply.Release()
						}
					})
				}
				all.Wait()
			})
		}
	}
}

// Whoever was told of his reply as it came holds up nobody while he keeps it: a
// sync of the disk is not waited for by replies that could be the kernel's.
func TestWhatWasToldNeedsNoSlot(t *testing.T) {
	t.Parallel()
	g, s := gateOf(1), good(t)
	var told []string
	for range 3 {
		request := post(s.url(), "one of many")
		request.Came = func(body []byte) { told = append(told, string(body)) }
		reply, err := sharing(t, g, Options{}).Do(t.Context(), request)
		require.NoError(t, err)
		defer reply.Release() // not before the others were read
	}
	assert.Equal(t, []string{"ok", "ok", "ok"}, told)
	assert.Empty(t, g.taken)
	held := take1(t, g, s)
	assert.Len(t, g.taken, 1, "of one that nobody was told of it is held as long as before")
	held.Release()
}
