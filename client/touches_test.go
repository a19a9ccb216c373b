package client_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

// touchBench has everything in memory, so that time can be a bubble's.
type touchBench struct {
	*sendingHouse

	status int // of the resource
	began  time.Time
	times  []time.Duration // of each report since the beginning
	slow   time.Duration   // how long refreshd takes for a report
}

func setupTouches(t *testing.T) *touchBench {
	t.Helper()
	b := &touchBench{sendingHouse: newSendingHouse(), status: http.StatusOK, began: time.Now()}
	b.touchAs = "touched"
	routes := b.apiRoutes(t.Errorf)
	c, err := client.New("https://refreshd.example", client.Options{
		Key: "rk_test", TouchInterval: 10 * time.Second,
		HTTPClient: &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/v1/touches" {
				b.mu.Lock()
				b.times = append(b.times, time.Since(b.began))
				b.mu.Unlock()
				select {
				case <-time.After(b.slow):
				case <-r.Context().Done():
					return nil, r.Context().Err()
				}
			}
			rec := httptest.NewRecorder()
			routes.ServeHTTP(rec, r)
			return rec.Result(), nil
		})},
	})
	require.NoError(t, err)
	b.client = c
	return b
}

// use sends a request with the credential.
func (b *touchBench) use(t *testing.T, id string, opts ...client.TransportOption) {
	t.Helper()
	base := roundTripFunc(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: b.status, Body: http.NoBody}, nil
	})
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example/", nil)
	res, err := b.client.Transport(id, base, opts...).RoundTrip(req)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
}

// at lets time pass until so long after the beginning.
func (b *touchBench) at(since time.Duration) {
	<-time.After(since - time.Since(b.began))
	synctest.Wait()
}

func (b *touchBench) close(t *testing.T) {
	t.Helper()
	require.NoError(t, b.client.Close())
}

func TestTouchesAreReportedTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setupTouches(t)
		b.use(t, "a") // at once
		synctest.Wait()
		for second := range 10 {
			b.at(time.Duration(second)*time.Second + time.Millisecond)
			b.use(t, "b")
			b.use(t, "a")
			b.use(t, "c")
		}
		b.at(15 * time.Second)
		b.use(t, "c")
		b.at(50 * time.Second) // nothing is used, nothing is reported
		b.use(t, "c")
		b.at(55 * time.Second)
		b.use(t, "a")
		b.close(t) // the last are reported then

		assert.Equal(t, [][]string{{"a"}, {"b", "a", "c"}, {"c"}, {"c"}, {"a"}}, b.touches)
		assert.Equal(t, []time.Duration{0, 10 * time.Second, 20 * time.Second, 50 * time.Second, 55 * time.Second}, b.times)
		b.use(t, "a") // after the end it is not reported, and does no harm
		require.NoError(t, b.client.Close())
		assert.Len(t, b.touches, 5)
	})
}

// Credentials that are no sessions are reported once for each token.
func TestTouchesOnlyWhatRefreshdWantsToHear(t *testing.T) {
	t.Parallel()
	for result, want := range map[string]int{"no_session": 2, "unknown": 2, "forbidden": 2, "over": 6, "touched": 6} {
		t.Run(result, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setupTouches(t)
				b.touchAs = result
				for turn := range 6 {
					if turn == 3 {
						_, err := b.client.Refresh(t.Context(), "a", 1) // another token
						require.NoError(t, err)
					}
					b.use(t, "a")
					b.at(time.Duration(turn+1) * 30 * time.Second)
				}
				b.close(t)
				assert.Len(t, b.touches, want)
			})
		})
	}
}

func TestTouchesWhatIsNoUse(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]int{200: 1, 204: 1, 304: 1, 101: 1, 302: 0, 400: 0, 401: 0, 403: 0, 429: 0, 500: 0, 503: 0} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setupTouches(t)
				b.status = status
				b.use(t, "a")
				b.close(t)
				assert.Len(t, b.touches, want)
			})
		})
	}
	t.Run("refused twice", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setupTouches(t)
			refused := func(*http.Response) bool { return true }
			b.use(t, "a", client.WithRejection(refused))
			b.close(t)
			assert.Empty(t, b.touches)
		})
	})
	t.Run("WithoutTouch", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setupTouches(t)
			b.use(t, "a", client.WithoutTouch())
			b.close(t)
			assert.Empty(t, b.touches)
		})
	})
}

// A report that fails harms no request, and is not made up for later, when it
// would not be true any more.
func TestTouchesThatFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setupTouches(t)
		_, err := b.client.Token(t.Context(), "a")
		require.NoError(t, err)
		b.mu.Lock()
		b.away = true
		b.mu.Unlock()
		b.use(t, "a")
		b.at(time.Minute)
		assert.Equal(t, [][]string{{"a"}}, b.touches)
		b.mu.Lock()
		b.away = false
		b.mu.Unlock()
		b.at(2 * time.Minute)
		assert.Len(t, b.touches, 1)
		b.use(t, "a")
		b.close(t)
		assert.Equal(t, []time.Duration{0, 2 * time.Minute}, b.times)
	})
}

// A refreshd that answers slowly makes nobody wait, the client's end included.
func TestTouchesThatTakeLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setupTouches(t)
		b.slow = time.Hour
		b.use(t, "a")
		synctest.Wait()
		b.use(t, "b")
		b.at(16 * time.Second) // the first gave up after 5 s, and 10 s have passed since
		b.use(t, "c")
		b.close(t)
		assert.Equal(t, []time.Duration{0, 15 * time.Second, 20 * time.Second}, b.times)
		assert.LessOrEqual(t, time.Since(b.began), 22*time.Second)
		assert.Empty(t, b.touches)
	})
}

func TestTouchesOfMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setupTouches(t)
		b.use(t, "a")
		synctest.Wait()
		for i := range 2500 {
			b.use(t, fmt.Sprintf("c%d", i))
		}
		b.at(10 * time.Second)
		b.close(t)
		sizes := make([]int, 0, 4)
		for _, ids := range b.touches {
			sizes = append(sizes, len(ids))
		}
		assert.Equal(t, []int{1, 1000, 1000, 500}, sizes)
	})
}
