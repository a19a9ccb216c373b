package oauth2

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// source is what a discovery reads from.
type source struct {
	reads   atomic.Int64
	failing atomic.Bool
	after   time.Duration // Retry-After of a failure
	gate    chan struct{} // if set, a reading waits for it
}

func (s *source) fetch(ctx context.Context) (endpoints, *failed) {
	n := s.reads.Add(1)
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return endpoints{}, &failed{outcome: credential.Outcome{Class: credential.ClassNotSent}}
		}
	}
	if s.failing.Load() {
		return endpoints{}, &failed{
			outcome: credential.Outcome{Class: credential.ClassNotSent, RetryAfter: s.after},
			err:     errors.New("away"),
		}
	}
	return endpoints{token: &url.URL{Host: string("abcdefghijklmnopqrstuvwxyz"[n-1])}}, nil
}

func newDiscovery(s *source) *discovery { return &discovery{fetch: s.fetch, log: zerolog.Nop()} }

// advance lets time pass in a bubble.
func advance(d time.Duration) { <-time.After(d) }

func TestDiscoveryIsReadOnceForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{gate: make(chan struct{})}
		d := newDiscovery(s)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				got, failure := d.get(t.Context())
				assert.Nil(t, failure)
				assert.Equal(t, "a", got.token.Host)
			})
		}
		synctest.Wait()
		close(s.gate)
		wg.Wait()
		assert.EqualValues(t, 1, s.reads.Load())
	})
}

// What was read lasts for an hour, and beyond that for as long as reading
// fails.
func TestDiscoveryLasts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := new(source)
		d := newDiscovery(s)
		host := func() string {
			got, failure := d.get(t.Context())
			require.Nil(t, failure)
			return got.token.Host
		}
		assert.Equal(t, "a", host())
		advance(discoveryLasts - 1)
		assert.Equal(t, "a", host())
		advance(1)
		assert.Equal(t, "b", host())

		s.failing.Store(true)
		advance(discoveryLasts)
		assert.Equal(t, "b", host(), "a failure leaves what is known")
		assert.EqualValues(t, 3, s.reads.Load())
		assert.Equal(t, "b", host())
		assert.EqualValues(t, 3, s.reads.Load(), "and is not repeated at once")
		advance(pause(1))
		assert.Equal(t, "b", host())
		assert.EqualValues(t, 4, s.reads.Load())

		s.failing.Store(false)
		advance(pause(2))
		assert.Equal(t, "e", host())
		assert.Equal(t, "e", d.last().token.Host)
	})
}

// Nobody waits for a reading who can be served with what is known.
func TestDiscoveryServesWhatItHas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := new(source)
		d := newDiscovery(s)
		_, failure := d.get(t.Context())
		require.Nil(t, failure)
		advance(discoveryLasts)
		s.gate = make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			got, failure := d.get(t.Context())
			assert.Nil(t, failure)
			assert.Equal(t, "b", got.token.Host)
		})
		synctest.Wait()
		got, failure := d.get(t.Context())
		require.Nil(t, failure)
		assert.Equal(t, "a", got.token.Host)
		close(s.gate)
		wg.Wait()
	})
}

func TestDiscoveryBacksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := new(source)
		s.failing.Store(true)
		d := newDiscovery(s)
		for failures := 1; failures <= 12; failures++ {
			_, failure := d.get(t.Context())
			require.NotNil(t, failure)
			assert.EqualValues(t, failures, s.reads.Load())
			advance(pause(failures) - time.Millisecond)
			_, failure = d.get(t.Context())
			require.NotNil(t, failure)
			assert.EqualValues(t, failures, s.reads.Load(), "too early")
			assert.Equal(t, time.Millisecond, failure.outcome.RetryAfter)
			advance(time.Millisecond)
		}
		s.after = time.Hour
		_, _ = d.get(t.Context())
		advance(longestPause)
		_, failure := d.get(t.Context())
		require.NotNil(t, failure)
		assert.Equal(t, time.Hour-longestPause, failure.outcome.RetryAfter, "the provider said when")
	})
}

func TestPause(t *testing.T) {
	t.Parallel()
	assert.Equal(t, 2*time.Second, pause(1))
	assert.Equal(t, 4*time.Second, pause(2))
	assert.Equal(t, longestPause, pause(9))
	assert.Equal(t, longestPause, pause(1_000_000))
}

// A hint that the endpoints have moved brings the next reading forward, but
// not closer to the last than a minute.
func TestDiscoverySuspects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := new(source)
		d := newDiscovery(s)
		d.suspect()
		for _, want := range []int64{1, 2} {
			_, failure := d.get(t.Context())
			require.Nil(t, failure)
			d.suspect()
			_, failure = d.get(t.Context())
			require.Nil(t, failure)
			assert.Equal(t, want, s.reads.Load())
			advance(discoveryRest)
		}
		s.failing.Store(true)
		_, _ = d.get(t.Context())
		d.suspect()
		_, _ = d.get(t.Context())
		assert.EqualValues(t, 3, s.reads.Load(), "it does not shorten the wait after a failure")
	})
}

// A caller who leaves takes nobody along: neither those who wait with it, nor
// the next one.
func TestDiscoveryCalledOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{gate: make(chan struct{})}
		d := newDiscovery(s)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		leave := func() {
			_, failure := d.get(ctx)
			assert.Equal(t, credential.ClassNotSent, failure.outcome.Class)
			assert.ErrorIs(t, failure.err, context.Canceled)
		}
		wg.Go(leave)
		synctest.Wait()
		wg.Go(leave)
		wg.Go(func() {
			got, failure := d.get(t.Context())
			assert.Nil(t, failure)
			assert.Equal(t, "b", got.token.Host)
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(s.gate)
		wg.Wait()
		assert.EqualValues(t, 2, s.reads.Load())
	})
}
