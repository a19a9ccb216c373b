package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

const (
	crowd      = 1000
	crowdTurns = 2
	// crowdConns bounds the connections to the resource, whose requests all
	// hang on one refresh for a while.
	crowdConns = 128
)

// A thousand goroutines share one transport, and the token dies before its
// time while they are at it.
func TestTransportInACrowd(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		graphql bool
		stream  bool
	}{
		"rest":    {},
		"graphql": {graphql: true},
		"streams": {stream: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setupSending(t)
			h.graphql = row.graphql
			var arrived atomic.Int64
			refusals := make(chan struct{})
			h.onRequest = func(*http.Request) {
				if arrived.Add(1) == crowd*crowdTurns/2 {
					h.expire()
				}
			}
			h.onRefused = func(n int) {
				if n == crowdConns/2 {
					close(refusals)
				}
			}
			// The refresh takes until many have met the dead token.
			h.onReport = func() { <-refusals }
			base := &http.Transport{MaxConnsPerHost: crowdConns, MaxIdleConnsPerHost: crowdConns}
			defer base.CloseIdleConnections()
			var opts []client.TransportOption
			if row.graphql {
				opts = append(opts, client.WithRejection(client.RejectGraphQL))
			}
			c := &http.Client{Transport: h.client.Transport(sendingID, base, opts...)}

			var refused atomic.Int64
			var all sync.WaitGroup
			for i := range crowd {
				all.Go(func() {
					for turn := range crowdTurns {
						name := fmt.Sprintf("%d/%d", i, turn)
						status, body, err := crowdRequest(t, c, h.resource.URL, name, row.stream)
						switch {
						case err != nil:
							t.Errorf("%s: %v", name, err)
						case row.stream && status == http.StatusUnauthorized:
							refused.Add(1)
						case status != http.StatusOK || body != "hello "+name:
							t.Errorf("%s: %d %q", name, status, body)
						}
					}
				})
			}
			all.Wait()

			reports, exchanges := h.counts()
			assert.Equal(t, 1, exchanges, "refreshes that the provider saw")
			assert.Equal(t, 1, reports, "rejections that refreshd was told of")
			most := 2
			if row.stream {
				most = 1
				assert.Equal(t, int64(h.refused), refused.Load(), "responses that were not handed on")
			}
			assert.Len(t, h.seen, crowd*crowdTurns)
			for name, times := range h.seen {
				assert.LessOrEqual(t, times, most, name)
			}
			assert.Positive(t, h.refused)
		})
	}
}

// crowdRequest sends its name as the body.
func crowdRequest(t *testing.T, c *http.Client, url, name string, stream bool) (status int, body string, err error) {
	t.Helper()
	var content io.Reader = strings.NewReader(name)
	if stream {
		content = io.MultiReader(content) // of no type that has a GetBody
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, content)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("X-Request", name)
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// As many meet a credential that only the user can mend: the login is shown
// once, whether it succeeds or not.
func TestTransportLoginInACrowd(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]error{"signed in": nil, "gave up": errGaveUp} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setupSending(t)
			// Everybody is on the way with the first token when it dies.
			var onWay sync.WaitGroup
			var once sync.Once
			onWay.Add(crowd)
			base := roundTripFunc(func(r *http.Request) (*http.Response, error) {
				res := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}
				if r.Header.Get("Authorization") == "Bearer at-secret-1" {
					onWay.Done()
					onWay.Wait()
					once.Do(func() { h.refuse("reauth_required") })
					res.StatusCode = http.StatusUnauthorized
				}
				return res, nil
			})
			var logins atomic.Int64
			rt := h.client.Transport(sendingID, base, client.WithReauth(func(_ context.Context, _ string) error {
				logins.Add(1)
				if fails == nil {
					h.signIn()
				}
				return fails
			}))
			_, err := h.client.Token(t.Context(), sendingID)
			require.NoError(t, err)
			var all sync.WaitGroup
			for range crowd {
				all.Go(func() {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://api.example/", nil)
					if err != nil {
						t.Error(err)
						return
					}
					res, err := rt.RoundTrip(req) //nolint:bodyclose // it has none
					switch {
					case fails == nil && (err != nil || res.StatusCode != http.StatusOK):
						t.Errorf("%v %v", res, err)
					case fails != nil && !errors.Is(err, fails):
						t.Error(err)
					}
				})
			}
			all.Wait()
			assert.Equal(t, int64(1), logins.Load())
		})
	}
}
