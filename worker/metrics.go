package worker

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/tasks"
)

// metrics counts what the worker does. No label holds an ID.
type metrics struct {
	tasks       *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	failed      *prometheus.CounterVec
	batched     *prometheus.CounterVec
	fetches     *prometheus.CounterVec
	fetchTime   *prometheus.HistogramVec
	credentials *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		tasks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_tasks_total", Help: "Tasks that were handled, by type and outcome.",
		}, []string{"type", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "refreshd_task_duration_seconds", Help: "How long handling a task took.",
			Buckets: []float64{0.005, 0.02, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 900},
		}, []string{"type"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_tasks_archived_total", Help: "Tasks that asynq archived, by type and cause. Their work is found again without them.",
		}, []string{"type", "cause"}),
		batched: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_batch_credentials_total", Help: "Credentials in refresh batches, by what became of them.",
		}, []string{"provider", "result"}),
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_fetch_total", Help: "Sweeps over a provider's credentials, by outcome.",
		}, []string{"provider", "outcome"}),
		fetchTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "refreshd_fetch_duration_seconds", Help: "How long a sweep over a provider's credentials took.",
			Buckets: []float64{0.01, 0.1, 1, 5, 15, 60, 180, 600, 1800},
		}, []string{"provider"}),
		credentials: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "refreshd_fetch_credentials", Help: "Credentials of a provider as the last sweep found them, by kind.",
		}, []string{"provider", "kind"}),
	}
	reg.MustRegister(m.tasks, m.duration, m.failed, m.batched, m.fetches, m.fetchTime, m.credentials)
	return m
}

func (m *metrics) handled(kind, outcome string, took time.Duration) {
	m.tasks.WithLabelValues(kind, outcome).Inc()
	m.duration.WithLabelValues(kind).Observe(took.Seconds())
}

// archived counts a task that asynq gave up. Types come from the queue, where
// anything may stand: only known ones become labels.
func (m *metrics) archived(kind string, err error) {
	switch kind {
	case tasks.TypeRefreshBatch, tasks.TypeRefreshSingle, tasks.TypeFetchSweep, tasks.TypeDelivery:
	default:
		kind = "unknown"
	}
	cause := "error"
	switch {
	case errors.Is(err, asynq.SkipRetry):
		cause = "malformed"
	case errors.Is(err, asynq.ErrLeaseExpired):
		cause = "lease_lost"
	case errors.Is(err, context.DeadlineExceeded):
		cause = "timeout"
	case errors.Is(err, context.Canceled):
		cause = "canceled"
	case asynq.IsPanicError(err):
		cause = "panic"
	}
	m.failed.WithLabelValues(kind, cause).Inc()
}

func (m *metrics) batch(provider string, r credential.BatchReport) {
	for result, n := range map[string]int{
		"refreshed": r.Refreshed, "failed": r.Failed, "advanced": r.Advanced, "skipped": r.Skipped, "returned": r.Returned,
	} {
		m.batched.WithLabelValues(provider, result).Add(float64(n))
	}
}

// told counts a batch that was only to be told. Its members wait for a permit as
// before: none was taken from the backlog, and none given back to it.
func (m *metrics) told(provider string, r credential.BatchReport) {
	m.batched.WithLabelValues(provider, "told").Add(float64(r.Advanced))
}

func (m *metrics) fetched(provider, outcome string, took time.Duration, counts map[string]int64) {
	m.fetches.WithLabelValues(provider, outcome).Inc()
	m.fetchTime.WithLabelValues(provider).Observe(took.Seconds())
	if outcome != outcomeFinished {
		return // half of a count says nothing
	}
	for kind, n := range counts {
		m.credentials.WithLabelValues(provider, kind).Set(float64(n))
	}
}
