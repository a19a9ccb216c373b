package wire

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestRequestOnTheWire(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(p *peer) {
		p.request()
		p.say(goodReply)
	})
	c := newClient(t, Options{})
	to := s.url()
	to.RawQuery = "tenant=7"
	in := post(to, "a=b")
	in.Header.Set("User-Agent", "refreshd/1")
	require.Equal(t, got{200, "ok", false}, call(t, c, in))
	assert.Equal(t, "POST /token?tenant=7 HTTP/1.1\r\nHost: "+to.Host+"\r\nUser-Agent: refreshd/1\r\nContent-Length: 3\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\n\r\na=b", string(s.seen()))
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return packed.String()
}

// replyWith puts a length in front of a body.
func replyWith(header, body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", header, len(body), body)
}

func TestReplies(t *testing.T) {
	t.Parallel()
	packed := gzipped(t, "a token")
	large := strings.Repeat("x", maxBody)
	tests := map[string]struct {
		reply string
		want  got
	}{
		"empty":                   {replyWith("", ""), got{200, "", false}},
		"to the connection's end": {"HTTP/1.1 200 OK\r\n\r\ntoken", got{200, "token", false}},
		"old":                     {"HTTP/1.0 200 OK\r\n\r\ntoken", got{200, "token", false}},
		"as large as allowed":     {replyWith("", large), got{200, large, false}},
		"larger":                  {replyWith("", large+"x"), got{200, large, true}},
		"without end":             {"HTTP/1.1 200 OK\r\n\r\n" + large + large, got{200, large, true}},
		"shorter than announced":  {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ntoken", got{200, "token", true}},
		"longer than announced":   {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntoken", got{200, "tok", false}},
		"chunks cut off":          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ntoken\r\n3\r\nx", got{200, "tokenx", true}},
		"chunks without end":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ntoken\r\n", got{200, "token", true}},
		"a chunk that is none":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ntokenXX", got{200, "token", true}},
		"gzip":                    {replyWith("Content-Encoding: gzip\r\n", packed), got{200, "a token", false}},
		"gzip, not announced":     {replyWith("", packed), got{200, "a token", false}},
		"gzip, announced only":    {replyWith("Content-Encoding: gzip\r\n", "a token"), got{200, "a token", false}},
		"gzip, cut off":           {replyWith("", packed[:len(packed)-3]), got{200, "a token", true}},
		"gzip, garbage":           {replyWith("", "\x1f\x8bgarbage"), got{200, "", true}},
		"gzip, two of them":       {replyWith("", packed+packed), got{200, "a token", false}},
		"gzip bomb":               {replyWith("", gzipped(t, strings.Repeat("x", 4*maxBody))), got{200, large, true}},
		"a few interim replies":   {strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", maxInterim) + goodReply, got{200, "ok", false}},
		"another protocol":        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nanything", got{101, "", false}},
		"a redirect":              {"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", got{307, "", false}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(p *peer) {
				p.request()
				p.say(test.reply)
			})
			got := call(t, newClient(t, Options{}), post(s.url(), "x"))
			assert.Equal(t, test.want.status, got.status)
			assert.Equal(t, test.want.cut, got.cut)
			assert.Len(t, got.body, len(test.want.body))
			if len(test.want.body) < maxBody { // larger ones would be printed
				assert.Equal(t, test.want.body, got.body)
			}
			assert.Equal(t, 1, bytes.Count(s.seen(), []byte("POST ")))
		})
	}
}

// After the request was written, no reply means that nothing is known.
func TestNoReply(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reply  string
		detail string
	}{
		"none":              {"", "connection closed"},
		"not HTTP":          {"SSH-2.0-OpenSSH_9.2\r\n", "no readable HTTP reply"},
		"half a status":     {"HTTP/1.1 2", "no readable HTTP reply"},
		"a bad length":      {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", "no readable HTTP reply"},
		"two lengths":       {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", "no readable HTTP reply"},
		"a huge header":     {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n", "no readable HTTP reply"},
		"a flood of 1xx":    {strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 1000) + goodReply, "more than 8 interim replies"},
		"endless 1xx":       {"HTTP/1.1 103 Early Hints\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n", "no readable HTTP reply"},
		"an odd encoding":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}", "no readable HTTP reply"},
		"a secret in error": {"HTTP/1.1 RT-123 RT-123\r\nRT-123\r\n\r\n", "no readable HTTP reply"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(p *peer) {
				p.request()
				p.say(test.reply)
			})
			failed := fail(t, newClient(t, Options{}), post(s.url(), "x"))
			assert.Equal(t, credential.ClassAmbiguous, failed.Outcome.Class)
			assert.Equal(t, credential.ReasonNetwork, failed.Outcome.Reason)
			assert.Equal(t, test.detail, failed.Outcome.Detail)
			assert.Equal(t, 1, bytes.Count(s.seen(), []byte("POST ")))
		})
	}
}

// A provider that never ends is left when the time is up, and what it said
// until then is kept.
func TestTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	drip := func(p *peer, text string) {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i = (i + 1) % len(text) {
			<-tick.C
			if _, err := p.Write([]byte{text[i]}); err != nil {
				return
			}
		}
	}
	tests := map[string]func(*peer){
		"silent":        (*peer).gone,
		"in the header": func(p *peer) { p.request(); p.say("HTTP/1.1 200 OK\r\nX: "); drip(p, "x") },
		"interim":       func(p *peer) { p.request(); p.say("HTTP/1.1 102 Processing\r\n\r\n"); p.gone() },
		"half a header": func(p *peer) { p.request(); p.say("HTTP/1.1 200 OK\r\n"); p.gone() },
	}
	for name, serve := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, serve)
			failed := fail(t, newClient(t, Options{Timeout: timeout}), post(s.url(), "x"))
			assert.Equal(t, credential.ClassAmbiguous, failed.Outcome.Class)
			assert.Equal(t, credential.ReasonTimeout, failed.Outcome.Reason)
			assert.Equal(t, "no complete reply within 2s", failed.Outcome.Detail)
			var timeout *TimeoutError
			require.ErrorAs(t, failed, &timeout)
			assert.Equal(t, "provider acme: no complete reply within 2s", timeout.Error())
			assert.True(t, timeout.Timeout())
		})
	}
	t.Run("in the body", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, func(p *peer) {
			p.request()
			p.say("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\ntoken")
			drip(p, "x")
		})
		reply, err := newClient(t, Options{Timeout: timeout}).Do(t.Context(), post(s.url(), "x"))
		require.NoError(t, err)
		defer reply.Release()
		assert.True(t, bytes.HasPrefix(reply.Body, []byte("token")))
		require.NotNil(t, reply.Cut)
		assert.Equal(t, credential.ReasonTimeout, reply.Cut.Outcome.Reason)
	})
}

// Where no connection comes about nothing was sent.
func TestNotSent(t *testing.T) {
	t.Parallel()
	refusing, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, refusing.Close())
	plain := newServer(t, func(p *peer) { p.say("HTTP/1.1 400 Bad Request\r\n\r\n"); p.gone() })
	silent := newServer(t, (*peer).gone)
	secure := newTLSServer(t)
	tests := map[string]struct {
		url     string
		options Options
		class   credential.Class
		reason  credential.Reason
		detail  string
	}{
		"refused":           {"http://" + refusing.Addr().String(), Options{}, credential.ClassNotSent, credential.ReasonNetwork, "connection refused"},
		"no such host":      {"http://no..such..host/", Options{}, credential.ClassNotSent, credential.ReasonNetwork, "the host's name does not resolve"},
		"no TLS there":      {"https://" + plain.url().Host, Options{}, credential.ClassNotSent, credential.ReasonNetwork, "TLS: the other side does not speak it"},
		"TLS hangs":         {"https://" + silent.url().Host, Options{Timeout: 300 * time.Millisecond}, credential.ClassNotSent, credential.ReasonTimeout, ""},
		"unknown authority": {secure.URL, Options{}, credential.ClassOperator, credential.ReasonClientMisconfigured, "TLS: the certificate is signed by an unknown authority"},
		"another host": {
			strings.Replace(secure.URL, "127.0.0.1", "localhost", 1),
			Options{CAFile: caFile(t, secure)},
			credential.ClassOperator, credential.ReasonClientMisconfigured, "TLS: the certificate is for another host",
		},
		"link-local":     {"http://169.254.169.254/latest", Options{}, credential.ClassOperator, credential.ReasonClientMisconfigured, ErrForbiddenAddress.Error()},
		"proxy is away":  {"http://127.0.0.1:1/", Options{Proxy: "http://u:secret@" + refusing.Addr().String()}, credential.ClassNotSent, credential.ReasonNetwork, "connection refused"},
		"proxy is none":  {"http://127.0.0.1:1/", Options{Proxy: "http://u:secret@" + plain.url().Host}, credential.ClassNotSent, credential.ReasonNetwork, "the proxy answered HTTP 400"},
		"proxy, no TLS":  {"http://127.0.0.1:1/", Options{Proxy: "https://" + plain.url().Host}, credential.ClassNotSent, credential.ReasonNetwork, "TLS: the other side does not speak it"},
		"past the proxy": {"http://169.254.169.254/", Options{Proxy: plain.url().String()}, credential.ClassOperator, credential.ReasonClientMisconfigured, ErrForbiddenAddress.Error()},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to, err := url.Parse(test.url)
			require.NoError(t, err)
			failed := fail(t, newClient(t, test.options), post(to, "x"))
			assert.Equal(t, test.class, failed.Outcome.Class)
			assert.Equal(t, test.reason, failed.Outcome.Reason)
			assert.Contains(t, failed.Outcome.Detail, test.detail)
			assert.NotContains(t, failed.Error(), "secret")
		})
	}
	assert.NotContains(t, string(plain.seen()), "POST")
	assert.NotContains(t, string(silent.seen()), "POST")
}

// newTLSServer starts a server with httptest's certificate.
func newTLSServer(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		_, _ = w.Write(append([]byte(r.Proto+" "), body...)) //nolint:gosec // no browser reads it
	}))
	s.Config.ErrorLog = discardLog()
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := newTLSServer(t)
	to, err := url.Parse(s.URL)
	require.NoError(t, err)
	c := newClient(t, Options{CAFile: caFile(t, s)})
	for range 3 {
		assert.Equal(t, got{200, "HTTP/1.1 x=y", false}, call(t, c, post(to, "x=y")))
	}
}

// Until there is a connection the caller can call it off, and so can the clock.
func TestCalledOff(t *testing.T) {
	t.Parallel()
	arrived, answer := make(chan struct{}), make(chan struct{})
	s := newServer(t, func(p *peer) {
		for {
			if !p.request() {
				return
			}
			arrived <- struct{}{}
			<-answer
			p.say(goodReply)
		}
	})
	c := newClient(t, Options{MaxConns: 1})
	c.connect = 2 * time.Second // the first one's reply may take its time
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		reply, err := c.Do(ctx, post(s.url(), "first"))
		if err == nil {
			reply.Release()
		}
		first <- err
	}()
	<-arrived // the only connection is taken

	waiting, stop := context.WithCancel(t.Context())
	stop()
	_, err := c.Do(waiting, post(s.url(), "second"))
	var failed *Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, credential.ClassNotSent, failed.Outcome.Class)
	assert.Equal(t, "called off before anything was sent", failed.Outcome.Detail)

	failed = fail(t, c, post(s.url(), "third"))
	assert.Equal(t, credential.ClassNotSent, failed.Outcome.Class)
	assert.Equal(t, credential.ReasonTimeout, failed.Outcome.Reason)
	assert.Equal(t, "no connection within 2s", failed.Outcome.Detail)

	cancel() // the first was sent: it runs to its end
	close(answer)
	require.NoError(t, <-first)
	assert.NotContains(t, string(s.seen()), "second")
	assert.NotContains(t, string(s.seen()), "third")
}

// A safe call can be ended at any time.
func TestSafeCall(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := newServer(t, func(p *peer) {
		p.request()
		cancel()
		p.gone()
	})
	_, err := newClient(t, Options{}).Do(ctx, Request{Method: http.MethodGet, URL: s.url(), Header: http.Header{}, Safe: true})
	var failed *Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, credential.ClassAmbiguous, failed.Outcome.Class)
	require.ErrorIs(t, err, context.Canceled)
}

// A connection that comes when the call was called off is not written on.
func TestTooLate(t *testing.T) {
	t.Parallel()
	client, provider := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	aborted := make(chan error, 1)
	s := newSending(ctx, &Client{connect: time.Hour}, func(cause error) { aborted <- cause })
	cancel()
	require.ErrorIs(t, <-aborted, errCalledOff)
	c := &conn{Conn: client}
	s.gotConn(httptrace.GotConnInfo{Conn: c})
	n, err := c.Write([]byte("token"))
	assert.Zero(t, n)
	require.ErrorIs(t, err, errRetired)
	assert.False(t, s.sent())
	require.NoError(t, client.Close())
	require.NoError(t, provider.Close())
}

// A client that another one takes the place of serves those who have it in hand, and
// keeps no connection.
func TestRetiredClient(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 3)
	s := newServer(t, func(p *peer) {
		p.request()
		p.say(goodReply)
		p.gone()
		gone <- struct{}{}
	})
	c := newClient(t, Options{})
	call(t, c, post(s.url(), "x"))
	c.Retire()
	<-gone
	for range 2 {
		assert.Equal(t, got{200, "ok", false}, call(t, c, post(s.url(), "y")))
		<-gone
	}
	assert.Equal(t, 3, s.connections())
	c.Close()
	assert.Equal(t, "the client is closed", fail(t, c, post(s.url(), "z")).Outcome.Detail)
}

func TestClosedClient(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(p *peer) {
		p.request()
		p.say(goodReply)
		p.gone()
	})
	c := newClient(t, Options{})
	call(t, c, post(s.url(), "x"))
	c.Close()
	failed := fail(t, c, post(s.url(), "y"))
	assert.Equal(t, credential.ClassNotSent, failed.Outcome.Class)
	assert.Equal(t, "the client is closed", failed.Outcome.Detail)
	assert.Equal(t, 1, s.connections())
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, []byte("nothing"), 0o600))
	for name, o := range map[string]Options{
		"proxy is not a URL": {Proxy: "http://user:secret@[::1"},
		"proxy has scheme":   {Proxy: "socks5://user:secret@host:1080"},
		"ca_file":            {CAFile: filepath.Join(t.TempDir(), "missing.pem")},
		"no PEM certificate": {CAFile: empty},
		"negative":           {Timeout: -1},
	} {
		_, err := New(o)
		require.ErrorIs(t, err, errOptions)
		require.ErrorContains(t, err, name)
		assert.NotContains(t, err.Error(), "secret")
	}
}

// What the transport must not do is a matter of its settings.
func TestTransportSettings(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	assert.Nil(t, c.transport.Proxy, "no environment variable names a proxy")
	assert.False(t, c.transport.Protocols.HTTP2())
	s := newSending(t.Context(), c, func(error) {})
	defer s.stopWaiting()
	req := s.request(t.Context(), post(&url.URL{Scheme: "http", Host: "x"}, "body"))
	assert.Nil(t, req.GetBody, "a body that cannot be had again cannot be sent again")
	assert.NotContains(t, req.Header, "Idempotency-Key")
}

// Memory that held a reply is wiped before it is used again.
func TestBuffersAreWiped(t *testing.T) {
	t.Parallel()
	var b buffers
	for _, size := range []int{10, firstBuffer + 1, keptBuffer + 1} {
		buf := b.get()
		require.NoError(t, fill(buf, iotest.OneByteReader(strings.NewReader(strings.Repeat("t", size))), maxBody))
		held := *buf
		require.Len(t, held, size)
		b.put(buf)
		assert.NotContains(t, string(held), "t")
	}
}
