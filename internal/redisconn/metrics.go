package redisconn

import "github.com/prometheus/client_golang/prometheus"

// Metrics shows a server's promises as they are when the metrics are read.
type Metrics struct{ keeper *Keeper }

// NewMetrics returns a collector of what the keeper knows.
func NewMetrics(k *Keeper) Metrics { return Metrics{k} }

func gaugeDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("refreshd_redis_"+name, help, labels, nil)
}

// Describe says nothing: the collector is unchecked, and its metrics are made
// anew with each reading.
func (Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect reads what is known.
func (m Metrics) Collect(out chan<- prometheus.Metric) {
	p := m.keeper.Load()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	gauge(gaugeDesc("up", "1 if Redis answered the last time it was looked at."), one(!p.Away))
	gauge(gaugeDesc("loss_window_seconds", "How old a write must be so that no crash and no failover takes it back."), p.Loss.Seconds())
	gauge(gaugeDesc("begin_confirmed", "1 if each refresh waits until its beginning cannot be lost."), one(p.Confirmed()))
	level := gaugeDesc("durability", "1 for what becomes of acknowledged writes in a crash.", "level")
	for _, each := range Levels() {
		gauge(level, one(each == p.Level), string(each))
	}
	findings := gaugeDesc("findings", "What is not as it should be with Redis.", "severity")
	for _, severity := range []Severity{SeverityWarn, SeverityFail} {
		count := 0
		for _, f := range p.Findings {
			if f.Severity == severity {
				count++
			}
		}
		gauge(findings, float64(count), string(severity))
	}
	replicas := gaugeDesc("replicas", "Connected replicas.", "state")
	waits := p.View.Waits().Replicas
	gauge(replicas, float64(waits), "keeps_up")
	gauge(replicas, float64(max(0, p.Connected()-waits)), "lags")
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
