package harness

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
)

const (
	// ProviderName is the provider's name in the configuration.
	ProviderName = "acme"
	// ClientID is refreshd's name at the provider.
	ClientID = "demo"
)

// Provider is a practice provider on a loopback port, until the end of the
// test.
type Provider struct {
	*practice.Server

	URL    string
	Secret string // of the client; some of it changes when it is encoded
}

// NewProvider runs a practice provider with one client.
func NewProvider(t testing.TB, o practice.Options) *Provider {
	t.Helper()
	p := &Provider{Secret: "cs_" + rand.Text() + "+/%"}
	o.Clients = []practice.Client{{ID: ClientID, Secret: p.Secret}}
	p.Server = practice.New(o)
	p.URL = Serve(t, p.Serve)
	return p
}

// Holds tells which generation of which grant a live access token belongs to;
// "" and 0 for a dead one.
func (p *Provider) Holds(accessToken string) (grant string, generation uint32) {
	shown := p.resource(accessToken)
	return shown.Grant, shown.Generation
}

// Ends is when a live access token ends, zero for a dead one.
func (p *Provider) Ends(accessToken string) time.Time { return p.resource(accessToken).ExpiresAt }

// resource is what a resource shows to a live access token.
type resource struct {
	Grant      string    `json:"grant"`
	Generation uint32    `json:"generation"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// resource asks in the process, past every listener.
func (p *Provider) resource(accessToken string) resource {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/resource", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+accessToken)
	w := httptest.NewRecorder()
	p.Handler().ServeHTTP(w, r)
	var answer resource
	if w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &answer) != nil {
		return resource{}
	}
	return answer
}

// Live reports whether the provider takes an access token.
func (p *Provider) Live(accessToken string) bool {
	grant, _ := p.Holds(accessToken)
	return grant != ""
}

// Serve runs something on a loopback port until the end of the test and
// returns its URL.
func Serve(t testing.TB, run func(context.Context, net.Listener) error) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := ln.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // processes end before what they use
	done := make(chan error, 1)
	go func() { done <- run(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	return "http://" + address
}

// ServeHTTP is a run for [Serve].
func ServeHTTP(handler http.Handler) func(context.Context, net.Listener) error {
	return func(ctx context.Context, ln net.Listener) error {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: Patience}
		stop := context.AfterFunc(ctx, func() { _ = server.Close() })
		defer stop()
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}
