package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/bench/internal/rig"
)

func TestRateLeavesOutBothEnds(t *testing.T) {
	t.Parallel()
	// 100 rotations: slow ends, and one per millisecond in the middle.
	var moments []int64
	at := time.Unix(1_800_000_000, 0)
	for i := range 100 {
		step := time.Millisecond
		if i < 10 || i > 90 {
			step = time.Second
		}
		at = at.Add(step)
		moments = append(moments, at.UnixNano())
	}
	moments[0], moments[99] = moments[99], moments[0] // the order of arrival is not that of rotation
	rate, err := rateOf(moments)
	require.NoError(t, err)
	assert.InDelta(t, 1000, rate, 0.001)
}

func TestRateNeedsRotations(t *testing.T) {
	t.Parallel()
	for name, moments := range map[string][]int64{
		"none": nil, "one": {7}, "same moment": {7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7},
	} {
		_, err := rateOf(moments)
		require.Error(t, err, name)
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	assert.Equal(t, spread{}, spreadOf(nil))
	assert.Equal(t, spread{Median: 2, Min: 1, Max: 9}, spreadOf([]float64{9, 1, 2}))
	assert.Equal(t, spread{Median: 3, Min: 1, Max: 9}, spreadOf([]float64{9, 1, 2, 4}))
}

func TestVerdictIsOfTheMedianOfRatios(t *testing.T) {
	t.Parallel()
	pairs := []pair{
		{Loop: 100, Asynq: 10, Refreshd: 30},  // 0.30, 3
		{Loop: 100, Asynq: 10, Refreshd: 90},  // 0.90, 9
		{Loop: 1000, Asynq: 15, Refreshd: 30}, // 0.03, 2
	}
	byLoop := verdictOf(pairs, 0.30, func(p pair) float64 { return p.Loop })
	assert.InDelta(t, 0.30, byLoop.Median, 1e-9)
	assert.True(t, byLoop.Met, "a target that is just reached is met")
	assert.False(t, verdictOf(pairs, 3.01, func(p pair) float64 { return p.Asynq }).Met)
	assert.False(t, verdictOf(nil, 0, func(p pair) float64 { return p.Loop }).Met, "nothing measured meets nothing")
}

func TestTable(t *testing.T) {
	t.Parallel()
	r := newReport(rig.Machine{Cores: 2, MemoryGiB: 7.75, Go: "go1.26.8", Redis: "7.0.15"}, 20000, []pair{
		{Loop: 40000, Asynq: 4000, Refreshd: 16000},
		{Loop: 50000, Asynq: 8000, Refreshd: 16000},
	})
	assert.Equal(t, `2 cores, 7.8 GiB of memory, go1.26.8, Redis 7.0.15; 20000 refreshes per run, provider and load on the same machine

refreshes/s       L loop    N asynq   refreshd   refreshd/L   refreshd/N
  pair 1           40000       4000      16000         0.40         4.00
  pair 2           50000       8000      16000         0.32         2.00

refreshd/L  median 0.36 (0.32 to 0.40), target 0.30: met
refreshd/N  median 3.00 (2.00 to 4.00), target 3.00: met
`, r.table())
}

func TestSettings(t *testing.T) {
	t.Parallel()
	good := settings{pairs: 5, n: 20000, concurrency: 64, limit: maxLimit, out: "text"}
	require.NoError(t, good.check())
	for name, change := range map[string]func(*settings){
		"--pairs":       func(s *settings) { s.pairs = 0 },
		"--n":           func(s *settings) { s.n = 99 },
		"--concurrency": func(s *settings) { s.concurrency = 1001 },
		"--limit":       func(s *settings) { s.limit = maxLimit + 1 },
		"--out":         func(s *settings) { s.out = "yaml" },
	} {
		bad := good
		change(&bad)
		assert.ErrorContains(t, bad.check(), name)
	}
}
