package wire

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const goodReply = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\nok"

// server is a provider that behaves as badly as a test wants it to.
type server struct {
	t        *testing.T
	listener net.Listener
	serve    func(*peer)
	done     sync.WaitGroup

	mu    sync.Mutex
	peers []*peer
}

// peer is one connection to the server. What came in on it is kept.
type peer struct {
	net.Conn
	in *bufio.Reader

	mu   sync.Mutex
	seen bytes.Buffer
}

// Read records what it reads.
func (p *peer) Read(buf []byte) (int, error) {
	n, err := p.Conn.Read(buf)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen.Write(buf[:n])
	return n, err
}

// request reads one request and reports whether one came.
func (p *peer) request() bool {
	req, err := http.ReadRequest(p.in)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

// say writes text. That the client may be gone is none of the test's concern.
func (p *peer) say(text string) { _, _ = io.WriteString(p.Conn, text) }

// gone waits until the client has closed the connection.
func (p *peer) gone() { _, _ = io.Copy(io.Discard, p.in) }

// newServer starts a server that hands every connection to serve and closes it
// afterwards.
func newServer(t *testing.T, serve func(*peer)) *server {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &server{t: t, listener: listener, serve: serve}
	s.done.Go(s.accept)
	t.Cleanup(func() {
		assert.NoError(t, listener.Close())
		s.mu.Lock()
		for _, p := range s.peers {
			_ = p.Close() // most are closed already
		}
		s.mu.Unlock()
		s.done.Wait()
	})
	return s
}

func (s *server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		p := &peer{Conn: c}
		p.in = bufio.NewReader(p)
		s.mu.Lock()
		s.peers = append(s.peers, p)
		s.mu.Unlock()
		s.done.Go(func() {
			s.serve(p)
			_ = c.Close() // the test may have done so
		})
	}
}

// connections returns how many connections came.
func (s *server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.peers)
}

// seen returns everything that came in, connection after connection.
func (s *server) seen() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []byte
	for _, p := range s.peers {
		p.mu.Lock()
		all = append(all, p.seen.Bytes()...)
		p.mu.Unlock()
	}
	return all
}

func (s *server) url() *url.URL {
	return &url.URL{Scheme: "http", Host: s.listener.Addr().String(), Path: "/token"}
}

// newClient returns a client that is closed when the test ends.
func newClient(t *testing.T, o Options) *Client {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = patience
	}
	o.Provider = "acme"
	c, err := New(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// post is a request with a body.
func post(to *url.URL, body string) Request {
	return Request{
		Method: http.MethodPost, URL: to, Body: body,
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	}
}

// got is a reply as values that can be compared.
type got struct {
	status int
	body   string
	cut    bool
}

// call makes a call that brings a reply.
func call(t *testing.T, c *Client, in Request) got {
	t.Helper()
	reply, err := c.Do(t.Context(), in)
	require.NoError(t, err)
	defer reply.Release()
	return got{reply.Status, string(reply.Body), reply.Cut != nil}
}

// fail makes a call that brings none.
func fail(t *testing.T, c *Client, in Request) *Error {
	t.Helper()
	reply, err := c.Do(t.Context(), in)
	require.Nil(t, reply)
	var failed *Error
	require.ErrorAs(t, err, &failed)
	return failed
}
