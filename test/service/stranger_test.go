package service

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
)

// The rows whose refresh goes to another server than the backend: what fails lies
// below HTTP, or in the middle of a reply.
const (
	badTLS     = "a certificate that is not trusted"
	noName     = "a name that does not resolve"
	nobody     = "a refused connection"
	noTLS      = "TLS that the other side does not speak"
	resetEarly = "a connection reset before the request"
	bodyCut    = "a body cut off"
	bodyStops  = "a body that stops"
)

// stranger is where such a refresh goes.
type stranger struct {
	url  string
	deaf bool // no call gets as far as a request

	mu       sync.Mutex
	received []backends.Entry
}

// calls returns those that came, in the order in which they did.
func (s *stranger) calls() []backends.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.received)
}

// elsewhere makes the server that a row's refresh goes to, nil for one that is
// the backend's.
func elsewhere(t *testing.T, row string) *stranger {
	t.Helper()
	switch row {
	case badTLS:
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(t.Output(), "", 0)
		server.StartTLS()
		t.Cleanup(server.Close)
		return &stranger{url: server.URL + "/", deaf: true}
	case noName:
		// Answered without a question to anyone: RFC 7686 section 2.
		return &stranger{url: "https://nobody.onion/", deaf: true}
	case nobody:
		ln := listen(t)
		require.NoError(t, ln.Close())
		return &stranger{url: "http://" + ln.Addr().String() + "/", deaf: true}
	case noTLS:
		server := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(server.Close)
		return &stranger{url: "https" + strings.TrimPrefix(server.URL, "http") + "/", deaf: true}
	case resetEarly:
		ln := listen(t)
		var serving sync.WaitGroup
		serving.Go(func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				if tcp, ok := conn.(*net.TCPConn); ok {
					_ = tcp.SetLinger(0) // a reset in place of an end
				}
				_ = conn.Close()
			}
		})
		t.Cleanup(func() { _ = ln.Close(); serving.Wait() })
		return &stranger{url: "https://" + ln.Addr().String() + "/", deaf: true}
	case bodyCut:
		return answering(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	case bodyStops:
		return answering(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	}
	return nil
}

// answering begins each reply, and leaves it to then what becomes of it.
func answering(t *testing.T, then http.HandlerFunc) *stranger {
	t.Helper()
	s := &stranger{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.received = append(s.received, backends.Entry{Call: backends.CallRefresh, Received: time.Now()})
		s.mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body) // whoever has sent it to the end may go, and is noticed then
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"message":`)
		_ = http.NewResponseController(w).Flush()
		then(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/"
	return s
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ln
}
