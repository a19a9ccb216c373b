package scheduler

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what the scheduler does. No label holds an ID.
type metrics struct {
	dispatched *prometheus.CounterVec
	lag        *prometheus.HistogramVec
	released   *prometheus.CounterVec
	slots      *prometheus.CounterVec
	steps      *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		dispatched: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_dispatched_total", Help: "Due credentials that were put on the queue to be called.",
		}, []string{"provider"}),
		lag: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "refreshd_dispatch_lag_seconds", Help: "How late the most overdue credential of a provider was when its batch was put on the queue.",
			Buckets: []float64{0.05, 0.25, 1, 5, 15, 60, 300, 900, 3600},
		}, []string{"provider"}),
		released: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_dispatch_released_total", Help: "Claimed credentials that were given back because the queue did not take them.",
		}, []string{"provider"}),
		slots: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_fetch_enqueued_total", Help: "Sweeps that this process put on the queue by the schedules, and after a jump of a clock.",
		}, []string{"provider", "kind"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_clock_steps_total", Help: "Jumps of a clock that were handled like a boot.",
		}, []string{"clock"}),
	}
	reg.MustRegister(m.dispatched, m.lag, m.released, m.slots, m.steps)
	return m
}

func (m *metrics) batched(provider string, credentials int) {
	m.dispatched.WithLabelValues(provider).Add(float64(credentials))
}

func (m *metrics) late(provider string, by time.Duration) {
	m.lag.WithLabelValues(provider).Observe(by.Seconds())
}

func (m *metrics) gaveBack(provider string, credentials int) {
	m.released.WithLabelValues(provider).Add(float64(credentials))
}

// The kinds of sweeps.
const (
	kindSlot   = "slot"
	kindResume = "resume"
	kindExtra  = "extra"
)

func (m *metrics) enqueued(provider, kind string) { m.slots.WithLabelValues(provider, kind).Inc() }

func (m *metrics) stepped(clock string) { m.steps.WithLabelValues(clock).Inc() }
