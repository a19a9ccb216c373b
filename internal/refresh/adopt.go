package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// adoptedJournal is a dead process's journal whose content was rolled forward
// and that is kept until the store cannot lose it any more.
type adoptedJournal struct {
	dead  Dead
	since time.Duration // boot time
}

// adopt takes up what dead processes of this machine left: their received
// tokens are committed, their unsent attempts closed, the others marked as in
// doubt.
func (e *Engine) adopt(ctx context.Context) error {
	_, err := e.adoptAll(ctx, true)
	return err
}

// adoptAll lists the owners whose journals stay: something of somebody else's has
// to come first, which will not come if force is set, or a single credential of
// theirs is out of reach.
func (e *Engine) adoptAll(ctx context.Context, force bool) (stay []string, trouble error) {
	e.adopting.Lock()
	defer e.adopting.Unlock()
	trouble = e.removeAdopted()
	found, err := e.journal.Adopt(ctx)
	trouble = errors.Join(trouble, err)
	if len(found) > 0 {
		defer e.barrier.keepBeating(ctx)()
		trouble = errors.Join(trouble, e.mostUrgentFirst(ctx, found))
	}
	for _, dead := range found {
		e.barrier.countDeath(dead.Owner)
		if err := failpoint.Hit(failpoint.AdoptFound); err != nil {
			trouble = errors.Join(trouble, err, dead.Release())
			continue
		}
		settled, err := e.rollForward(ctx, dead, force)
		if err != nil || !settled {
			stay = append(stay, dead.Owner)
			if err != nil {
				err = fmt.Errorf("journal of %s: %w", dead.Owner, err)
			}
			trouble = errors.Join(trouble, err, dead.Release())
			continue
		}
		e.adopted = append(e.adopted, adoptedJournal{dead: dead, since: e.clock.Boot()})
	}
	return stay, trouble
}

// adoptAgain rolls the store forward once more for the journals that were
// adopted before: it may have lost what came of that. One of which something has to
// come later is given back, to be adopted anew: while its lock is held it looks like
// that of a process that lives, and nobody would ever put anything back before it.
func (e *Engine) adoptAgain(ctx context.Context, force bool) (trouble error) {
	e.adopting.Lock()
	defer e.adopting.Unlock()
	if len(e.adopted) > 0 {
		defer e.barrier.keepBeating(ctx)()
	}
	keep := e.adopted[:0]
	for _, a := range e.adopted {
		settled, err := e.rollForward(ctx, a.dead, force)
		switch {
		case err != nil:
			trouble = errors.Join(trouble, fmt.Errorf("journal of %s: %w", a.dead.Owner, err))
		case !settled:
			delete(e.rolled, a.dead.Owner)
			trouble = errors.Join(trouble, a.dead.Release())
			continue
		default:
			a.since = e.clock.Boot()
		}
		keep = append(keep, a)
	}
	e.adopted = keep
	return trouble
}

// removeAdopted deletes the adopted journals whose loss window has passed.
func (e *Engine) removeAdopted() error {
	var trouble error
	keep := e.adopted[:0]
	for _, a := range e.adopted {
		if a.since > e.horizon() {
			keep = append(keep, a)
			continue
		}
		if err := failpoint.Hit(failpoint.ReplayRemove); err != nil {
			trouble = errors.Join(trouble, err, a.dead.Release())
			continue
		}
		delete(e.rolled, a.dead.Owner)
		trouble = errors.Join(trouble, a.dead.Remove())
	}
	e.adopted = keep
	return trouble
}

// releaseAdopted leaves what is not certain to be durable for the next
// adopter.
func (e *Engine) releaseAdopted() error {
	e.adopting.Lock()
	defer e.adopting.Unlock()
	var trouble error
	for _, a := range e.adopted {
		trouble = errors.Join(trouble, a.dead.Release())
	}
	e.adopted = nil
	return trouble
}

// rollForward brings the store up to what a dead process's journal holds. It
// reports false if single records could not be: the journal has to stay then.
func (e *Engine) rollForward(ctx context.Context, dead Dead, force bool) (settled bool, err error) {
	left := make(leftovers)
	written := make(chains)
	for _, w := range dead.Writes {
		written.add(w)
	}
	if _, err := e.putBackChains(ctx, *e.barrier.run.Load(), written, force, left); err != nil {
		return false, fmt.Errorf("what it wrote: %w", err)
	}
	if err := e.replayAll(ctx, e.inOrder(dead, force), left); err != nil {
		return false, err
	}
	sent := make(map[credential.Nonce]bool, len(dead.Intents))
	for _, intent := range dead.Intents {
		sent[intent.Nonce] = true
	}
	presentations := make([]replay, len(dead.Intents))
	for i, intent := range dead.Intents {
		presentations[i] = replay{id: intent.ID, what: "presentation", do: func(ctx context.Context, r *reader) error {
			return e.recall(ctx, r, intent, dead.Owner, force)
		}}
	}
	if err := e.replayAll(ctx, presentations, left); err != nil {
		return false, err
	}
	judge := func(n credential.Nonce) credential.Evidence {
		return credential.EvidenceOfDead(sent[n], dead.Damaged)
	}
	owners, err := e.registry.OpenOwners(ctx)
	if err != nil {
		return false, err
	}
	open := owners[dead.Owner]
	attempts := make([]replay, len(open))
	for i, id := range open { // what is left out of them, the journal knows more of than was stored
		attempts[i] = replay{id: id, what: "open attempt", do: func(ctx context.Context, r *reader) error {
			return e.inherit(ctx, r, id, dead.Owner, judge)
		}}
	}
	if err := e.replayAll(ctx, attempts, left); err != nil {
		return false, err
	}
	if e.tellLeft(dead.Owner, left); len(left) > 0 {
		return false, nil
	}
	for name, t := range *e.targets.Load() {
		if t.Limits == (Limits{}) {
			continue
		}
		if err := e.permits.Reclaim(ctx, name, dead.Owner); err != nil {
			return false, err
		}
	}
	run := *e.barrier.run.Load()
	forget := e.registry.Forget
	if e.barrier.unsettled.Load() { // others wait, and may know the dead one
		forget = func(ctx context.Context, owner string) error { return e.opts.Runs.Inherited(ctx, owner, run) }
	}
	if err := forget(ctx, dead.Owner); err != nil {
		return false, err
	}
	e.metrics.adopted(len(dead.Kept), len(open))
	level := zerolog.InfoLevel
	if e.rolled[dead.Owner] == run {
		level = zerolog.DebugLevel // once for each run, and not for each look
	}
	e.rolled[dead.Owner] = run
	e.log.WithLevel(level).Str("owner", dead.Owner).Int("received", len(dead.Kept)).Int("open", len(open)).
		Int("changes", len(dead.Changes)).Msg("took up what a dead process left")
	return true, nil
}

// tookUp reports whether this process has put back into run what a dead one left,
// whose journal it still keeps.
func (e *Engine) tookUp(owner, run string) bool {
	e.adopting.Lock()
	defer e.adopting.Unlock()
	return run != "" && e.rolled[owner] == run
}

// leftovers are, by credential, why something of it is left in a journal.
type leftovers map[credential.ID]error

// waits reports whether something of somebody else's is to come first.
func waits(err error) bool { return errors.Is(err, errAwaits) || errors.Is(err, errUnordered) }

// ownTrouble takes out of err what concerns one credential alone: its provider
// is not configured any more, or its record cannot be read. That must keep
// neither the others nor the service from going on.
func (l leftovers) ownTrouble(id credential.ID, err error) error {
	if _, single := errors.AsType[itemsError](err); !single && !errors.Is(err, ErrUnknownProvider) && !waits(err) {
		return err
	}
	l[id] = err
	return nil
}

// tellLeft logs what a dead process left and cannot be taken up, once for as long
// as that is so: its journal is looked at every second.
func (e *Engine) tellLeft(owner string, left leftovers) {
	before, now := e.toldLeft[owner], make(map[credential.ID]bool, len(left))
	for id, err := range left {
		level := zerolog.WarnLevel
		if now[id] = !waits(err); before[id] || !now[id] {
			level = zerolog.DebugLevel
		}
		e.log.WithLevel(level).Err(err).Str("owner", owner).Str("credential", string(id)).
			Msg("what a dead process left of a credential cannot be taken up yet, its journal stays")
	}
	if delete(e.toldLeft, owner); len(now) > 0 {
		e.toldLeft[owner] = now
	}
}

// inOrder lists what owners did and what was received in the order in which it
// was noted: a token that came before a log-out came before it again.
func (e *Engine) inOrder(dead Dead, force bool) []replay {
	at := make(map[credential.Nonce]int, len(dead.Order))
	for i, nonce := range dead.Order {
		at[nonce] = i
	}
	type placed struct {
		replay

		at int
	}
	var list []placed
	for _, change := range dead.Changes {
		list = append(list, placed{at: at[change.Nonce], replay: replay{
			id: change.ID, what: "owner's change",
			do: func(ctx context.Context, r *reader) error { return e.replayChange(ctx, r, change) },
		}})
	}
	for _, kept := range dead.Kept {
		one := replay{id: kept.ID, what: "received token", do: func(ctx context.Context, r *reader) error { return e.replayKept(ctx, r, kept) }}
		if kept.Ended.Class == credential.ClassPermanent {
			one.what = "end of the grant"
			one.do = func(ctx context.Context, r *reader) error { return e.replayEnded(ctx, r, kept, dead.Owner, force) }
		}
		list = append(list, placed{at: at[kept.Nonce], replay: one})
	}
	slices.SortStableFunc(list, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
	replays := make([]replay, len(list))
	for i, p := range list {
		replays[i] = p.replay
	}
	return replays
}

// mostUrgentFirst puts the journals in the order in which others wait for them:
// first those whose owners have attempts open, for which somebody elsewhere may
// lose patience, and then the one that was written to last.
func (e *Engine) mostUrgentFirst(ctx context.Context, found []Dead) error {
	open, err := e.registry.OpenOwners(ctx)
	slices.SortStableFunc(found, func(a, b Dead) int {
		return cmp.Or(
			cmp.Compare(min(len(open[b.Owner]), 1), min(len(open[a.Owner]), 1)),
			cmp.Compare(b.newest(), a.newest()),
		)
	})
	return err
}

// newest returns when the youngest of its records was made.
func (d Dead) newest() credential.Millis {
	var at credential.Millis
	for _, intent := range d.Intents {
		at = max(at, intent.At)
	}
	for _, kept := range d.Kept {
		at = max(at, kept.At)
	}
	for _, change := range d.Changes {
		at = max(at, change.At)
	}
	for _, w := range d.Writes {
		at = max(at, w.Write.Record.UpdatedAt)
	}
	return at
}
