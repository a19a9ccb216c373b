package redisconn

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

const (
	viewEvery  = 2 * time.Second
	viewWithin = 2 * time.Second
)

// KeeperOptions are what a [Keeper] is made of. All are required.
type KeeperOptions struct {
	// View reads the server's state, as [Conn.View] does.
	View func(ctx context.Context) (View, error)
	// Looked is called after each look, by one goroutine at a time.
	Looked func(Promise)
	Log    zerolog.Logger
}

// Keeper keeps a server's promises in view: for readers in memory, and in the
// log where they change. The zero Keeper knows nothing yet.
type Keeper struct {
	opts KeeperOptions
	now  atomic.Pointer[Promise]
	stop context.CancelFunc
	done sync.WaitGroup
}

// Start takes the first look and then looks every 2 s until Stop. It is called
// once.
func (k *Keeper) Start(ctx context.Context, opts KeeperOptions) {
	k.opts = opts
	k.look(ctx)
	ctx, k.stop = context.WithCancel(context.WithoutCancel(ctx))
	k.done.Go(func() {
		ticker := time.NewTicker(viewEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				k.look(ctx)
			}
		}
	})
}

// Stop ends the looking and waits for it. It may be called twice, and without
// Start.
func (k *Keeper) Stop() {
	if k.stop != nil {
		k.stop()
	}
	k.done.Wait()
}

// Load returns what is known. It may be called at any time, concurrently.
func (k *Keeper) Load() Promise {
	if p := k.now.Load(); p != nil {
		return *p
	}
	return unasked()
}

// look takes one view and publishes what follows from it.
func (k *Keeper) look(ctx context.Context) {
	asked, cancel := context.WithTimeout(ctx, viewWithin)
	defer cancel()
	v, err := k.opts.View(asked)
	if ctx.Err() != nil {
		return // stopping: nothing is wrong with the server
	}
	first := k.now.Load() == nil
	before := k.Load()
	now := before.next(v, err, time.Now())
	k.now.Store(&now)
	k.opts.Looked(now)
	if first {
		// What the level means was said when the connection was opened.
		before = Promise{Level: now.Level, Findings: only(now.Findings, "persistence")}
	}
	tell(k.opts.Log, before, now)
}

func only(list []Finding, topic string) []Finding {
	for i, f := range list {
		if f.Topic == topic {
			return list[i : i+1]
		}
	}
	return nil
}

// tell logs what has changed, once.
func tell(log zerolog.Logger, before, now Promise) {
	if now.Away {
		return // the engine tells of an outage
	}
	if before.Level != now.Level {
		log.Warn().Str("before", string(before.Level)).Str("durability", string(now.Level)).Stringer("loss_window", now.Loss).
			Msg("what Redis promises about acknowledged writes has changed")
	}
	was := severities(before.Findings)
	for _, f := range now.Findings {
		if f.Severity == SeverityOK || was[f.Topic] == f.Severity {
			continue
		}
		level := zerolog.WarnLevel
		if f.Severity == SeverityFail {
			level = zerolog.ErrorLevel
		}
		log.WithLevel(level).Str("topic", f.Topic).Str("severity", string(f.Severity)).Str("consequence", f.Consequence).Str("remedy", f.Remedy).
			Msg("Redis: " + f.What)
	}
	is := severities(now.Findings)
	for _, f := range before.Findings {
		if f.Severity == SeverityOK || f.Topic == "run" {
			continue // another run is told of once, and is nothing that passes
		}
		if after := is[f.Topic]; after == "" || after == SeverityOK {
			log.Info().Str("topic", f.Topic).Msg("Redis: no longer so: " + f.What)
		}
	}
}

func severities(list []Finding) map[string]Severity {
	all := make(map[string]Severity, len(list))
	for _, f := range list {
		all[f.Topic] = f.Severity
	}
	return all
}
