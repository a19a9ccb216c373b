package oauth2_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/oauth2"
)

// request is one that the server received.
type request struct {
	method, path, body string
	header             http.Header
}

// server is an authorization server that answers as it is told to.
type server struct {
	*httptest.Server

	mu       sync.Mutex
	requests []request
}

// newServer starts a server that remembers what it receives.
func newServer(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := new(server)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.requests = append(s.requests, request{r.Method, r.URL.RequestURI(), string(body), r.Header})
		s.mu.Unlock()
		answer(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *server) received() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.requests...)
}

// say answers with a status and a body.
func say(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body)) //nolint:gosec // no browser reads it
	}
}

// newProvider returns a provider that is closed when the test ends.
func newProvider(t *testing.T, o oauth2.Options) *oauth2.Provider {
	t.Helper()
	if o.Name == "" {
		o.Name = "acme"
	}
	if o.ClientID == "" {
		o.ClientID = "client"
	}
	p, err := oauth2.New(o)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// kept records what an exchange wanted to be kept.
type kept struct {
	found []credential.Found
	err   error
}

func (k *kept) keep(f credential.Found) error {
	k.found = append(k.found, f)
	return k.err
}

// presenting is a presentation that may always be sent.
func presenting(refresh credential.Secret, keep func(credential.Found) error) credential.Presentation {
	return credential.Presentation{Token: credential.Token{Refresh: refresh}, MaySend: func() error { return nil }, Keep: keep}
}

// exchange presents a refresh token named RT-old.
func exchange(t *testing.T, p *oauth2.Provider) (credential.Outcome, *kept) {
	t.Helper()
	k := new(kept)
	return p.Exchange(t.Context(), presenting(credential.NewSecret("RT-old"), k.keep), ""), k
}
