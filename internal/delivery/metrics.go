package delivery

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/refreshd/refreshd/internal/credential"
)

// metrics tell of deliveries, by subscription.
type metrics struct {
	deliveries *prometheus.CounterVec
	lag        *prometheus.GaugeVec
	breaker    *prometheus.GaugeVec
	disabled   *prometheus.GaugeVec
}

func newMetrics(registerer prometheus.Registerer) metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"subscription"})
	}
	m := metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_deliveries_total", Help: "Deliveries to subscribers, by what came of them.",
		}, []string{"subscription", "outcome"}),
		lag:      gauge("refreshd_subscription_lag_seconds", "Age of the oldest event that a subscription is owed; 0 if there is none."),
		breaker:  gauge("refreshd_subscription_breaker_open", "1 while the breaker of a subscription's endpoint is open, else 0."),
		disabled: gauge("refreshd_subscription_disabled", "1 while a subscription is disabled, else 0."),
	}
	registerer.MustRegister(m.deliveries, m.lag, m.breaker, m.disabled)
	return m
}

// audited sets what an audit found.
func (m metrics) audited(subscription string, found Audit, now credential.Millis) {
	m.lag.WithLabelValues(subscription).Set(lagOf(found, now).Seconds())
	m.breaker.WithLabelValues(subscription).Set(asNumber(found.Open))
	m.disabled.WithLabelValues(subscription).Set(asNumber(found.Disabled))
}

// forget drops what was told of a subscription that is gone.
func (m metrics) forget(subscription string) {
	m.deliveries.DeletePartialMatch(prometheus.Labels{"subscription": subscription})
	for _, gauge := range []*prometheus.GaugeVec{m.lag, m.breaker, m.disabled} {
		gauge.DeleteLabelValues(subscription)
	}
}

func asNumber(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
