package redisconn

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	watchEvery   = 200 * time.Millisecond
	firstRestart = 200 * time.Millisecond
	maxRestart   = 30 * time.Second
	stable       = time.Minute // after which the next restart is immediate again
)

// watch starts the goroutine that brings the server back if it dies. Every
// process that uses the server has one; the server's lock decides which of
// them starts it.
func (s *server) watch(ctx context.Context) {
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.done.Go(func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		var again restarts
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				s.lookAfter(ctx, &again, now)
			}
		}
	})
}

// lookAfter starts the server again if nobody runs it, and it is time.
func (s *server) lookAfter(ctx context.Context, again *restarts, now time.Time) {
	if s.child != 0 {
		if status, gone := s.reap(); gone {
			s.log.Error().Str("status", status).Str("last_words", s.lastWords()).Msg("the embedded redis-server has ended unexpectedly")
		}
	}
	if s.child != 0 || !again.due(now) {
		return // ours runs, or is ending and not yet reaped
	}
	held, err := openLock(filepath.Join(s.dir, serverLock))
	if err != nil {
		s.log.Error().Err(err).Msg("cannot look after the embedded redis-server")
		return
	}
	defer func() { _ = held.close() }()
	if err := held.take(unix.LOCK_EX); err != nil {
		if !errors.Is(err, errLocked) {
			s.log.Error().Err(err).Msg("cannot look after the embedded redis-server")
		}
		return // somebody runs it
	}
	again.started(now)
	if err := s.start(ctx, held); err != nil {
		s.log.Error().Err(err).Msg("cannot start the embedded redis-server again")
		return
	}
	s.log.Warn().Msg("started the embedded redis-server again")
}

// restarts spaces out the restarts of a server that does not stay up: each
// waits twice as long as the one before.
type restarts struct {
	last time.Time
	wait time.Duration
}

func (r *restarts) due(now time.Time) bool { return now.Sub(r.last) >= r.wait }

func (r *restarts) started(now time.Time) {
	if now.Sub(r.last) > stable+r.wait {
		r.wait = 0
	}
	r.last, r.wait = now, min(max(2*r.wait, firstRestart), maxRestart)
}
