package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
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
// doubt. Of what cannot be read [Engine.Unread] tells.
func (e *Engine) adopt(ctx context.Context) error {
	e.adopting.Lock()
	defer e.adopting.Unlock()
	trouble := e.removeAdopted()
	found, err := e.findDead(ctx)
	_, rolled := e.rollForwardAll(ctx, found, stage{journals: true, heard: true, force: true})
	return errors.Join(trouble, err, rolled)
}

// adoptAll does the same for a run of the store that may lack the last writes, and
// once more for the journals that were adopted before: the store may have lost what
// came of that. It lists the owners whose journals stay: something of somebody
// else's has to come first, which will not come if force is set, or a single
// credential of theirs is out of reach.
func (e *Engine) adoptAll(ctx context.Context, at stage) (stay []string, trouble error) {
	e.adopting.Lock()
	defer e.adopting.Unlock()
	if err := e.removeAdopted(); err != nil {
		e.log.Warn().Err(err).Msg("journals that were taken up cannot be removed, and will be taken up once more")
	}
	all := make([]Dead, len(e.adopted))
	for i, a := range e.adopted {
		all[i] = a.dead
	}
	e.adopted = nil
	found, err := e.findDead(ctx)
	stay, rolled := e.rollForwardAll(ctx, append(all, found...), at)
	return stay, errors.Join(err, rolled)
}

// findDead locks the journals of the dead that nobody has adopted yet. One that cannot
// be taken up is no error, nor is a folder that cannot be looked through: what their
// owners have left waits for them, and whoever waits for those owners, but nothing else
// does.
func (e *Engine) findDead(ctx context.Context) (found []Dead, trouble error) {
	found, err := e.journal.Adopt(ctx)
	news := e.unread.note(err, func(owner string) bool {
		there, locked, err := e.opts.Folder.Look(owner)
		return err == nil && there && locked && !slices.ContainsFunc(found, func(dead Dead) bool { return dead.Owner == owner })
	})
	switch left := e.Unread(); {
	case news && left != "":
		e.log.Warn().Str("journals", left).Msg("journals of other processes cannot be taken up: what they hold, and what their owners had begun, waits until they can be read")
	case news:
		e.log.Info().Msg("the journals that could not be read can be, or are gone")
	}
	if len(found) > 0 {
		trouble = e.mostUrgentFirst(ctx, found)
	}
	return slices.DeleteFunc(found, func(dead Dead) bool {
		e.barrier.countDeath(dead.Owner)
		err := failpoint.Hit(failpoint.AdoptFound)
		if err != nil {
			trouble = errors.Join(trouble, err, dead.Release())
		}
		return err != nil
	}), trouble
}

// rollForwardAll rolls the store forward to what journals hold whose locks this process has.
// What the dead had written comes before anything that was decided by nobody yet:
// others may have seen it, and what comes of a reply must not take its version. So
// the replies wait until what was written is back from all journals, those of other
// machines too, which their heirs report. What is rolled forward is kept until the
// store cannot lose it any more. What is not is given back, to be adopted anew: while
// its lock is held it looks like that of a process that lives, and nobody would ever
// put anything back before it.
func (e *Engine) rollForwardAll(ctx context.Context, all []Dead, at stage) (stay []string, trouble error) {
	if len(all) == 0 {
		return nil, nil
	}
	defer e.barrier.keepBeating(ctx)()
	back, written := make(leftovers), make(chains)
	for _, dead := range all {
		for _, w := range dead.Writes {
			written.add(w)
		}
	}
	_, err := e.putBackChains(ctx, *e.barrier.run.Load(), written, at.force, back)
	if err != nil {
		trouble = fmt.Errorf("what dead processes wrote: %w", err)
	}
	replies := err == nil && (at.heard || at.force)
	for _, dead := range all {
		settled := false
		if replies {
			settled, err = e.rollForward(ctx, dead, back, at.force)
			if err != nil {
				trouble = errors.Join(trouble, fmt.Errorf("journal of %s: %w", dead.Owner, err))
			}
		}
		if settled {
			e.adopted = append(e.adopted, adoptedJournal{dead: dead, since: e.clock.Boot()})
			continue
		}
		stay = append(stay, dead.Owner)
		delete(e.rolled, dead.Owner)
		trouble = errors.Join(trouble, dead.Release())
	}
	if trouble == nil && !replies {
		trouble = e.standIn(ctx, stay)
	}
	return stay, trouble
}

// standIn reports for dead owners what they cannot report themselves: that what they
// had written is back, and that the rest waits for others.
func (e *Engine) standIn(ctx context.Context, owners []string) error {
	roster, err := e.registry.Roster(ctx)
	if err != nil {
		return err
	}
	run := *e.barrier.run.Load()
	return e.opts.Runs.StandIn(ctx, run, slices.DeleteFunc(slices.Clone(owners), func(owner string) bool {
		m, listed := roster.Members[owner]
		return !listed || m.Ready == run || m.Waiting == run
	})...)
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

// rollForward brings the store up to what a dead process's journal holds beside its
// writes, of which back are those that could not be made again. It reports false if
// single records could not be stored: the journal has to stay then.
func (e *Engine) rollForward(ctx context.Context, dead Dead, back leftovers, force bool) (settled bool, err error) {
	left := back.of(dead.ids())
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
	maps.Copy(left, back.of(slices.Values(open)))
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

// of are those of the credentials that are named.
func (l leftovers) of(ids iter.Seq[credential.ID]) leftovers {
	some := make(leftovers)
	for id := range ids {
		if err := l[id]; err != nil {
			some[id] = err
		}
	}
	return some
}

// ids are the credentials of which its records tell, some of them more than once.
func (d Dead) ids() iter.Seq[credential.ID] {
	return func(yield func(credential.ID) bool) {
		for _, intent := range d.Intents {
			if !yield(intent.ID) {
				return
			}
		}
		for _, kept := range d.Kept {
			if !yield(kept.ID) {
				return
			}
		}
		for _, change := range d.Changes {
			if !yield(change.ID) {
				return
			}
		}
		for _, w := range d.Writes {
			if !yield(w.Write.Record.ID) {
				return
			}
		}
	}
}

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
