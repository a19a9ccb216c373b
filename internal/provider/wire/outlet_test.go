package wire

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

var errNoMore = errors.New("no more with RT-123")

// listening is a server, plain or with TLS, that answers every request it can
// read, and tells of each connection what came in on it.
type listening struct {
	*server

	to   *url.URL
	seen chan overheard
}

// overheard is what came in on a connection until its end.
type overheard struct {
	requests int
	text     string // in plain
	after    int    // bytes on the wire behind the last whole request, or the handshake
}

// listen starts the server and returns it with the options to reach it.
func listen(t *testing.T, secure bool) (*listening, Options) {
	t.Helper()
	l := &listening{seen: make(chan overheard, 10)}
	var o Options
	var config *tls.Config
	if secure {
		lender := newTLSServer(t)
		config = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: lender.TLS.Certificates}
		o.CAFile = caFile(t, lender)
	}
	l.server = newServer(t, func(p *peer) { l.seen <- hear(p, config) })
	l.to = l.url()
	if secure {
		l.to.Scheme = "https"
	}
	return l, o
}

// hear serves a connection to its end.
func hear(p *peer, config *tls.Config) overheard {
	var o overheard
	var stream io.ReadWriter = p
	if config != nil {
		secured := tls.Server(p, config)
		if secured.Handshake() != nil {
			return o
		}
		stream = secured
	}
	count := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.seen.Len()
	}
	var text strings.Builder
	whole := count()
	for in := bufio.NewReader(io.TeeReader(stream, &text)); ; whole = count() {
		req, err := http.ReadRequest(in)
		if err != nil {
			break
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			break
		}
		o.requests++
		_, _ = io.WriteString(stream, goodReply)
	}
	_, _ = io.Copy(io.Discard, p)
	o.text, o.after = text.String(), count()-whole
	return o
}

// asking is a call that is allowed so many times.
func asking(in Request, times int64) (Request, *atomic.Int64) {
	asked := new(atomic.Int64)
	in.MaySend = func() error {
		if asked.Add(1) > times {
			return errNoMore
		}
		return nil
	}
	return in, asked
}

// A request that may not be sent any more leaves no byte on the network, on a
// new connection or a used one, and the connection is not used again.
func TestRefusedAtTheLastMoment(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		for _, used := range []bool{false, true} {
			name := map[bool]string{false: "plain", true: "TLS"}[secure] + map[bool]string{false: ", new", true: ", used"}[used]
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				l, o := listen(t, secure)
				c := newClient(t, o)
				before := 0
				if used {
					in, asked := asking(post(l.to, "RT-first"), 1)
					require.Equal(t, got{200, "ok", false}, call(t, c, in))
					assert.EqualValues(t, 1, asked.Load())
					before = 1
				}
				in, asked := asking(post(l.to, "RT-second"), 0)
				failed := fail(t, c, in)
				assert.EqualValues(t, 1, asked.Load(), "it is not sent on another connection either")
				assert.Equal(t, credential.ClassNotSent, failed.Outcome.Class)
				assert.Equal(t, credential.ReasonTimeout, failed.Outcome.Reason)
				assert.Equal(t, "sending was no longer allowed", failed.Outcome.Detail)
				require.ErrorIs(t, failed, errNoMore)
				assert.NotContains(t, failed.Error(), "RT-")

				first := <-l.seen // the client has closed it
				assert.Equal(t, before, first.requests)
				assert.NotContains(t, first.text, "second")
				assert.Zero(t, first.after, "nothing went out behind what was allowed, not even a word of TLS")
				assert.Equal(t, 1, l.connections())

				in, asked = asking(post(l.to, "RT-third"), 1)
				assert.Equal(t, got{200, "ok", false}, call(t, c, in))
				assert.Equal(t, 2, l.connections())
				c.Close()
				<-l.seen
				assert.EqualValues(t, 1, asked.Load(), "the connection's end is no request")
			})
		}
	}
}

// A request that goes in several pieces is asked about before each. The
// provider, who cannot act on a part of it, never gets the rest; as it got
// something, the call is in doubt.
func TestRefusedInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[secure], func(t *testing.T) {
			t.Parallel()
			l, o := listen(t, secure)
			c := newClient(t, o)
			long := strings.Repeat("x", 20<<10)
			in, asked := asking(post(l.to, long), 1)
			failed := fail(t, c, in)
			assert.EqualValues(t, 2, asked.Load())
			assert.Equal(t, credential.ClassAmbiguous, failed.Outcome.Class)
			assert.Equal(t, credential.ReasonTimeout, failed.Outcome.Reason)
			first := <-l.seen
			assert.Zero(t, first.requests)
			assert.NotEmpty(t, first.text)
			assert.Less(t, len(first.text), len(long))

			in, _ = asking(post(l.to, long), 1000)
			assert.Equal(t, got{200, "ok", false}, call(t, c, in))
		})
	}
}

// Through a proxy the tunnel may be asked for, the request in it not sent.
func TestRefusedBehindAProxy(t *testing.T) {
	t.Parallel()
	l, o := listen(t, true)
	lender := newProxy(t, false)
	o.Proxy = strings.Replace(lender.URL, "://", "://u:secret@", 1)
	c := newClient(t, o)
	in, _ := asking(post(l.to, "RT-first"), 0)
	failed := fail(t, c, in)
	assert.Equal(t, credential.ClassNotSent, failed.Outcome.Class)
	assert.Equal(t, credential.ReasonTimeout, failed.Outcome.Reason)
	assert.Len(t, lender.seen(), 1)
	first := <-l.seen
	assert.Zero(t, first.requests)
	assert.Zero(t, first.after)
}

// Who has to wait before the request is written does so once, when the connection
// is there and before it is asked whether the request may go; the wait is not the
// provider's time.
func TestStart(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[secure], func(t *testing.T) {
			t.Parallel()
			l, o := listen(t, secure)
			o.Timeout = time.Second
			c := newClient(t, o)
			for range 2 { // on a new connection, and on a used one
				var order []string
				in := post(l.to, strings.Repeat("x", 20<<10))
				in.Start = func() error {
					order = append(order, "start")
					over := make(chan struct{})
					defer allow(o.Timeout+minSlice, func() { close(over) }).stop()
					<-over
					return nil
				}
				in.MaySend = func() error {
					order = append(order, "send")
					return nil
				}
				assert.Equal(t, got{200, "ok", false}, call(t, c, in))
				assert.Equal(t, []string{"start", "send", "send"}, order[:3])
				assert.Equal(t, 1, strings.Count(strings.Join(order, " "), "start"))
			}
			assert.Equal(t, 1, l.connections())

			in, asked := asking(post(l.to, "RT-refused"), 1)
			in.Start = func() error { return errNoMore }
			failed := fail(t, c, in)
			assert.Zero(t, asked.Load())
			assert.Equal(t, credential.ClassNotSent, failed.Outcome.Class)
			require.ErrorIs(t, failed, errNoMore)
			seen := <-l.seen
			assert.Equal(t, 2, seen.requests)
			assert.NotContains(t, seen.text, "refused")
			assert.Zero(t, seen.after)
		})
	}
}
