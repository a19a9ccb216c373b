package api

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts requests. The route is the pattern that matched, never a
// path: a path holds IDs.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	streams  prometheus.Gauge
	slow     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_http_requests_total", Help: "Requests to the HTTP API, by route and status.",
		}, []string{"route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "refreshd_http_request_duration_seconds", Help: "Time to answer a request, by route; event streams are left out.",
			Buckets: []float64{0.0005, 0.002, 0.01, 0.05, 0.2, 1, 5, 30},
		}, []string{"route"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "refreshd_event_streams", Help: "Event streams and long polls that are open.",
		}),
		slow: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "refreshd_event_streams_dropped_total", Help: "Event streams that were ended because their client did not read.",
		}),
	}
	reg.MustRegister(m.requests, m.duration, m.streams, m.slow)
	return m
}

func (m *metrics) answered(route string, status int, took time.Duration, stream bool) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	if !stream {
		m.duration.WithLabelValues(route).Observe(took.Seconds())
	}
}
