package refresh

import (
	"context"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// roster reads who works on the store. The store may have lost whom it knew: whoever
// was on it when this process saw it last, or has a journal in this folder, is on it
// in any case.
func (b *barrier) roster(ctx context.Context) (credential.Roster, error) {
	e := b.engine
	roster, err := e.registry.Roster(ctx)
	if err != nil {
		return roster, err
	}
	b.unsettled.Store(roster.Settled != *b.run.Load())
	if b.passes() == passAll {
		return roster, nil
	}
	if err := b.introduce(ctx, roster); err != nil {
		return roster, err
	}
	if err := b.dropInherited(ctx, roster); err != nil {
		return roster, err
	}
	if err := b.forgetGone(ctx, roster); err != nil {
		return roster, err
	}
	here, err := e.opts.Folder.Owners()
	b.unlisted = err != nil // of which [Engine.Unread] tells
	for _, owner := range here {
		if _, listed := roster.Members[owner]; !listed {
			roster.Members[owner] = credential.Member{Place: e.opts.Folder.Place()}
		}
	}
	return roster, nil
}

// introduce puts those on the roster of a run that this process has just met whom it
// knows from the run before. Whoever lives is on it by himself in a moment; but one
// that stands still, or is cut off, may hold what the store has lost, and who has
// only met this run would not know of him.
func (b *barrier) introduce(ctx context.Context, roster credential.Roster) error {
	if b.introduced {
		return nil
	}
	for owner, m := range b.known {
		if _, listed := roster.Members[owner]; listed || owner == b.engine.owner {
			continue
		}
		if err := b.engine.registry.Introduce(ctx, owner, m.Place); err != nil {
			return err
		}
		roster.Members[owner] = credential.Member{Place: m.Place}
	}
	b.introduced = true
	return nil
}

// dropInherited takes those off the roster whose heir has put back into this run
// what they left, should somebody who met the run later have put them on again. Nobody
// could prove their death: their heir holds the lock of their journal.
func (b *barrier) dropInherited(ctx context.Context, roster credential.Roster) error {
	e := b.engine
	run := *b.run.Load()
	for owner := range roster.Members {
		if roster.Inherited[owner] != run && !e.tookUp(owner, run) {
			continue
		}
		if err := e.opts.Runs.Inherited(ctx, owner, run); err != nil {
			return err
		}
		delete(roster.Members, owner)
	}
	return nil
}

// forgetGone takes off the roster who is proven here to be dead and to have left
// nothing. Those elsewhere cannot see that, and would wait for it through silence
// and quarantine: it died before it had a journal, or the store has lost that it
// was taken off before. One of whom an attempt is open keeps its place, by which
// [Engine.question] proves its death.
func (b *barrier) forgetGone(ctx context.Context, roster credential.Roster) error {
	e := b.engine
	now := e.clock.Boot()
	var gone []string
	for owner, m := range roster.Members {
		if owner != e.owner && e.standing(owner, m, now).Gone(e.opts.Silence) {
			gone = append(gone, owner)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	open, err := e.registry.OpenOwners(ctx)
	if err != nil {
		return err
	}
	for _, owner := range gone {
		if len(open[owner]) > 0 {
			continue
		}
		if err := e.registry.Forget(ctx, owner); err != nil {
			return err
		}
		delete(roster.Members, owner)
	}
	return nil
}

// company reports whether some other process may live that begins refreshes.
func (b *barrier) company(roster credential.Roster) bool {
	e := b.engine
	now := e.clock.Boot()
	for owner, m := range roster.Members {
		if owner != e.owner && m.Place != "" && !e.standing(owner, m, now).Quiet(e.opts.Silence) {
			return true
		}
	}
	return false
}

// others reports whether some other process has not put back what it knows, or, if
// sure is set, not even what it was told is stored. Nobody counts of whom leftOut, which
// is asked with the silence, says that he need not be waited for.
func (b *barrier) others(roster credential.Roster, run string, sure bool, leftOut func(credential.Standing, time.Duration) bool) bool {
	e := b.engine
	now := e.clock.Boot()
	for owner, m := range roster.Members {
		told := m.Ready == run || sure && m.Waiting == run
		if owner != e.owner && !told && !leftOut(e.standing(owner, m, now), e.opts.Silence) {
			return true
		}
	}
	return false
}

// bereaved reports whether somebody who is waited for has left a journal: he lived
// when this process put back what it knew, and nobody else puts back what he knew. One
// that could not be read is tried once a second.
func (b *barrier) bereaved(roster credential.Roster, run string) bool {
	e := b.engine
	now := e.clock.Boot()
	return slices.ContainsFunc(b.awaited(roster, run, e.quarantine()), func(owner string) bool {
		s := e.looked(owner, roster.Members[owner], now)
		return s.Left && !s.Locked && (!e.unread.of(owner) || now-b.tried >= tickEvery)
	})
}

// idle reports whether what is missing will not come from anybody. The journals
// of the dead are here, and this process has looked at them.
func (b *barrier) idle(roster credential.Roster, run string) bool {
	e := b.engine
	now := e.clock.Boot()
	return credential.Idle(roster, e.owner, run, e.opts.Silence, e.opts.Quarantine, func(owner string) credential.Standing {
		s := e.standing(owner, roster.Members[owner], now)
		s.Left = s.Left && s.Locked
		return s
	})
}

// awaited lists who may hold something that the present run of the store lacks.
func (b *barrier) awaited(roster credential.Roster, run string, quarantine time.Duration) []string {
	e := b.engine
	now := e.clock.Boot()
	return credential.Awaited(roster, e.owner, run, e.opts.Silence, quarantine, func(owner string) credential.Standing {
		s := e.standing(owner, roster.Members[owner], now)
		if slices.Contains(b.stay, owner) {
			s.Left = s.Left && s.Locked
		}
		return s
	})
}

// standing tells what is known here of another owner. Of one whose journal is there and
// could not be read it is as little as of one whose journal cannot be opened.
func (e *Engine) standing(owner string, m credential.Member, now time.Duration) credential.Standing {
	s := e.looked(owner, m, now)
	if s.Left && !s.Locked && e.unread.of(owner) {
		s.Left, s.Unseen = false, true
	}
	return s
}

// looked tells what a look at an owner's journal and at his heartbeat shows.
func (e *Engine) looked(owner string, m credential.Member, now time.Duration) credential.Standing {
	s := credential.Standing{Silent: e.watch.silent(owner, now), Deserted: e.watch.deserted(owner, now)}
	var err error
	if s.Left, s.Locked, err = e.opts.Folder.Look(owner); err != nil {
		s.Unseen = true
		e.log.Debug().Err(err).Str("owner", owner).Msg("whether a process lives cannot be told: its journal cannot be looked at")
	}
	s.Here = s.Left || m.Place != "" && m.Place == e.opts.Folder.Place()
	return s
}

// countDeath has a death counted of which a journal tells. Even where nothing of it is to
// be put back, its owner may have done that, and died before he counted it.
func (b *barrier) countDeath(owner string) {
	if b.passes() != passAll && !b.counted[owner] {
		b.counted[owner] = true
		b.stirred.Store(true)
	}
}

// giveUp counts those who are not waited for although they have not put back
// what they know, and reports whether there is one.
func (b *barrier) giveUp(roster credential.Roster, run string) (some bool) {
	for owner := range roster.Members {
		if owner != b.engine.owner && !roster.Ready(owner, run) && !b.counted[owner] {
			b.counted[owner], some = true, true
		}
	}
	return some
}

// WaitsFor lists the owners without whom nothing is begun on this run of the store:
// they are silent, and have not put back what they know. None while the gate is open.
func (e *Engine) WaitsFor() []string {
	if e.barrier.passes() == passAll {
		return nil
	}
	return *e.barrier.missing.Load()
}
