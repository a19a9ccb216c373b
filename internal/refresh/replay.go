package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// replay is one record of a dead process's journal on its way into the store.
type replay struct {
	id   credential.ID
	what string
	do   func(context.Context, *reader) error
}

// replayAll carries replays out one after the other. Most of what a journal holds
// is in the store already, which one read tells of many.
func (e *Engine) replayAll(ctx context.Context, all []replay, left leftovers) error {
	for some := range slices.Chunk(all, putBackAtOnce) {
		r := e.reader()
		var ids []credential.ID
		for _, one := range some {
			if left[one.id] == nil {
				ids = append(ids, one.id)
			}
		}
		if err := r.ahead(ctx, ids); err != nil {
			return fmt.Errorf("what is stored: %w", err)
		}
		for _, one := range some {
			if left[one.id] != nil {
				continue
			}
			if err := left.ownTrouble(one.id, one.do(ctx, r)); err != nil {
				return fmt.Errorf("%s of %s: %w", one.what, one.id, err)
			}
		}
	}
	return nil
}

// replay makes one write that a journal led to, into the run that this process
// looks at, and reports whether the record was still the one it was decided on.
func (e *Engine) replay(ctx context.Context, h credential.Held, write credential.Write) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, commitDeadline)
	defer cancel()
	e.barrier.stirred.Store(true)
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

// replayKept stores a token that a dead process received.
func (e *Engine) replayKept(ctx context.Context, r *reader, kept Kept) error {
	if err := failpoint.Hit(failpoint.ReplayKept); err != nil {
		return err
	}
	h, t, err := e.heldAndTarget(ctx, r, kept.ID)
	if err != nil || h == nil {
		return err
	}
	got := receivedOf(kept)
	_, err = e.keepLate(ctx, t, *h, kept, got, disposal{
		store: r.replay,
		over:  func() { e.revoker.add(t, kept.Nonce, got.Token) },
	})
	return err
}

// replayEnded stores that the provider called a grant dead, which a dead process
// had heard.
func (e *Engine) replayEnded(ctx context.Context, r *reader, kept Kept, owner string, force bool) error {
	if err := failpoint.Hit(failpoint.ReplayKept); err != nil {
		return err
	}
	for {
		h, t, err := e.heldAndTarget(ctx, r, kept.ID)
		if err != nil || h == nil {
			return err
		}
		a := recallAttempt(kept.Intent, owner, t)
		if credential.Missing(*h, a) && !force {
			return errAwaits
		}
		write, wanted := credential.TakeEnded(*h, a, kept.Ended, t.Policy, e.clock.Now())
		if !wanted {
			return nil
		}
		if done, err := r.replay(ctx, *h, write); err != nil || done {
			return err
		}
	}
}

// recall puts a presentation back in doubt of which the store knows nothing any
// more.
func (e *Engine) recall(ctx context.Context, r *reader, intent Intent, owner string, force bool) error {
	for {
		h, t, err := e.heldAndTarget(ctx, r, intent.ID)
		if err != nil || h == nil {
			return err
		}
		a := recallAttempt(intent, owner, t)
		if credential.Missing(*h, a) && !force {
			return errAwaits
		}
		if _, wanted := credential.Recall(*h, a, false, t.Policy, e.clock.Now()); !wanted {
			return nil // whichever of the two came first
		}
		later, err := e.beganLater(ctx, *h, a, force)
		if err != nil {
			return err
		}
		write, wanted := credential.Recall(*h, a, later, t.Policy, e.clock.Now())
		if !wanted {
			return nil
		}
		if done, err := r.replay(ctx, *h, write); err != nil || done {
			return err
		}
	}
}

// beganLater reports whether the attempt that is open was begun after a, of which
// a dead owner's journal tells. It was if its own owner has put back what it
// knows into this run of the store: the open one's end would be there, and no two
// of one generation were open at a time. Whoever has not yet, or whose journal is
// still to be adopted, is waited for; force says that nothing more will come.
func (e *Engine) beganLater(ctx context.Context, h credential.Held, a credential.Attempt, force bool) (bool, error) {
	if !credential.Unordered(h, a) {
		return false, nil
	}
	owner := h.Attempt.Owner
	if owner == e.owner {
		if held := e.ledger.holds(h.Attempt.Nonce); held || force {
			return held, nil
		}
		return false, errUnordered
	}
	roster, err := e.registry.Roster(ctx)
	if err != nil {
		return false, err
	}
	m, now := roster.Members[owner], e.clock.Boot()
	if m.Ready != "" && m.Ready == *e.barrier.run.Load() {
		return true, nil
	}
	e.watch.also(owner, now)
	dead := owner == a.Owner
	if !dead {
		s := e.standing(owner, m, now)
		dead = s.Dead(e.opts.Silence, e.opts.Quarantine)
		if s.Unseen || !force && (s.Left || !dead) {
			return false, errUnordered
		}
	}
	return !dead, nil
}

// receivedOf reads the journal's form of a reply. Whether the rest of it was
// sound is not known: without a refresh token it counts as cut off.
func receivedOf(kept Kept) credential.Received {
	return credential.Received{
		Method: kept.Method, Token: kept.Found.Token, SentAt: kept.At, Partial: !kept.Found.Complete,
		ExpiresIn: credential.ParseExpiresIn(kept.Found.ExpiresIn), RefreshExpiresIn: credential.ParseExpiresIn(kept.Found.RefreshExpiresIn),
		ExpiresAt: credential.JWTExpiry(kept.Found.Token.Access),
	}
}

// errAwaits says that a received token belongs to a login that the store has
// lost, and that somebody else has to put back.
var errAwaits = errors.New("it belongs to a login that the store does not have; its owner's journal will bring it")

// errUnordered says that a dead owner's presentation cannot be put back before
// the attempt that is open in its place is looked at.
var errUnordered = errors.New("another attempt is open in its place, whose owner has not told what became of it")

// disposal is what can be done with a token that came late.
type disposal struct {
	// store makes a write that was decided on h, and reports whether the record was
	// still that one.
	store func(ctx context.Context, h credential.Held, write credential.Write) (bool, error)
	over  func() // revokes it: its login is over
}

// keepLate stores a token whose attempt may not be the open one any more, as
// far as it belongs to the present login and is news. A token of an earlier
// login is revoked where the provider can do that.
func (e *Engine) keepLate(ctx context.Context, t *Target, h credential.Held, kept Kept, got credential.Received, do disposal) (credential.Held, error) {
	late := credential.Late{Nonce: kept.Nonce, Generation: kept.Generation, Grant: kept.Grant, Received: got}
	for {
		write, verdict := credential.TakeLate(h, late, e.known(h, got.Token), t.Policy, newNonce(), credential.BySchedule, e.clock.Now())
		switch verdict {
		case credential.LateKnown:
			return h, nil
		case credential.LateRevoke:
			if !got.Token.Access.Equal(h.Token.Access) { // the present login may have been given the same
				do.over()
			}
			return h, nil
		case credential.LateAwaits:
			return h, errAwaits
		case credential.LateInstalled, credential.LateKept:
		}
		done, err := do.store(ctx, h, write)
		if err != nil {
			return h, err
		}
		if done {
			after := write.Result(h)
			e.tokens.put(after)
			if verdict == credential.LateKept {
				e.log.Info().Str("credential", string(kept.ID)).Uint64("generation", kept.Generation).
					Msg("a token that came after its attempt was closed is kept as an alternate")
			}
			return after, failpoint.Hit(failpoint.LateKept)
		}
		again, err := e.reload(ctx, kept.ID)
		if err != nil || again == nil {
			return h, err
		}
		h = *again
	}
}

// known reports whether a received token brings nothing new: it is, or was,
// the record's own, or it is among its alternates. An access token that came
// without a refresh token is not worth keeping: whatever became of the refresh
// token is still in doubt with it.
func (e *Engine) known(h credential.Held, token credential.Token) bool {
	return token.Refresh.IsZero() || token.Refresh.Equal(h.Token.Refresh) || e.store.SpentBefore(h, token.Refresh) ||
		slices.ContainsFunc(h.Alternates, func(alt credential.Alternate) bool { return alt.Token.Refresh.Equal(token.Refresh) })
}

// inherit settles an attempt that owner left open.
func (e *Engine) inherit(ctx context.Context, r *reader, id credential.ID, owner string, judge func(credential.Nonce) credential.Evidence) error {
	for {
		h, t, err := e.heldAndTarget(ctx, r, id)
		if err != nil || h == nil || h.Attempt == nil || h.Attempt.Owner != owner {
			return err
		}
		write, wanted := credential.Inherit(*h, *h.Attempt, judge(h.Attempt.Nonce), t.Policy, e.clock.Now())
		if !wanted {
			return nil
		}
		if err := failpoint.Hit(failpoint.ReplayAttempt); err != nil {
			return err
		}
		if done, err := r.replay(ctx, *h, write); err != nil || done {
			return err
		}
	}
}

// closeOrphans closes open attempts under this owner's name that nobody in
// this process holds: their begin was granted and the answer lost.
func (e *Engine) closeOrphans(ctx context.Context, own []credential.ID) error {
	judge := func(n credential.Nonce) credential.Evidence {
		return credential.EvidenceOfOwn(e.ledger.holds(n), e.ledger.retains(n))
	}
	var trouble error
	r := e.reader()
	for _, id := range own {
		if err := e.inherit(ctx, r, id, e.owner, judge); err != nil {
			trouble = errors.Join(trouble, fmt.Errorf("orphaned attempt of %s: %w", id, err))
		}
	}
	return trouble
}

// heldAndTarget reads a record and finds its provider; the record is nil if
// there is none any more.
func (e *Engine) heldAndTarget(ctx context.Context, r *reader, id credential.ID) (*credential.Held, *Target, error) {
	h, err := r.load(ctx, id)
	if err != nil || h == nil {
		return nil, nil, err
	}
	t, err := e.target(h.Record.Provider)
	if err != nil {
		return nil, nil, err
	}
	return h, t, nil
}

// recallAttempt is the attempt that an intent was noted for.
func recallAttempt(intent Intent, owner string, t *Target) credential.Attempt {
	return credential.Attempt{
		Nonce: intent.Nonce, Owner: owner, Generation: intent.Generation, Grant: intent.Grant,
		BegunAt: intent.At, Deadline: intent.At.Add(t.Policy.Times.Attempt()), FirstSent: intent.At,
	}
}
