package main

import (
	"fmt"
	"strings"

	"github.com/refreshd/refreshd/bench/internal/rig"
)

// report is what a comparison has found.
type report struct {
	Machine rig.Machine `json:"machine"`
	N       int         `json:"n"` // refreshes per run
	Pairs   []pair      `json:"pairs"`
	Loop    verdict     `json:"refreshd_to_loop"`
	Asynq   verdict     `json:"refreshd_to_asynq"`
}

func newReport(m rig.Machine, n int, pairs []pair) report {
	return report{
		Machine: m, N: n, Pairs: pairs,
		Loop:  verdictOf(pairs, targetLoop, func(p pair) float64 { return p.Loop }),
		Asynq: verdictOf(pairs, targetAsynq, func(p pair) float64 { return p.Asynq }),
	}
}

// table shows a report to people.
func (r report) table() string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "%d cores, %.1f GiB of memory, %s, Redis %s; %d refreshes per run, provider and load on the same machine\n\n",
		m.Cores, m.MemoryGiB, m.Go, m.Redis, r.N)
	fmt.Fprintf(&b, "refreshes/s   %10s %10s %10s %12s %12s\n", "L loop", "N asynq", "refreshd", "refreshd/L", "refreshd/N")
	for i, p := range r.Pairs {
		fmt.Fprintf(&b, "  pair %-5d  %10.0f %10.0f %10.0f %12.2f %12.2f\n", i+1, p.Loop, p.Asynq, p.Refreshd, p.Refreshd/p.Loop, p.Refreshd/p.Asynq)
	}
	b.WriteString("\n")
	for _, row := range []struct {
		name string
		verdict
	}{{"refreshd/L", r.Loop}, {"refreshd/N", r.Asynq}} {
		met := "not met"
		if row.Met {
			met = "met"
		}
		fmt.Fprintf(&b, "%s  median %.2f (%.2f to %.2f), target %.2f: %s\n", row.name, row.Median, row.Min, row.Max, row.Target, met)
	}
	return b.String()
}
