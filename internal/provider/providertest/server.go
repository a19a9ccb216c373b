// Package providertest has servers for the tests of each kind of provider: some
// answer as they are told to, some with bytes that no server should send.
package providertest

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// Request is what a server was sent.
type Request struct {
	Method, URI, Body string
	Header            http.Header
}

// Server answers as it is told to, and remembers what it received.
type Server struct {
	*httptest.Server

	mu       sync.Mutex
	requests []Request
}

// NewServer starts a server that runs until the end of the test.
func NewServer(t testing.TB, answer http.HandlerFunc) *Server {
	t.Helper()
	s := new(Server)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.requests = append(s.requests, Request{r.Method, r.URL.RequestURI(), string(body), r.Header})
		s.mu.Unlock()
		answer(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// Received are the requests so far, in order.
func (s *Server) Received() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}
