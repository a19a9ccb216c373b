package store

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// Confirm says what a begun attempt is waited for, on the very connection that
// wrote it, before [Store.Begin] answers. The zero value waits for nothing and
// confirms nothing.
type Confirm struct {
	// Enough says that an attempt for which all of it was waited in time is
	// durable: no crash and no failover takes it back. With AOF false and no
	// replicas that is a Redis which syncs every write before it answers.
	Enough   bool
	AOF      bool // wait for the sync of Redis's own append-only file: WAITAOF, Redis 7.2
	Replicas int  // wait until so many replicas have it in memory: WAIT
	// Timeout bounds each of the two. It is cut to what the client's own read
	// timeout and the caller's deadline leave room for.
	Timeout time.Duration
}

// SetConfirm says what attempts are waited for from now on. With a Redis
// Cluster nothing is, and no attempt is confirmed: go-redis would send the
// waiting to a node of its own choice, for it names no key.
func (s *Store) SetConfirm(c Confirm) { s.confirm.Store(&c) }

// waiting is the end of a pipeline that began attempts: what waits until they
// are durable.
type waiting struct {
	enough   bool
	replicas int
	wait     *redis.IntCmd      // nil unless replicas are waited for
	aof      *redis.IntSliceCmd // nil unless the disk is
}

// awaitDurable appends the waiting to a pipeline. go-redis writes a pipeline of
// a [redis.Client] to one connection, and Redis measures the wait by the
// writes of that connection; a pipeline that is repeated after a broken
// connection waits for all that the server had written by then.
//
// The replicas come first: they are fast. WAITAOF does not wait for their
// disks: a replica without an append-only file never has one.
func (s *Store) awaitDurable(ctx context.Context, pipe redis.Pipeliner) waiting {
	client, ok := s.client.(*redis.Client)
	c := s.confirm.Load()
	if !ok || c == nil || s.memory {
		return waiting{}
	}
	w := waiting{enough: c.Enough, replicas: c.Replicas}
	timeout := confirmTimeout(ctx, c.Timeout, client.Options().ReadTimeout)
	if timeout <= 0 {
		w.enough = c.Enough && c.Replicas == 0 && !c.AOF
		return w
	}
	if c.Replicas > 0 {
		w.wait = redis.NewIntCmd(ctx, "wait", c.Replicas, timeout.Milliseconds())
		_ = pipe.Process(ctx, w.wait) // only queued
	}
	if c.AOF {
		w.aof = redis.NewIntSliceCmd(ctx, "waitaof", 1, 0, timeout.Milliseconds())
		_ = pipe.Process(ctx, w.aof)
	}
	return w
}

// confirmTimeout leaves room for two waits and the rest of the pipeline within
// the time in which its replies must be there. Redis takes 0 for "for ever", so
// what is under a millisecond is no wait at all.
func confirmTimeout(ctx context.Context, asked, read time.Duration) time.Duration {
	const share = 0.45
	if read > 0 {
		asked = min(asked, time.Duration(share*float64(read)))
	}
	if deadline, ok := ctx.Deadline(); ok {
		asked = min(asked, time.Duration(share*float64(time.Until(deadline))))
	}
	return asked.Truncate(time.Millisecond)
}

// confirmed reports whether what was begun is durable.
func (w waiting) confirmed() bool {
	if w.wait != nil {
		if n, err := w.wait.Result(); err != nil || n < int64(w.replicas) {
			return false
		}
	}
	if w.aof != nil {
		if n, err := w.aof.Result(); err != nil || len(n) == 0 || n[0] < 1 {
			return false
		}
	}
	return w.enough
}

// refused reports whether err is the refusal of a wait, such as that of a
// server which does not know WAITAOF. The attempts were begun all the same.
func (w waiting) refused(err error) bool {
	if _, answer := errors.AsType[redis.Error](err); !answer {
		return false
	}
	return w.wait != nil && errors.Is(err, w.wait.Err()) || w.aof != nil && errors.Is(err, w.aof.Err())
}
