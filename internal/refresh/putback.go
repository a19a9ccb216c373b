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

// stage is how far the others are who put back what they know.
type stage struct {
	journals bool // whoever lives has had the time to come before what dead processes left
	heard    bool // whoever has a moving heartbeat has put back what it was told is stored
	everyone bool // so has whoever stands still on this machine
	force    bool // nothing more will come of anybody
}

// putBack brings a run of the store that may lack the last writes up to what
// this process knows: what was changed beside credentials, its own writes of the
// loss window and the attempts that it holds; then what dead processes left; and at
// last what it never heard the end of, which must not take the place of what is
// known to have been stored. It is not done while something of somebody else's has
// to come first; stay are the dead of whose journals something is left.
func (e *Engine) putBack(ctx context.Context, run string, at stage) (done bool, stay []string, err error) {
	started := e.clock.Boot()
	if err := e.putBackAsides(ctx); err != nil {
		return false, nil, err
	}
	left := leftovers{}
	own := e.ledger.lately()
	writes, err := e.putBackChains(ctx, run, own, at.force, left)
	if err != nil {
		return false, nil, fmt.Errorf("put back what was written: %w", err)
	}
	attempts, waiting, err := e.putBackAttempts(ctx, run, left, at)
	if err != nil {
		return false, nil, fmt.Errorf("put back what is under way: %w", err)
	}
	if writes+attempts > 0 {
		e.metrics.restored(writes, attempts)
		e.log.Warn().Int("writes", writes).Int("attempts", attempts).Int("credentials", len(own)).Stringer("took", e.clock.Boot()-started).
			Msg("put back what redis had lost")
	}
	if !at.journals {
		return false, nil, nil
	}
	stay, err = e.adoptAll(ctx, at)
	if err != nil {
		return false, nil, err
	}
	unanswered := e.ledger.unanswered()
	switch {
	case len(unanswered) == 0:
	case !at.heard && !at.force:
		return false, nil, nil
	case !at.everyone && !at.force:
		// Whoever stands still may have been told of what is in their place that it is
		// stored. Nobody waits for them: their owners know that it is not known.
		e.barrier.owes = true
	default:
		made, err := e.putBackChains(ctx, run, unanswered, at.force, left)
		if err != nil {
			return false, nil, fmt.Errorf("put back what may have been written: %w", err)
		}
		if made > 0 {
			e.metrics.restored(made, 0)
			e.log.Warn().Int("writes", made).Msg("put back what was handed to redis and never answered: it may have been stored, and lost")
		}
	}
	return at.force || len(stay)+len(left)+waiting == 0, stay, nil
}

// putBackChains makes the writes again that the store does not have, and returns
// how many it made. left gets the credentials for which something earlier is
// missing.
func (e *Engine) putBackChains(ctx context.Context, run string, all chains, force bool, left leftovers) (made int, err error) {
	for _, chain := range all {
		slices.SortStableFunc(chain, func(a, b Written) int { return cmp.Compare(a.Write.Record.Revision, b.Write.Record.Revision) })
	}
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(all)), putBackAtOnce) {
		for len(ids) > 0 {
			next, writes, err := e.nextLost(ctx, ids, all, force, left)
			if err != nil {
				return made, err
			}
			if len(writes) > 0 {
				e.barrier.stirred.Store(true)
			}
			moved, err := e.restore(ctx, run, writes)
			if err != nil {
				return made, err
			}
			for i, id := range next {
				if !moved[i] {
					all[id] = all[id][1:]
					made++
				}
			}
			ids = next
		}
	}
	return made, nil
}

// nextLost returns, of each credential, the first write that the store lacks:
// every write builds on the one before. It stays the first of all until it is made.
func (e *Engine) nextLost(ctx context.Context, ids []credential.ID, all chains, force bool, left leftovers) (next []credential.ID, writes []credential.Write, err error) {
	found, err := e.store.Load(ctx, ids...)
	single, some := errors.AsType[itemsError](err)
	if err != nil && !some {
		return nil, nil, err
	}
	for i, id := range ids {
		if some && single.At(i) != nil {
			left[id] = single.At(i) // what is there cannot be read
			continue
		}
		for len(all[id]) > 0 {
			first := all[id][0]
			write, what := credential.Restore(found[i], first.Write, first.After, force)
			if what == credential.RestoreLater {
				left[id] = errAwaits
				break
			}
			if what == credential.RestoreAgain {
				next, writes = append(next, id), append(writes, write)
				break
			}
			all[id] = all[id][1:]
		}
	}
	return next, writes, nil
}

// putBackAttempts opens the attempts again that are under way in this process.
func (e *Engine) putBackAttempts(ctx context.Context, run string, left leftovers, at stage) (made, waiting int, err error) {
	held := e.ledger.attempts()
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(held)), putBackAtOnce) {
		found, err := e.store.Load(ctx, ids...)
		if _, single := errors.AsType[itemsError](err); err != nil && !single {
			return made, waiting, err
		}
		var writes []credential.Write
		for i, id := range ids {
			h, a := found[i], held[id]
			if left[id] != nil {
				continue
			}
			if h == nil {
				if !at.force {
					waiting++ // somebody may have the record; or its owner has deleted it
				}
				continue
			}
			if !at.force && (credential.Missing(*h, a) || !at.everyone && credential.Contested(*h, a)) {
				waiting++ // whoever installed that generation, or ended that attempt, has not put it back yet
				continue
			}
			if write, wanted := credential.Reopen(*h, a); wanted {
				writes = append(writes, write)
			}
		}
		moved, err := e.restore(ctx, run, writes)
		if err != nil {
			return made, waiting, err
		}
		for i := range writes {
			if moved[i] {
				waiting++
			} else {
				made++
			}
		}
	}
	return made, waiting, nil
}

// restore makes writes whatever the gate lets pass, and tells of each whether its
// record was another by then, which is to be looked at again.
func (e *Engine) restore(ctx context.Context, run string, writes []credential.Write) (moved []bool, err error) {
	if len(writes) == 0 {
		return nil, nil
	}
	if err := failpoint.Hit(failpoint.RestoreBefore); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, commitDeadline)
	defer cancel()
	statuses, err := e.opts.Runs.Restore(ctx, run, writes, true)
	if single, ok := errors.AsType[itemsError](err); ok {
		e.log.Error().Err(single).Msg("a credential cannot be put back as it was")
		err = nil
	}
	if err := errors.Join(err, failpoint.Hit(failpoint.RestoreWrite)); err != nil {
		return nil, err
	}
	moved = make([]bool, len(writes))
	for i, status := range statuses {
		moved[i] = status == credential.StatusMoved
	}
	return moved, nil
}
