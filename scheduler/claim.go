package scheduler

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
	"github.com/refreshd/refreshd/tasks"
)

const (
	// claimRounds is how often a claim is sent whose answer does not come.
	claimRounds = 3
	// takeRounds is how often others may have been faster at a look.
	takeRounds = 5
	// claimAgain is the first wait between them; it doubles.
	claimAgain = 50 * time.Millisecond
	// releaseTimeout bounds giving back, which goes on when the service stops.
	releaseTimeout = 5 * time.Second
)

// take claims up to n overdue credentials, those first that are to be called
// first, and reports whether there are more. Where others were faster, those next
// to them are claimed.
func (l *shardLoop) take(ctx context.Context, list *dueList, n int) (claimed []credential.ID, more bool, err error) {
	for range takeRounds {
		var ids []credential.ID
		ids, more, err = list.backlog.pick(ctx, n-len(claimed))
		if err == nil {
			ids, err = l.claim(ctx, list.provider, ids)
		}
		claimed = append(claimed, ids...)
		if err != nil || len(claimed) == n || !more || list.backlog.blind {
			break
		}
	}
	if len(claimed) > 0 {
		err = nil // these have to be enqueued; the next look tells what is wrong
	}
	return claimed, more, err
}

// claim takes those of ids that are still due. A claim whose answer was lost
// is sent again with the same nonce, which answers the same IDs; if no answer
// comes at all, they are due again when the claim has run out.
func (l *shardLoop) claim(ctx context.Context, provider string, ids []credential.ID) ([]credential.ID, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var nonce credential.Nonce
	_, _ = rand.Read(nonce[:]) // never fails: crypto/rand ends the process instead
	wait := claimAgain
	for round := 1; ; round++ {
		claimed, err := l.d.index.Claim(ctx, l.shard, provider, ids, nonce, claimLasts)
		if err == nil || round == claimRounds {
			return claimed, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		case <-timer.C:
		}
		wait *= 2
	}
}

// enqueue puts claimed credentials on the queue, in batches that are like one.
// What the queue does not take is due again at once.
func (l *shardLoop) enqueue(ctx context.Context, like tasks.Batch, ids []credential.ID) error {
	provider := like.Provider
	for batch := range slices.Chunk(ids, tasks.MaxBatch) {
		like.IDs = batch
		task, err := tasks.NewBatch(l.shard, like)
		if err == nil {
			err = failpoint.Hit(failpoint.DispatchEnqueue)
		}
		if err == nil {
			_, err = tasks.Enqueue(ctx, l.d.queue, task)
		}
		if err == nil {
			err = failpoint.Hit(failpoint.DispatchEnqueued)
		}
		if err != nil {
			l.giveBack(ctx, provider, ids)
			return fmt.Errorf("a batch could not be enqueued: %w", err)
		}
		if !like.ClockOnly {
			l.d.metrics.batched(provider, len(batch))
		}
		ids = ids[len(batch):]
	}
	return nil
}

func (l *shardLoop) giveBack(ctx context.Context, provider string, ids []credential.ID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	l.d.metrics.gaveBack(provider, len(ids))
	if err := l.d.index.Release(ctx, provider, ids, l.d.clock.Now()); err != nil {
		l.log.Warn().Err(err).Str("provider", provider).Int("credentials", len(ids)).
			Msg("claimed credentials could not be given back, they are due again when their claim has run out")
	}
}

// settle gives the rest of a reservation back, also when the service stops. If that
// fails it comes back by itself, as a claim does.
func (l *shardLoop) settle(ctx context.Context, provider, reservation string, claimed int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if err := l.d.account.SettleClaims(ctx, provider, reservation, claimed); err != nil {
		l.log.Debug().Err(err).Str("provider", provider).Msg("what was reserved and not claimed could not be given back, it is free again when a claim would have run out")
	}
}
