package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/logging"
)

// ErrStopped is the cause with which a caller of [Run] ends its context to stop
// the service in good order.
var ErrStopped = errors.New("told to stop")

// filesEvery is how often the files with secrets are looked at for a change.
const filesEvery = 5 * time.Second

// Options say what to run.
type Options struct {
	Config  string   // path of the configuration file
	Env     []string // as of os.Environ
	Roles   Roles
	Version string
	LogTo   io.Writer
	Reload  <-chan struct{} // asks for the configuration to be loaded again
}

// Run runs the service until ctx ends, then drains it: what was sent to a
// provider is answered and stored, and nothing new is begun. It returns nil
// after an orderly stop.
func Run(ctx context.Context, opts Options) error {
	conf, err := LoadConfig(opts.Config, opts.Env)
	if err != nil {
		return err
	}
	log := logging.New(logging.Options{Level: conf.Log.Level, Format: conf.Log.Format, Out: opts.LogTo})
	main := logging.Component(log, "app")
	warn(main, conf)

	life := &lifecycle{log: main}
	s := &service{opts: opts, running: conf, log: log, life: life, systemd: systemd{main}}
	s.conf.Store(conf)
	s.files = stampsOf(conf.Files())
	started := time.Now()
	if err := s.start(ctx); err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestAttempt(conf))
		defer cancel()
		if errors.Is(context.Cause(ctx), ErrStopped) {
			err = nil // what was interrupted says so; it is no failure
		}
		return errors.Join(err, life.stop(stopCtx))
	}
	main.Info().Str("listen", s.address).Str("redis", string(s.redis.Kind())).Str("owner", s.owner).
		Str("version", opts.Version).Stringer("took", time.Since(started).Round(time.Millisecond)).Msg("ready")
	s.systemd.ready()
	s.loop(ctx)

	s.systemd.stopping()
	main.Info().Str("why", context.Cause(ctx).Error()).Msg("draining: what was sent is answered and stored, nothing new is begun")
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestAttempt(s.conf.Load()))
	defer cancel()
	if err := life.stop(stopCtx); err != nil {
		main.Error().Err(err).Msg("stopped, but not in good order")
		return err
	}
	main.Info().Msg("stopped")
	return nil
}

func warn(log zerolog.Logger, conf *config.Config) {
	for _, warning := range conf.Warnings {
		log.Warn().Msg(warning)
	}
}

// loop waits for the end, and loads the configuration again when asked or when
// a file with a secret has changed, and the keyset likewise.
func (s *service) loop(ctx context.Context) {
	log := logging.Component(s.log, "app")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := make(chan struct{})
	go func() {
		defer close(watchdog)
		s.systemd.watch(ctx, s.alive)
	}()
	defer func() { cancel(); <-watchdog }()

	files := s.files
	keyset := s.keysetFile()
	keyset.Look(ctx, false)
	s.lookForUnconfigured(ctx)
	ticker := time.NewTicker(filesEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.opts.Reload:
			keyset.Look(ctx, true)
		case <-ticker.C:
			keyset.Look(ctx, false)
			now := stampsOf(s.conf.Load().Files())
			if now == files {
				continue
			}
		}
		s.systemd.reloading()
		err := s.reload(ctx)
		if err != nil {
			log.Error().Err(err).Msg("the configuration was not loaded again, the old one stays in force")
		} else {
			log.Info().Msg("the configuration was loaded again")
		}
		files = stampsOf(s.conf.Load().Files())
		s.systemd.ready()
		if err == nil {
			s.lookForUnconfigured(ctx)
		}
	}
}

// reload takes over a changed configuration, as a whole or not at all.
func (s *service) reload(ctx context.Context) error {
	next, err := LoadConfig(s.opts.Config, s.opts.Env)
	if err != nil {
		return err
	}
	made, err := s.outlet.subscribed(next)
	if err != nil {
		return err
	}
	pair, err := keyPair(next.TLS)
	if err != nil {
		return err
	}
	targets, settle, err := s.providers.build(next)
	if err != nil {
		return err
	}
	if err := s.subscribers.configure(ctx, next, made); err != nil {
		settle(false)
		return fmt.Errorf("subscriptions: %w", err)
	}
	if err := s.openStreams(ctx, next); err != nil {
		settle(false)
		return fmt.Errorf("subscriptions: %w", err)
	}
	log := logging.Component(s.log, "app")
	for _, key := range fixed(s.running, next) {
		log.Warn().Str("key", key).Msg("this key has changed; it takes effect with the next start")
	}
	s.engine.SetTargets(ctx, targets)
	if plan := s.scheduler.Load(); plan != nil {
		plan.SetSchedules(schedulesOf(next)) //nolint:contextcheck // its loops live until it is stopped
		plan.Nudge()
	}
	settle(true)
	if s.running.TLS == next.TLS {
		s.tls.Store(pair)
	}
	s.conf.Store(next)
	warn(log, next)
	return nil
}

// fixed lists the keys that cannot be changed while running, and of which next has
// another value than what runs.
func fixed(running, next *config.Config) []string {
	var keys []string
	for _, row := range []struct {
		key  string
		same bool
	}{
		{"listen", running.Listen == next.Listen},
		{"data_dir", running.DataDir == next.DataDir},
		{"redis", running.Redis.Shards == next.Redis.Shards && running.Redis.URL.Equal(next.Redis.URL)},
		{"keyset", running.Keyset == next.Keyset},
		{"tls", running.TLS == next.TLS},
		{"log", running.Log == next.Log},
		{"metrics_listen", running.MetricsListen == next.MetricsListen},
		{"events.retention", running.Events == next.Events},
		{"recovery", running.Recovery == next.Recovery},
		{"offline_reads", running.OfflineReads == next.OfflineReads},
	} {
		if !row.same {
			keys = append(keys, row.key)
		}
	}
	return keys
}
