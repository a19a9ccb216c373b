package refresh

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/refreshd/refreshd/internal/credential"
)

// Metrics counts what the engine does. Labels are closed lists; none holds an
// ID.
type Metrics struct {
	exchanges *prometheus.CounterVec
	asks      *prometheus.CounterVec
	timeouts  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	events    *prometheus.CounterVec
	doubts    *prometheus.CounterVec
	lost      *prometheus.CounterVec
	adoptions *prometheus.CounterVec
	runs      prometheus.Counter
	restores  *prometheus.CounterVec
	unsure    prometheus.Counter
	missing   *prometheus.CounterVec
}

// NewMetrics registers the engine's metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		exchanges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_exchanges_total", Help: "Exchanges with a provider, by what came of them.",
		}, []string{"provider", "class"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "refreshd_exchange_duration_seconds", Help: "Time from sending an exchange to having read its reply.",
			Buckets: []float64{0.005, 0.02, 0.1, 0.3, 1, 3, 10, 30, 100, 300},
		}, []string{"provider"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_events_total", Help: "Events committed by this process.",
		}, []string{"provider", "type", "reason"}),
		doubts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_in_doubt_total", Help: "Refreshes that were sent and left the refresh token in doubt: their reply is unknown, or lacks what it should have.",
		}, []string{"provider"}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_lost_rotation_total", Help: "Credentials whose rotation happened in a reply that was lost.",
		}, []string{"provider"}),
		adoptions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_adopted_total", Help: "What was taken up from dead processes of this machine.",
		}, []string{"kind"}),
		runs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "refreshd_redis_runs_total", Help: "How often Redis was found to be another run: restarted, or replaced by its replica.",
		}),
		restores: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_put_back_total", Help: "What was put back into a Redis that had lost it.",
		}, []string{"kind"}),
	}
	m.asks = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "refreshd_provider_calls_total", Help: "Calls to a provider other than exchanges, by what came of them.",
	}, []string{"provider", "call", "class"})
	m.timeouts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "refreshd_exchange_timeouts_total", Help: "Calls that were stopped because they took longer than the provider's timeout allows: exchanges, user data and verification.",
	}, []string{"provider", "method"})
	m.unsure = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "refreshd_begins_unconfirmed_total",
		Help: "Refreshes that were begun although Redis may lose their beginning; the barrier after a restart stands in for it.",
	})
	m.missing = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "refreshd_reply_missing_total", Help: "Values that successful replies did not have where the settings say, or a token that an owner brought not in its exp claim.",
	}, []string{"provider", "value"})
	reg.MustRegister(m.missing, m.exchanges, m.asks, m.timeouts, m.duration, m.events, m.doubts, m.lost, m.adoptions, m.runs, m.restores, m.unsure)
	m.adopted(0, 0)
	m.restored(0, 0)
	return m
}

// expect has a provider's counters begin at 0: what appears with its first count has
// no increase that a query could see.
func (m *Metrics) expect(provider string) {
	m.doubts.WithLabelValues(provider)
	m.lost.WithLabelValues(provider)
}

func (m *Metrics) exchanged(provider string, o credential.Outcome, took time.Duration) {
	m.exchanges.WithLabelValues(provider, string(o.Class)).Inc()
	m.stopped(provider, string(o.Method), o)
	m.duration.WithLabelValues(provider).Observe(took.Seconds())
}

// The calls that are no exchanges.
const (
	askedUserData = "user_data"
	askedVerify   = "verify"
)

func (m *Metrics) asked(provider, call string, o credential.Outcome) {
	m.asks.WithLabelValues(provider, call, string(o.Class)).Inc()
	m.stopped(provider, call, o)
}

// stopped counts a call that was made and took too long.
func (m *Metrics) stopped(provider, call string, o credential.Outcome) {
	if o.Reason == credential.ReasonTimeout && o.Class != credential.ClassNotSent {
		m.timeouts.WithLabelValues(provider, call).Inc()
	}
}

func (m *Metrics) event(e credential.Event) {
	m.events.WithLabelValues(e.Provider, string(e.Type), string(e.Reason)).Inc()
	if e.Reason == credential.ReasonLostRotation {
		m.lost.WithLabelValues(e.Provider).Inc()
	}
}

func (m *Metrics) inDoubt(provider string) { m.doubts.WithLabelValues(provider).Inc() }

func (m *Metrics) adopted(received, open int) {
	m.adoptions.WithLabelValues("received").Add(float64(received))
	m.adoptions.WithLabelValues("open").Add(float64(open))
}

func (m *Metrics) anotherRun() { m.runs.Inc() }

func (m *Metrics) restored(writes, attempts int) {
	m.restores.WithLabelValues("write").Add(float64(writes))
	m.restores.WithLabelValues("attempt").Add(float64(attempts))
}

func (m *Metrics) lacked(provider, value string) { m.missing.WithLabelValues(provider, value).Inc() }

func (m *Metrics) unconfirmed() { m.unsure.Inc() }
