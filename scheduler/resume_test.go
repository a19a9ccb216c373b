package scheduler

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWallStep(t *testing.T) {
	t.Parallel()
	at := moment(t, "2026-03-01T10:00:00Z")
	before := reading{wall: at, mono: time.Minute}
	for name, row := range map[string]struct {
		after  reading
		step   time.Duration
		jumped bool
	}{
		"both went on":           {reading{at.Add(5 * time.Second), 65 * time.Second}, 0, false},
		"drift":                  {reading{at.Add(5020 * time.Millisecond), 65 * time.Second}, 20 * time.Millisecond, false},
		"suspended for an hour":  {reading{at.Add(time.Hour + 5*time.Second), 65 * time.Second}, time.Hour, true},
		"set back by an hour":    {reading{at.Add(5*time.Second - time.Hour), 65 * time.Second}, -time.Hour, true},
		"set forward by a year":  {reading{at.AddDate(1, 0, 0), time.Minute}, 365 * 24 * time.Hour, true},
		"half a minute is right": {reading{at.Add(35 * time.Second), 65 * time.Second}, 30 * time.Second, false},
	} {
		step := wallStep(before, row.after)
		assert.Equal(t, row.step, step, name)
		assert.Equal(t, row.jumped, jumped(step), name)
	}
}

// watchBench is a clock watch whose machine can be suspended.
type watchBench struct {
	watch     *clockWatch
	clock     *fakeClock
	suspended atomic.Int64

	mu    sync.Mutex
	steps []bool // whether the store's clock was among those that jumped
	err   error
}

func (b *watchBench) stepped(_ context.Context, store bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.steps = append(b.steps, store)
	return b.err
}

func (b *watchBench) seen() []bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.steps)
}

func (b *watchBench) fail(err error) {
	b.clock.fail(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func newWatchBench() *watchBench {
	b := &watchBench{clock: &fakeClock{}}
	b.watch = newClockWatch(b.clock, zerolog.New(io.Discard), newMetrics(prometheus.NewRegistry()), b.stepped)
	read := b.watch.read
	b.watch.read = func() reading {
		r := read()
		r.wall = r.wall.Add(time.Duration(b.suspended.Load()))
		return r
	}
	return b
}

func TestAJumpOfEitherClockIsNoticedWithinSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newWatchBench()
		stop := run(t, b.watch.loop)
		elapse(time.Hour)
		require.Empty(t, b.seen(), "nothing jumped")
		b.suspended.Store(int64(time.Hour))
		elapse(syncEvery)
		require.Equal(t, []bool{false}, b.seen())
		b.clock.jump(-time.Hour)
		elapse(syncEvery)
		require.Equal(t, []bool{false, true}, b.seen())
		b.clock.jump(20 * time.Second)
		elapse(time.Hour)
		stop()
		assert.Len(t, b.seen(), 2, "each once, and drift is none")
	})
}

func TestAJumpIsDealtWithOnceTheStoreIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newWatchBench()
		b.fail(errAway)
		stop := run(t, b.watch.loop)
		b.suspended.Store(int64(time.Hour))
		elapse(3 * syncEvery)
		require.Len(t, b.seen(), 3)
		b.fail(nil)
		elapse(10 * syncEvery)
		stop()
		assert.Len(t, b.seen(), 4)
	})
}
