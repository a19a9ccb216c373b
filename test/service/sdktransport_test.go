package service

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
	"github.com/refreshd/refreshd/client/clienttest/conformance"
	"github.com/refreshd/refreshd/internal/practice"
)

// putToken is a minted token as the SDK stores it.
func putToken(m practice.Minted) *client.PutToken {
	return &client.PutToken{
		AccessToken: m.AccessToken, RefreshToken: m.RefreshToken, ExpiresIn: time.Duration(m.ExpiresIn) * time.Second,
	}
}

// sdk returns a client of a process, for as long as the test runs.
func sdk(t *testing.T, at *api) *client.Client {
	t.Helper()
	c, err := client.New(at.Base, client.Options{Key: at.Key})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// What the SDK relies on holds in the service, as it does in the one in memory
// that programs are tested with.
func TestSDKConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, func(t *testing.T) conformance.Service {
		t.Helper()
		p := newProvider(t, providerOptions{})
		at := newHouse(t, p, "").start()
		return conformance.Service{URL: at.Base, Key: at.Key, Provider: providerName, Issue: func(t *testing.T) *client.PutToken {
			t.Helper()
			minted, err := p.Mint(practice.MintRequest{Count: 1})
			require.NoError(t, err)
			return putToken(minted[0])
		}}
	})
}

// resource is what the tokens are for. It echoes what it is sent, and refuses
// one token from some request on although its time is not over.
type resource struct {
	graphql bool
	token   string // that dies
	after   int    // requests

	mu       sync.Mutex
	requests int
	refused  int
	sent     map[string]int // times, by body
}

// ServeHTTP answers one request.
func (r *resource) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender has seen enough
	}
	switch {
	case !r.refuses(string(body), strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")):
		_, _ = w.Write(body) // the sender counts what it gets
	case r.graphql:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":null,"errors":[{"message":"no","extensions":{"code":"UNAUTHENTICATED"}}]}`)
	default:
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func (r *resource) refuses(body, token string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	r.sent[body]++
	dead := token == "" || token == r.token && r.requests > r.after
	if dead {
		r.refused++
	}
	return dead
}

// A thousand goroutines share one transport. The token dies at the resource
// before its time: the provider sees one refresh, every request succeeds, and
// none is sent more than twice.
func TestSDKTransportInACrowd(t *testing.T) {
	t.Parallel()
	for _, graphql := range []bool{false, true} {
		t.Run(fmt.Sprintf("graphql %t", graphql), func(t *testing.T) {
			t.Parallel()
			const crowd, turns = 1000, 2
			p := newProvider(t, providerOptions{})
			h := newHouse(t, p, "")
			at := h.start()
			h.login(at.api, 1)
			c := sdk(t, at.api)
			first, err := c.Token(t.Context(), credentialID(0))
			require.NoError(t, err)
			r := &resource{graphql: graphql, token: first.AccessToken, after: crowd / 2, sent: map[string]int{}}
			url := serve(t, nil, func(ctx context.Context, ln net.Listener) error { return serveHTTP(ctx, ln, r) })
			rejected := client.RejectREST
			if graphql {
				rejected = client.RejectGraphQL
			}
			web := &http.Client{Transport: c.Transport(credentialID(0),
				&http.Transport{MaxConnsPerHost: 64, MaxIdleConnsPerHost: 64}, client.WithRejection(rejected))}
			t.Cleanup(web.CloseIdleConnections)

			var succeeded atomic.Int64
			var all sync.WaitGroup
			for i := range crowd {
				all.Go(func() {
					for turn := range turns {
						body := fmt.Sprintf("%d/%d", i, turn)
						if got, status, err := post(t.Context(), web, url, strings.NewReader(body)); err != nil || status != http.StatusOK || got != body {
							t.Errorf("%s: %d %v", body, status, err)
							continue
						}
						succeeded.Add(1)
					}
				})
			}
			all.Wait()
			assert.EqualValues(t, crowd*turns, succeeded.Load())
			assert.EqualValues(t, 1, p.Summary().Presentations)
			assert.Empty(t, p.Summary().Violations)
			r.mu.Lock()
			defer r.mu.Unlock()
			assert.Positive(t, r.refused)
			assert.Len(t, r.sent, crowd*turns)
			for body, times := range r.sent {
				assert.LessOrEqual(t, times, 2, body)
			}
			t.Logf("%d of %d requests were refused the first time", r.refused, crowd*turns)
		})
	}
}

// A body that streams is sent once. The refusal is the caller's, and the next
// request has a new token.
func TestSDKTransportSendsAStreamOnce(t *testing.T) {
	t.Parallel()
	p := newProvider(t, providerOptions{})
	h := newHouse(t, p, "")
	at := h.start()
	minted := h.login(at.api, 1)
	r := &resource{token: minted[0].AccessToken, sent: map[string]int{}}
	url := serve(t, nil, func(ctx context.Context, ln net.Listener) error { return serveHTTP(ctx, ln, r) })
	base := &http.Transport{}
	web := &http.Client{Transport: sdk(t, at.api).Transport(credentialID(0), base)}
	t.Cleanup(base.CloseIdleConnections)

	_, status, err := post(t.Context(), web, url, io.MultiReader(strings.NewReader("a stream"), strings.NewReader(" of two parts")))
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, status)
	got, status, err := post(t.Context(), web, url, strings.NewReader("known in advance"))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "known in advance", got)
	r.mu.Lock()
	defer r.mu.Unlock()
	assert.Equal(t, 1, r.sent["a stream of two parts"])
	assert.EqualValues(t, 1, p.Summary().Presentations)
}

func post(ctx context.Context, web *http.Client, url string, body io.Reader) (answer string, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return "", 0, err
	}
	resp, err := web.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return string(data), resp.StatusCode, err
}
