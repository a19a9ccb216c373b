package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// rateOf is the rotations per second between the first and the last tenth of
// the moments (Unix ns, in any order): starting up and running dry are left
// out.
func rateOf(rotated []int64) (float64, error) {
	sorted := slices.Sorted(slices.Values(rotated))
	from, to := len(sorted)/10, len(sorted)*9/10
	if to-from < 1 {
		return 0, fmt.Errorf("%d rotations are too few to tell a rate", len(sorted))
	}
	took := time.Duration(sorted[to] - sorted[from])
	if took <= 0 {
		return 0, errors.New("the rotations all happened at the same moment")
	}
	return float64(to-from) / took.Seconds(), nil
}

// spread is the middle and the ends of some values.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf is zero for no values. The median of an even number of values is
// the mean of the middle two.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return spread{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1]}
}

// pair is one run of each, in refreshes per second.
type pair struct {
	Loop     float64 `json:"loop"`
	Asynq    float64 `json:"asynq"`
	Refreshd float64 `json:"refreshd"`
}

// The targets: the part of the loop's rate, and the multiple of the asynq
// worker's, that refreshd is meant to reach.
const (
	targetLoop  = 0.30
	targetAsynq = 3.0
)

// verdict compares the ratios of all pairs with a target.
type verdict struct {
	spread

	Target float64 `json:"target"`
	Met    bool    `json:"met"`
}

func verdictOf(pairs []pair, target float64, base func(pair) float64) verdict {
	ratios := make([]float64, 0, len(pairs))
	for _, p := range pairs {
		if b := base(p); b > 0 {
			ratios = append(ratios, p.Refreshd/b)
		}
	}
	s := spreadOf(ratios)
	return verdict{spread: s, Target: target, Met: len(ratios) > 0 && s.Median >= target}
}
