package scheduler

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/failpoint"
)

const (
	// syncEvery is how often the clocks are compared.
	syncEvery = 5 * time.Second
	// syncTimeout bounds one reading of the store's clock.
	syncTimeout = 5 * time.Second
	// stepLimit is how far a clock may move against another before it counts
	// as a jump. What lies below is drift, or somebody setting it right.
	stepLimit = 30 * time.Second
)

// reading is the wall clock and the monotonic clock at one moment.
type reading struct {
	wall time.Time     // without a monotonic part
	mono time.Duration // since some moment; it stands still while the machine is suspended
}

// wallStep returns by how much the wall clock moved more than the monotonic
// one between two readings: the time that the machine was suspended or its VM
// halted, or by how much somebody set the clock.
func wallStep(before, after reading) time.Duration {
	return after.wall.Sub(before.wall) - (after.mono - before.mono)
}

// jumped reports whether a movement counts as a jump.
func jumped(step time.Duration) bool { return step.Abs() > stepLimit }

// clockWatch notices when a clock jumps.
type clockWatch struct {
	clock   Clock
	read    func() reading
	stepped func(ctx context.Context, store bool) error
	log     zerolog.Logger
	metrics *metrics
}

func newClockWatch(clock Clock, log zerolog.Logger, m *metrics, stepped func(ctx context.Context, store bool) error) *clockWatch {
	started := time.Now()
	return &clockWatch{
		clock: clock, stepped: stepped, log: log, metrics: m,
		read: func() reading {
			now := time.Now()
			return reading{wall: now.Round(0).Add(failpoint.Offset(failpoint.ClockWall)), mono: now.Sub(started)}
		},
	}
}

func (w *clockWatch) loop(ctx context.Context) {
	ticker := time.NewTicker(syncEvery)
	defer ticker.Stop()
	last := w.read()
	var wall, store time.Duration // jumps that were not dealt with yet
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := w.read()
		if step := wallStep(last, now); jumped(step) {
			w.metrics.stepped("wall")
			wall = step
		}
		last = now
		step, err := w.sync(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			w.log.Warn().Err(err).Msg("the store's clock cannot be read")
		}
		failing = err != nil
		if jumped(step) {
			w.metrics.stepped("store")
			store = step
		}
		if (wall != 0 || store != 0) && w.tell(ctx, wall, store) {
			wall, store = 0, 0
		}
	}
}

func (w *clockWatch) sync(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	return w.clock.Sync(ctx)
}

// tell has a jump dealt with and reports whether that is done: a machine that
// was suspended may be back before its network is.
func (w *clockWatch) tell(ctx context.Context, wall, store time.Duration) bool {
	w.log.Warn().Stringer("wall", wall).Stringer("store", store).
		Msg("a clock jumped: everything is looked at as after a start")
	err := w.stepped(ctx, store != 0)
	if err != nil && ctx.Err() == nil {
		w.log.Warn().Err(err).Msg("not every provider could be given an extra sweep after the jump of a clock, again in a moment")
	}
	return err == nil
}
