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

// adoptAll reports false if a journal could not be taken up because something
// of somebody else's has to come first; force says that it will not come.
func (e *Engine) adoptAll(ctx context.Context, force bool) (bool, error) {
	e.adopting.Lock()
	defer e.adopting.Unlock()
	trouble := e.removeAdopted()
	all := true
	found, err := e.journal.Adopt(ctx)
	trouble = errors.Join(trouble, err)
	if len(found) > 0 {
		defer e.barrier.keepBeating(ctx)()
		trouble = errors.Join(trouble, e.mostUrgentFirst(ctx, found))
	}
	for _, dead := range found {
		if err := failpoint.Hit(failpoint.AdoptFound); err != nil {
			trouble = errors.Join(trouble, err, dead.Release())
			continue
		}
		settled, err := e.rollForward(ctx, dead, force)
		if err != nil || !settled {
			all = false
			if err != nil {
				err = fmt.Errorf("journal of %s: %w", dead.Owner, err)
			}
			trouble = errors.Join(trouble, err, dead.Release())
			continue
		}
		e.adopted = append(e.adopted, adoptedJournal{dead: dead, since: e.clock.Boot()})
	}
	return all, trouble
}

// adoptAgain rolls the store forward once more for the journals that were
// adopted before: it may have lost what came of that.
func (e *Engine) adoptAgain(ctx context.Context, force bool) (all bool, trouble error) {
	e.adopting.Lock()
	defer e.adopting.Unlock()
	all = true
	if len(e.adopted) > 0 {
		defer e.barrier.keepBeating(ctx)()
	}
	for i, a := range e.adopted {
		settled, err := e.rollForward(ctx, a.dead, force)
		if err != nil {
			trouble = errors.Join(trouble, fmt.Errorf("journal of %s: %w", a.dead.Owner, err))
			continue
		}
		all = all && settled
		e.adopted[i].since = e.clock.Boot()
	}
	return all, trouble
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
	left := make(map[credential.ID]bool)
	written := make(chains)
	for _, w := range dead.Writes {
		written.add(w)
	}
	if _, err := e.putBackChains(ctx, *e.barrier.run.Load(), written, force, left); err != nil {
		return false, fmt.Errorf("what it wrote: %w", err)
	}
	if err := e.replayAll(ctx, dead.Owner, e.inOrder(dead, force), left); err != nil {
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
	if err := e.replayAll(ctx, dead.Owner, presentations, left); err != nil {
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
	if err := e.replayAll(ctx, dead.Owner, attempts, left); err != nil {
		return false, err
	}
	if len(left) > 0 {
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
	if err := e.registry.Forget(ctx, dead.Owner); err != nil {
		return false, err
	}
	e.metrics.adopted(len(dead.Kept), len(open))
	e.log.Info().Str("owner", dead.Owner).Int("received", len(dead.Kept)).Int("open", len(open)).
		Int("changes", len(dead.Changes)).Msg("took up what a dead process left")
	return true, nil
}

// ownTrouble takes out of err what concerns one credential alone: its provider
// is not configured any more, or its record cannot be read. That must keep
// neither the others nor the service from going on.
func (e *Engine) ownTrouble(err error, owner string, id credential.ID, left map[credential.ID]bool) error {
	awaits := errors.Is(err, errAwaits) || errors.Is(err, errUnordered)
	if _, single := errors.AsType[itemsError](err); !single && !errors.Is(err, ErrUnknownProvider) && !awaits {
		return err
	}
	left[id] = true
	level := zerolog.WarnLevel
	if awaits {
		level = zerolog.DebugLevel
	}
	e.log.WithLevel(level).Err(err).Str("owner", owner).Str("credential", string(id)).
		Msg("what a dead process left of a credential cannot be taken up yet, its journal stays")
	return nil
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

// replayKept stores a token that a dead process received.
func (e *Engine) replayKept(ctx context.Context, r *reader, kept Kept) error {
	if err := failpoint.Hit(failpoint.ReplayKept); err != nil {
		return err
	}
	h, t, err := e.heldAndTarget(ctx, r, kept.ID)
	if err != nil || h == nil {
		return err
	}
	_, err = e.keepLate(ctx, t, *h, kept, receivedOf(kept), r.replay)
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
		e.metrics.inDoubt(t.Name)
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
		if !force && (s.Left || !dead) {
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

// storing makes a write that was decided on h, and reports whether the record
// was still that one.
type storing func(ctx context.Context, h credential.Held, write credential.Write) (bool, error)

// keepLate stores a token whose attempt may not be the open one any more, as
// far as it belongs to the present login and is news. A token of an earlier
// login is revoked where the provider can do that.
func (e *Engine) keepLate(ctx context.Context, t *Target, h credential.Held, kept Kept, got credential.Received, store storing) (credential.Held, error) {
	late := credential.Late{Nonce: kept.Nonce, Generation: kept.Generation, Grant: kept.Grant, Received: got}
	for {
		write, verdict := credential.TakeLate(h, late, e.known(h, got.Token), t.Policy, newNonce(), credential.BySchedule, e.clock.Now())
		switch verdict {
		case credential.LateKnown:
			return h, nil
		case credential.LateRevoke:
			e.revoke(ctx, t, got.Token)
			return h, nil
		case credential.LateAwaits:
			return h, errAwaits
		case credential.LateInstalled, credential.LateKept:
		}
		done, err := store(ctx, h, write)
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

// revoke ends a token that nobody will use, as far as the provider can.
func (e *Engine) revoke(ctx context.Context, t *Target, token credential.Token) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.Policy.Times.Exchange)
	defer cancel()
	if err := t.Exchanger.Revoke(ctx, token); err != nil {
		e.log.Info().Err(err).Str("provider", t.Name).Msg("a token of an ended login could not be revoked")
	}
}

// inherit settles an attempt that owner left open.
func (e *Engine) inherit(ctx context.Context, r *reader, id credential.ID, owner string, judge func(credential.Nonce) credential.Evidence) error {
	for {
		h, t, err := e.heldAndTarget(ctx, r, id)
		if err != nil || h == nil || h.Attempt == nil || h.Attempt.Owner != owner {
			return err
		}
		evidence := judge(h.Attempt.Nonce)
		write, wanted := credential.Inherit(*h, *h.Attempt, evidence, t.Policy, e.clock.Now())
		if !wanted {
			return nil
		}
		if err := failpoint.Hit(failpoint.ReplayAttempt); err != nil {
			return err
		}
		if evidence == credential.EvidenceSent {
			e.metrics.inDoubt(t.Name)
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
