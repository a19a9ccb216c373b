package refresh

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

const (
	committers     = 2   // scripts under way at once: one runs while the next is put together
	commitBatch    = 128 // writes per script
	commitDeadline = 5 * time.Second
	firstStoreWait = 50 * time.Millisecond
	maxStoreWait   = 2 * time.Second
)

// committer coalesces the writes that are ready into one script. It does not
// linger for more: while one script runs, the next one gathers by itself.
type committer struct {
	store func(context.Context, []Written) ([]credential.Status, error)
	log   zerolog.Logger
	met   func(error) // is told what came in the way
	queue chan *commit
	quit  chan struct{}
	once  sync.Once
}

type commit struct {
	write  Written
	status credential.Status
	err    error
	final  bool // err is this write's own
	done   chan struct{}
}

func newCommitter(store func(context.Context, []Written) ([]credential.Status, error), log zerolog.Logger, met func(error)) *committer {
	return &committer{store: store, log: log, met: met, queue: make(chan *commit, 4*commitBatch), quit: make(chan struct{})}
}

func (c *committer) start(loops *sync.WaitGroup) {
	for range committers {
		loops.Go(c.loop)
	}
}

func (c *committer) stop() { c.once.Do(func() { close(c.quit) }) }

func (c *committer) loop() {
	for {
		select {
		case <-c.quit:
			return
		case first := <-c.queue:
			c.apply(c.gather(first))
		}
	}
}

// gather takes what else is ready.
func (c *committer) gather(first *commit) []*commit {
	batch := []*commit{first}
	for len(batch) < commitBatch {
		select {
		case next := <-c.queue:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

func (c *committer) apply(batch []*commit) {
	ctx, cancel := context.WithTimeout(context.Background(), commitDeadline)
	defer cancel()
	writes := make([]Written, len(batch))
	for i, one := range batch {
		writes[i] = one.write
	}
	statuses, err := c.send(ctx, writes)
	single, partial := errors.AsType[itemsError](err)
	for i, one := range batch {
		switch {
		case err == nil:
			one.status = statuses[i]
		case !partial:
			one.err = err
		case single.At(i) != nil:
			one.err, one.final = single.At(i), true
		default:
			one.status = statuses[i]
		}
		close(one.done)
	}
}

func (c *committer) send(ctx context.Context, writes []Written) ([]credential.Status, error) {
	if err := failpoint.Hit(failpoint.CommitBefore); err != nil {
		return nil, err
	}
	statuses, err := c.store(ctx, writes)
	if failed := failpoint.Hit(failpoint.CommitStored); failed != nil {
		return nil, failed
	}
	return statuses, err
}

// itemsError is what the store returns if single writes failed for a reason of
// their own, which asking again does not mend.
type itemsError interface {
	error
	At(i int) error // nil where the write succeeded
}

// do stores one write. While the store cannot be reached it goes on asking,
// until ctx ends: the token is in the journal, and repeating the write is
// safe. stalled, if not nil, is called at the first failure.
func (c *committer) do(ctx context.Context, write Written, stalled func()) (credential.Status, error) {
	wait := firstStoreWait
	for {
		one := &commit{write: write, done: make(chan struct{})}
		select {
		case c.queue <- one:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
		select {
		case <-one.done:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
		if one.err == nil || one.final {
			return one.status, one.err
		}
		c.met(one.err)
		if stalled != nil {
			stalled()
			stalled = nil
		}
		level := zerolog.WarnLevel
		if _, known := errors.AsType[anotherRun](one.err); known || wait > firstStoreWait {
			level = zerolog.DebugLevel // the barrier tells of it, or it was told before
		}
		c.log.WithLevel(level).Err(one.err).Stringer("nonce", write.Write.Nonce).Stringer("again_in", wait).
			Msg("the store did not take a write, storing it again")
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return "", context.Cause(ctx)
		}
		wait = min(2*wait, maxStoreWait)
	}
}
