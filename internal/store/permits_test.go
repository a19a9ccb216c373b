package store_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/store"
)

// Whatever the rate, however many permits may be out, whenever those who have
// them use them within their time, and if some calls take longer on their way, no second sees more calls than the rate says,
// and below one a second no such time more than one. And not many fewer are given
// out than could be.
func TestNoSecondIsFullerThanTheRate(t *testing.T) {
	t.Parallel()
	m, replicas := twoReplicas(t)
	now := time.UnixMilli(1_800_000_000_000).UTC()
	serial := 0
	rapid.Check(t, func(rt *rapid.T) {
		serial++
		acme := fmt.Sprintf("acme-%d", serial)
		limits := store.Limits{Concurrency: rapid.IntRange(0, 400).Draw(rt, "concurrency")}
		limits.PerSecond = rapid.SampledFrom([]float64{0.1, 0.5, 0.9, 1, 1.9, 2, 2.5, 7, 20, 39, 40, 50, 99.5, 200}).Draw(rt, "per second")
		calls, window := math.Floor(limits.PerSecond), time.Second
		if limits.PerSecond < 1 {
			calls, window = 1, time.Duration(float64(time.Second)/limits.PerSecond)
		}
		var out, made []time.Time // when those that are out were asked for, and calls
		var leases []func()
		began := now
		// First everybody is as late as he may, and then others are in time: that is
		// what makes a second full.
		hold, way := limits.Within(), limits.Within()/4-2*time.Millisecond
		turning := now.Add(time.Duration(rapid.IntRange(20, 120).Draw(rt, "turning, in percent") * int(window) / 100))
		turned := false
		for now.Sub(began) < 3*window {
			if !turned && now.After(turning) {
				turned = true
				hold = rapid.SampledFrom([]time.Duration{0, limits.Within() / 2}).Draw(rt, "hold")
				way = rapid.SampledFrom([]time.Duration{0, way}).Draw(rt, "way")
			}
			now = now.Add(limits.Within() / time.Duration(rapid.IntRange(8, 16).Draw(rt, "step")))
			m.SetTime(now)
			if len(out) > 0 && now.Sub(out[0]) > hold-limits.Within()/8 {
				for _, asked := range out { // all at once
					if now.Sub(asked) <= limits.Within() {
						made = append(made, now.Add(way))
					}
				}
				for _, back := range leases {
					back()
				}
				out, leases = nil, nil
			}
			s := replicas[rapid.IntRange(0, 1).Draw(rt, "replica")]
			late := rapid.IntRange(0, 3).Draw(rt, "late") == 0
			limits, lease := limits, time.Hour
			if late {
				limits.Concurrency, lease = 0, 0
			}
			n, id, _, err := s.Permits(t.Context(), acme, limits, rapid.IntRange(1, 30).Draw(rt, "want"), lease)
			require.NoError(rt, err)
			out = append(out, slices.Repeat([]time.Time{now}, n)...)
			leases = append(leases, func() { require.NoError(rt, s.ReturnPermits(t.Context(), acme, id, n)) })
		}
		slices.SortFunc(made, time.Time.Compare)
		from := 0
		for to := range made {
			for made[to].Sub(made[from]) > window {
				from++
			}
			require.LessOrEqual(rt, to-from+1, int(calls), "calls in %s from %s on", window, made[from].Sub(began))
		}
	})

	for _, perSecond := range []float64{1, 2, 20, 50, 1000} {
		limits := store.Limits{Concurrency: 8, PerSecond: perSecond}
		const horizon = 1000 * time.Second
		_, most, err := replicas[0].FreePermits(t.Context(), "idle", limits, horizon)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, float64(most), 0.76*perSecond*horizon.Seconds(), "of %v a second", perSecond)
	}
}
