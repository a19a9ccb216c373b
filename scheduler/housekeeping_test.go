package scheduler

import (
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestHousekeepingTrimsByAgeEveryMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{}
		clock := &fakeClock{}
		h := &housekeeping{log: log, clock: clock, retention: time.Hour, logger: zerolog.New(io.Discard)}
		stop := run(t, h.loop)
		elapse(3*trimEvery + time.Second)
		require.Len(t, log.seen(), 3)
		assert.Equal(t, clock.Now().Add(-time.Hour-time.Second), log.seen()[2])
		log.fail(errAway)
		elapse(trimEvery)
		log.fail(nil)
		elapse(trimEvery)
		stop()
		assert.Len(t, log.seen(), 5, "a failure ends nothing")
	})
}

func TestHousekeepingTrimsNothingThatOnlyLooksOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{}
		clock := &fakeClock{}
		h := &housekeeping{log: log, clock: clock, retention: time.Hour, logger: zerolog.New(io.Discard)}
		stop := run(t, h.loop)
		clock.jump(365 * 24 * time.Hour)
		h.rest()
		elapse(time.Hour - time.Second)
		assert.Empty(t, log.seen())
		elapse(2 * trimEvery)
		stop()
		assert.NotEmpty(t, log.seen())
	})
}

type fakeLog struct {
	mu     sync.Mutex
	before []credential.Millis
	err    error
}

func (f *fakeLog) TrimEvents(_ context.Context, before credential.Millis) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = append(f.before, before)
	return 1, f.err
}

func (f *fakeLog) seen() []credential.Millis {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.before)
}

func (f *fakeLog) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}
