package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// putBackAtOnce is how many credentials are read, or written, at once.
const putBackAtOnce = 100

// putBack brings a run of the store that may lack the last writes up to what
// this process knows: its own writes of the loss window, the attempts that it
// holds, and, once journals is set, what dead processes left. It reports false
// while something of somebody else's has to come first; force ends that wait.
func (e *Engine) putBack(ctx context.Context, run string, journals, force bool) (bool, error) {
	started := e.clock.Boot()
	writes, held, left, err := e.putBackWrites(ctx, run, force)
	if err != nil {
		return false, fmt.Errorf("put back what was written: %w", err)
	}
	attempts, waiting, err := e.putBackAttempts(ctx, run, left)
	if err != nil {
		return false, fmt.Errorf("put back what is under way: %w", err)
	}
	if journals {
		if err := errors.Join(e.adoptAgain(ctx), e.adopt(ctx)); err != nil {
			return false, err
		}
	}
	if writes+attempts > 0 {
		e.metrics.restored(writes, attempts)
		e.log.Warn().Int("writes", writes).Int("attempts", attempts).Int("credentials", held).Dur("took", e.clock.Boot()-started).
			Msg("put back what redis had lost")
	}
	return journals && len(left) == 0 && (waiting == 0 || force), nil
}

// putBackWrites makes the writes of the loss window again that the store does
// not have. left has the credentials for which something earlier is missing.
func (e *Engine) putBackWrites(ctx context.Context, run string, force bool) (made, credentials int, left map[credential.ID]bool, err error) {
	left = map[credential.ID]bool{}
	all := e.ledger.lately()
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(all)), putBackAtOnce) {
		n, err := e.putBackChain(ctx, run, ids, all, force, left)
		if err != nil {
			return made, len(all), left, err
		}
		made += n
	}
	return made, len(all), left, nil
}

// putBackChain does it for some credentials: one write of each at a time, for
// every write builds on the one before.
func (e *Engine) putBackChain(ctx context.Context, run string, ids []credential.ID, all map[credential.ID][]lately, force bool, left map[credential.ID]bool) (made int, err error) {
	for len(ids) > 0 {
		found, err := e.store.Load(ctx, ids...)
		if _, single := errors.AsType[itemsError](err); err != nil && !single {
			return made, err
		}
		var next []credential.ID
		var writes []credential.Write
		for i, id := range ids {
			write, wanted := nextLost(found[i], all, id, force, left)
			if wanted {
				next, writes = append(next, id), append(writes, write)
			}
		}
		if len(writes) == 0 {
			return made, nil
		}
		if err := e.restore(ctx, run, writes); err != nil {
			return made, err
		}
		made += len(writes)
		ids = next
	}
	return made, nil
}

// nextLost returns the first write of a credential that the store lacks.
func nextLost(stored *credential.Held, all map[credential.ID][]lately, id credential.ID, force bool, left map[credential.ID]bool) (credential.Write, bool) {
	chain := all[id]
	slices.SortStableFunc(chain, func(a, b lately) int { return cmp.Compare(a.write.Record.Revision, b.write.Record.Revision) })
	for len(chain) > 0 {
		write, what := credential.Restore(stored, chain[0].write, chain[0].after, force)
		switch what {
		case credential.RestoreAgain:
			all[id] = chain
			return write, true
		case credential.RestoreLater:
			left[id] = true
			all[id] = chain
			return credential.Write{}, false
		case credential.RestoreNone:
		}
		chain = chain[1:]
	}
	all[id] = nil
	return credential.Write{}, false
}

// putBackAttempts opens the attempts again that are under way in this process.
func (e *Engine) putBackAttempts(ctx context.Context, run string, left map[credential.ID]bool) (made, waiting int, err error) {
	held := e.ledger.attempts()
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(held)), putBackAtOnce) {
		found, err := e.store.Load(ctx, ids...)
		if _, single := errors.AsType[itemsError](err); err != nil && !single {
			return made, waiting, err
		}
		var writes []credential.Write
		for i, id := range ids {
			h, a := found[i], held[id]
			if h == nil || left[id] {
				continue
			}
			if h.Record.Grant == a.Grant && h.Record.Generation < a.Generation {
				waiting++ // whoever installed that generation has not put it back yet
				continue
			}
			if write, wanted := credential.Reopen(*h, a); wanted {
				writes = append(writes, write)
			}
		}
		if err := e.restore(ctx, run, writes); err != nil {
			return made, waiting, err
		}
		made += len(writes)
	}
	return made, waiting, nil
}

// restore makes writes whatever the gate lets pass. One whose record has moved
// meanwhile is looked at again by the next pass.
func (e *Engine) restore(ctx context.Context, run string, writes []credential.Write) error {
	if len(writes) == 0 {
		return nil
	}
	if err := failpoint.Hit(failpoint.RestoreBefore); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commitDeadline)
	defer cancel()
	_, err := e.opts.Runs.Restore(ctx, run, writes)
	if single, ok := errors.AsType[itemsError](err); ok {
		e.log.Error().Err(single).Msg("a credential cannot be put back as it was")
		err = nil
	}
	return errors.Join(err, failpoint.Hit(failpoint.RestoreWrite))
}

// replay makes one write that a journal led to, into the run that this process
// looks at, and reports whether the record was still the one it was decided on.
func (e *Engine) replay(ctx context.Context, h credential.Held, write credential.Write) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, commitDeadline)
	defer cancel()
	statuses, err := e.opts.Runs.Restore(ctx, *e.barrier.run.Load(), []credential.Write{write})
	if err != nil {
		e.barrier.met(err)
		return false, err
	}
	if statuses[0] != credential.StatusWritten {
		return false, nil
	}
	e.stored(h, write)
	return true, nil
}

// recallAttempt is the attempt that an intent was noted for.
func recallAttempt(intent Intent, owner string, lasts time.Duration) credential.Attempt {
	return credential.Attempt{
		Nonce: intent.Nonce, Owner: owner, Generation: intent.Generation, Grant: intent.Grant,
		BegunAt: intent.At, Deadline: intent.At.Add(lasts), FirstSent: intent.At,
	}
}
