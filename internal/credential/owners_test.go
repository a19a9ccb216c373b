package credential_test

import (
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

// ownerDies leaves an attempt open. The reply may have reached the journal.
func (w *world) ownerDies(t *rapid.T) {
	f := w.takeHeard(t)
	if rapid.Bool().Draw(t, "sent") {
		w.present(f)
		w.maybeRotated(f)
		switch rapid.IntRange(0, 3).Draw(t, "received") {
		case 0:
		case 1:
			f.heard = &credential.Outcome{Method: f.method, Class: credential.ClassPermanent, Reason: credential.ReasonInvalidGrant}
		default:
			f.got = new(w.issue(t, f))
		}
	}
	w.orphan = append(w.orphan, f)
}

// ownerIsJudged settles an attempt whose owner was found dead, the way it is
// done without its journal, or with one that holds no intent.
func (w *world) ownerIsJudged(t *rapid.T) {
	if len(w.orphan) == 0 {
		t.Skip("nobody died")
	}
	f := w.orphan[rapid.IntRange(0, len(w.orphan)-1).Draw(t, "attempt")]
	h := w.live()
	if h.Attempt == nil || h.Attempt.Nonce != f.attempt.Nonce || h.Attempt.Doubt {
		t.Skip("settled already")
	}
	if f.got == nil && f.heard == nil && !w.spent[f.held.Token.Refresh.Reveal()] && rapid.Bool().Draw(t, "no intent") {
		w.settle(f, func(h credential.Held) credential.Write {
			return credential.Abandon(h, *h.Attempt, credential.BySchedule, w.now)
		})
		return
	}
	w.maybeRotated(f) // as far as anyone can tell
	w.settle(f, func(h credential.Held) credential.Write {
		return credential.Doubt(h, *h.Attempt, w.policy, w.now)
	})
}

// ownerIsSilent judges an owner on another machine that lives and has not been
// heard of: what it presented is in doubt, and its reply may still come.
func (w *world) ownerIsSilent(t *rapid.T) {
	if len(w.flying) == 0 {
		t.Skip("no attempt")
	}
	f := &w.flying[rapid.IntRange(0, len(w.flying)-1).Draw(t, "attempt")]
	h := w.live()
	if f.silent || h.Attempt == nil || h.Attempt.Nonce != f.attempt.Nonce || !w.policy.MayRotate(h.Record.Rotations) {
		t.Skip("nothing to judge")
	}
	w.present(*f)
	w.maybeRotated(*f)
	f.silent = true
	w.settle(*f, func(h credential.Held) credential.Write {
		return credential.Doubt(h, *h.Attempt, w.policy, w.now)
	})
}

// journalTurnsUp brings a token whose attempt was judged long ago, or not yet.
func (w *world) journalTurnsUp(t *rapid.T) {
	f := w.take(t, &w.orphan)
	switch {
	case f.got != nil:
		w.keep(f, *f.got)
	case f.heard != nil:
		w.hear(f)
	default:
		t.Skip("nothing was received")
	}
}

// hear stores the last word on something that a dead process has heard. Heard
// once more it says nothing new.
func (w *world) hear(f flight) {
	for again := range 2 {
		stored := w.store.load()
		if stored == nil {
			return
		}
		h := *stored
		_, _, alternate := credential.NextAlternate(h)
		var wanted bool
		write := w.unchanged(h, func(h credential.Held) credential.Write {
			var write credential.Write
			write, wanted = credential.TakeEnded(h, f.attempt, *f.heard, w.policy, w.now)
			return write
		})
		if !wanted {
			return
		}
		if again > 0 || h.Record.Grant != f.attempt.Grant {
			w.fatalf("it is stored again that %s has ended: %+v", f.method, h.Record)
		}
		if w.commit(h, write, growth{generation: alternate, drops: true}) != credential.StatusWritten {
			w.fatalf("an end was not taken")
		}
		if !alternate {
			w.died(f, h.Record)
		}
	}
}
