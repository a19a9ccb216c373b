package app

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/logging"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/store"
)

const (
	viewEvery  = 2 * time.Second
	viewWithin = 2 * time.Second
	// confirmWithin bounds how long a begun attempt is waited for. With
	// appendfsync everysec Redis begins a sync once a second and looks ten
	// times a second whether it is done.
	confirmWithin = 1300 * time.Millisecond
)

// durability is what is known of Redis's promises, as of a moment ago. It is
// never changed once it was published.
type durability struct {
	view     redisconn.View // the last that there was
	level    redisconn.Level
	loss     time.Duration // of redisconn.LossWindow
	findings []redisconn.Finding
	away     bool // Redis did not answer the last time
}

// next is what is known after another view, or after none could be had. What
// was known before an outage stays: whoever keeps writes for the time in which
// Redis may lose them does not count an outage towards it.
func (d durability) next(v redisconn.View, err error) durability {
	if err != nil {
		d.away = true
		return d
	}
	return durability{
		view: v, level: v.Level(), loss: redisconn.LossWindow(v, d.view), findings: redisconn.Assess(v, d.view),
	}
}

// confirm is what attempts are waited for from now on, each at most as long as
// half the time that they have until they must be sent.
func (d durability) confirm(send time.Duration) store.Confirm {
	if d.away {
		return store.Confirm{}
	}
	waits := d.view.Waits()
	return store.Confirm{Enough: waits.Enough, AOF: waits.AOF, Replicas: waits.Replicas, Timeout: min(confirmWithin, send/2)}
}

// words say what a crash of Redis can lose.
func (d durability) words() string {
	switch d.level {
	case redisconn.LevelInProcess:
		return "in-process store: what changed since the last snapshot is lost with the process; received tokens are in the journal"
	case redisconn.LevelEveryWrite:
		return "appendfsync always: an acknowledged write is on disk"
	case redisconn.LevelEverySecond:
		return "appendfsync everysec: a crash of the machine can lose the last second or more; the journal keeps received tokens meanwhile"
	case redisconn.LevelSystem:
		return "appendfsync no: a crash of the machine can lose the last minute; the journal keeps received tokens meanwhile"
	case redisconn.LevelSnapshots:
		return "no append-only file: a crash of Redis loses what changed since its last snapshot; the journal keeps received tokens until the next one"
	case redisconn.LevelMemory:
		return "it persists nothing: its next restart loses every credential"
	case redisconn.LevelUnknown:
	}
	return "unknown, Redis does not say"
}

// trouble are the findings that are not in order, as the API shows them.
func (d durability) trouble() []api.Finding {
	var list []api.Finding
	for _, f := range d.findings {
		if f.Severity != redisconn.SeverityOK {
			list = append(list, api.Finding{
				Topic: f.Topic, Severity: string(f.Severity), What: f.What, Consequence: f.Consequence, Remedy: f.Remedy,
			})
		}
	}
	return list
}

// check is the durability as readiness shows it: not in order once something
// is found that loses credentials, or keeps them from being stored.
func (d durability) check() api.Check {
	c := api.Check{Name: "durability", OK: !d.away, Detail: d.words()}
	if d.away {
		c.Detail = "unknown, Redis is not reachable; before: " + c.Detail
		return c
	}
	for _, f := range d.findings {
		if f.Severity == redisconn.SeverityFail {
			c.OK = false
			c.Detail = f.What + ": " + f.Consequence
			if f.Remedy != "" {
				c.Detail += "; " + f.Remedy
			}
			return c
		}
	}
	return c
}

// redisWatch holds what is known for its readers.
type redisWatch struct{ now atomic.Pointer[durability] }

// load returns what is known; before the first view, that nothing is.
func (w *redisWatch) load() durability {
	if d := w.now.Load(); d != nil {
		return *d
	}
	return durability{level: redisconn.LevelUnknown, loss: redisconn.LossWindow(redisconn.View{}, redisconn.View{}), away: true}
}

// watchRedis keeps Redis's promises in view until the service stops: for
// readers in memory, in the log where they change, and in the metrics.
func (s *service) watchRedis(ctx context.Context) error {
	if err := s.registry.Register(redisMetrics{&s.durable}); err != nil {
		return err
	}
	s.lookAtRedis(ctx)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(viewEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				s.lookAtRedis(ctx)
			}
		}
	}()
	s.life.add("redis watch", func(context.Context) error { cancel(); <-done; return nil })
	return nil
}

// lookAtRedis takes one view and publishes what follows from it.
func (s *service) lookAtRedis(ctx context.Context) {
	asked, cancel := context.WithTimeout(ctx, viewWithin)
	defer cancel()
	v, err := s.redis.View(asked)
	if ctx.Err() != nil {
		return // stopping: nothing is wrong with Redis
	}
	first := s.durable.now.Load() == nil
	before := s.durable.load()
	now := before.next(v, err)
	s.durable.now.Store(&now)
	s.store.SetConfirm(now.confirm(s.conf.Load().Recovery.Send))
	log := logging.Component(s.log, "redis")
	if first {
		// What the level means was said when the connection was opened.
		before = durability{level: now.level, findings: only(now.findings, "persistence")}
	}
	tellDurability(log, before, now)
}

// lossWindow is how old an acknowledged write must be so that nothing takes it
// back.
func (s *service) lossWindow() time.Duration { return s.durable.load().loss }

func only(list []redisconn.Finding, topic string) []redisconn.Finding {
	for i, f := range list {
		if f.Topic == topic {
			return list[i : i+1]
		}
	}
	return nil
}

// tellDurability logs what has changed, once.
func tellDurability(log zerolog.Logger, before, now durability) {
	if now.away {
		return // the engine tells of an outage
	}
	if before.level != now.level {
		log.Warn().Str("before", string(before.level)).Str("durability", string(now.level)).Dur("loss_window", now.loss).
			Msg("what Redis promises about acknowledged writes has changed")
	}
	was := severities(before.findings)
	for _, f := range now.findings {
		switch {
		case f.Severity == redisconn.SeverityOK || was[f.Topic] == f.Severity:
		default:
			log.Warn().Str("topic", f.Topic).Str("severity", string(f.Severity)).Str("consequence", f.Consequence).Str("remedy", f.Remedy).
				Msg("Redis: " + f.What)
		}
	}
	is := severities(now.findings)
	for _, f := range before.findings {
		if f.Severity == redisconn.SeverityOK || f.Topic == "run" {
			continue // another run is told of once, and is nothing that passes
		}
		if after := is[f.Topic]; after == "" || after == redisconn.SeverityOK {
			log.Info().Str("topic", f.Topic).Msg("Redis: no longer so: " + f.What)
		}
	}
}

func severities(list []redisconn.Finding) map[string]redisconn.Severity {
	all := make(map[string]redisconn.Severity, len(list))
	for _, f := range list {
		all[f.Topic] = f.Severity
	}
	return all
}

// redisMetrics shows what is known as it is read.
type redisMetrics struct{ watch *redisWatch }

func redisGauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("refreshd_redis_"+name, help, labels, nil)
}

// Describe says nothing: the collector is unchecked, and its metrics are made
// anew with each reading.
func (redisMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect reads what is known.
func (m redisMetrics) Collect(out chan<- prometheus.Metric) {
	d := m.watch.load()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	gauge(redisGauge("up", "1 if Redis answered the last time it was looked at."), one(!d.away))
	gauge(redisGauge("loss_window_seconds", "How old a write must be so that no crash and no failover takes it back."), d.loss.Seconds())
	gauge(redisGauge("begin_confirmed", "1 if each refresh waits until its beginning cannot be lost."), one(!d.away && d.view.Waits().Enough))
	level := redisGauge("durability", "1 for what becomes of acknowledged writes in a crash.", "level")
	for _, one := range redisconn.Levels() {
		value := 0.0
		if one == d.level {
			value = 1
		}
		gauge(level, value, string(one))
	}
	findings := redisGauge("findings", "What is not as it should be with Redis.", "severity")
	for _, severity := range []redisconn.Severity{redisconn.SeverityWarn, redisconn.SeverityFail} {
		count := 0
		for _, f := range d.findings {
			if f.Severity == severity {
				count++
			}
		}
		gauge(findings, float64(count), string(severity))
	}
	replicas := redisGauge("replicas", "Connected replicas.", "state")
	waits := d.view.Waits().Replicas
	gauge(replicas, float64(waits), "keeps_up")
	gauge(replicas, float64(max(0, max(len(d.view.Replicas), d.view.Durability.Replicas)-waits)), "lags")
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
