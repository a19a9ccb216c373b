package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// putBackAtOnce is how many credentials are read, or written, at once.
const putBackAtOnce = 100

// chains are writes by credential.
type chains map[credential.ID][]Written

func (c chains) add(w Written) {
	id := w.Write.Record.ID
	c[id] = append(c[id], w)
}

// putBack brings a run of the store that may lack the last writes up to what
// this process knows: its own writes of the loss window, the attempts that it
// holds, and, once journals is set, what dead processes left. It reports false
// while something of somebody else's has to come first; force says that nothing
// of the kind will come any more.
func (e *Engine) putBack(ctx context.Context, run string, journals, force bool) (bool, error) {
	started := e.clock.Boot()
	left := map[credential.ID]bool{}
	own := e.ledger.lately()
	writes, err := e.putBackChains(ctx, run, own, force, left)
	if err != nil {
		return false, fmt.Errorf("put back what was written: %w", err)
	}
	attempts, waiting, err := e.putBackAttempts(ctx, run, left, force)
	if err != nil {
		return false, fmt.Errorf("put back what is under way: %w", err)
	}
	if writes+attempts > 0 {
		e.metrics.restored(writes, attempts)
		e.log.Warn().Int("writes", writes).Int("attempts", attempts).Int("credentials", len(own)).Stringer("took", e.clock.Boot()-started).
			Msg("put back what redis had lost")
	}
	if !journals {
		return false, nil
	}
	again, err := e.adoptAgain(ctx, force)
	if err != nil {
		return false, err
	}
	adopted, err := e.adoptAll(ctx, force)
	if err != nil {
		return false, err
	}
	return force || again && adopted && len(left) == 0 && waiting == 0, nil
}

// putBackChains makes the writes again that the store does not have, and returns
// how many it made. left gets the credentials for which something earlier is
// missing.
func (e *Engine) putBackChains(ctx context.Context, run string, all chains, force bool, left map[credential.ID]bool) (made int, err error) {
	for _, chain := range all {
		slices.SortStableFunc(chain, func(a, b Written) int { return cmp.Compare(a.Write.Record.Revision, b.Write.Record.Revision) })
	}
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(all)), putBackAtOnce) {
		for len(ids) > 0 {
			next, writes, err := e.nextLost(ctx, ids, all, force, left)
			if err != nil {
				return made, err
			}
			if err := e.restore(ctx, run, writes); err != nil {
				return made, err
			}
			made += len(writes)
			ids = next
		}
	}
	return made, nil
}

// nextLost returns, of each credential, the first write that the store lacks:
// every write builds on the one before.
func (e *Engine) nextLost(ctx context.Context, ids []credential.ID, all chains, force bool, left map[credential.ID]bool) (next []credential.ID, writes []credential.Write, err error) {
	found, err := e.store.Load(ctx, ids...)
	if _, single := errors.AsType[itemsError](err); err != nil && !single {
		return nil, nil, err
	}
	for i, id := range ids {
		for len(all[id]) > 0 {
			first := all[id][0]
			write, what := credential.Restore(found[i], first.Write, first.After, force)
			if what == credential.RestoreLater {
				left[id] = true
				break
			}
			all[id] = all[id][1:]
			if what == credential.RestoreAgain {
				next, writes = append(next, id), append(writes, write)
				break
			}
		}
	}
	return next, writes, nil
}

// putBackAttempts opens the attempts again that are under way in this process.
func (e *Engine) putBackAttempts(ctx context.Context, run string, left map[credential.ID]bool, force bool) (made, waiting int, err error) {
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
			if credential.Missing(*h, a) && !force {
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
	_, err := e.opts.Runs.Restore(ctx, run, writes, true)
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
	statuses, err := e.opts.Runs.Restore(ctx, *e.barrier.run.Load(), []credential.Write{write}, false)
	if err != nil {
		e.barrier.met(err)
		return false, err
	}
	if statuses[0] != credential.StatusWritten {
		return false, nil
	}
	e.stored(Written{Write: write, After: write.Result(h)})
	return true, nil
}

// recallAttempt is the attempt that an intent was noted for.
func recallAttempt(intent Intent, owner string, t *Target) credential.Attempt {
	return credential.Attempt{
		Nonce: intent.Nonce, Owner: owner, Generation: intent.Generation, Grant: intent.Grant,
		BegunAt: intent.At, Deadline: intent.At.Add(t.Policy.Times.Attempt()), FirstSent: intent.At,
	}
}
