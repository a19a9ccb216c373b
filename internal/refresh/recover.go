package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// ownerSilence is how long another machine's heartbeat must stand still, while
// ours succeeds, before its owner is suspected dead.
const ownerSilence = 5 * time.Second

// adoptedJournal is a dead process's journal whose content was rolled forward
// and that is kept until the store cannot lose it any more.
type adoptedJournal struct {
	dead  Dead
	since time.Duration // boot time
}

// judgement is what is known of an owner on another machine.
type judgement struct {
	beat  uint64
	since time.Duration // boot time since when the beat has not changed
}

// adopt takes up what dead processes of this machine left: their received
// tokens are committed, their unsent attempts closed, the others marked as in
// doubt.
func (e *Engine) adopt(ctx context.Context) error {
	e.adopting.Lock()
	defer e.adopting.Unlock()
	trouble := e.removeAdopted()
	found, err := e.journal.Adopt(ctx)
	trouble = errors.Join(trouble, err)
	for _, dead := range found {
		settled, err := e.rollForward(ctx, dead)
		if err != nil || !settled {
			if err != nil {
				err = fmt.Errorf("journal of %s: %w", dead.Owner, err)
			}
			trouble = errors.Join(trouble, err, dead.Release())
			continue
		}
		e.adopted = append(e.adopted, adoptedJournal{dead: dead, since: e.clock.Boot()})
	}
	return trouble
}

// removeAdopted deletes the adopted journals whose loss window has passed.
func (e *Engine) removeAdopted() error {
	var trouble error
	keep := e.adopted[:0]
	for _, a := range e.adopted {
		if e.clock.Boot()-a.since < e.opts.Retain {
			keep = append(keep, a)
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
func (e *Engine) rollForward(ctx context.Context, dead Dead) (settled bool, err error) {
	left := make(map[credential.ID]bool)
	for _, change := range dead.Changes {
		if err := e.ownTrouble(e.replayChange(ctx, change), dead.Owner, change.ID, left); err != nil {
			return false, fmt.Errorf("owner's change of %s: %w", change.ID, err)
		}
	}
	for _, kept := range dead.Kept {
		if left[kept.ID] {
			continue
		}
		if err := e.ownTrouble(e.replayKept(ctx, kept), dead.Owner, kept.ID, left); err != nil {
			return false, fmt.Errorf("received token of %s: %w", kept.ID, err)
		}
	}
	sent := make(map[credential.Nonce]bool, len(dead.Intents))
	for _, intent := range dead.Intents {
		sent[intent.Nonce] = true
	}
	judge := func(n credential.Nonce) verdict {
		if sent[n] || dead.Damaged {
			return maySent
		}
		return unsent
	}
	owners, err := e.registry.OpenOwners(ctx)
	if err != nil {
		return false, err
	}
	open := owners[dead.Owner]
	for _, id := range open {
		if left[id] {
			continue // its journal knows more of the attempt than was stored
		}
		if err := e.ownTrouble(e.inherit(ctx, id, dead.Owner, judge), dead.Owner, id, left); err != nil {
			return false, fmt.Errorf("open attempt of %s: %w", id, err)
		}
	}
	if len(left) > 0 {
		return false, nil
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
	if _, single := errors.AsType[itemsError](err); !single && !errors.Is(err, ErrUnknownProvider) {
		return err
	}
	left[id] = true
	e.log.Warn().Err(err).Str("owner", owner).Str("credential", string(id)).
		Msg("what a dead process left of a credential cannot be taken up yet, its journal stays")
	return nil
}

// replayKept commits a token that a dead process received.
func (e *Engine) replayKept(ctx context.Context, kept Kept) error {
	for {
		h, t, err := e.heldAndTarget(ctx, kept.ID)
		if err != nil || h == nil {
			return err
		}
		got := receivedOf(kept)
		if h.Attempt == nil || h.Attempt.Nonce != kept.Nonce {
			_, err := e.keepLate(ctx, t, *h, kept, got)
			return err
		}
		write := credential.Install(*h, *h.Attempt, got, t.Policy, credential.BySchedule, e.clock.Now())
		status, err := e.commits.do(ctx, write, nil)
		if err != nil {
			return err
		}
		if status == credential.StatusWritten {
			e.announce(write)
			return nil
		}
	}
}

// receivedOf reads the journal's form of a reply. Whether the rest of it was
// sound is not known: without a refresh token it counts as cut off.
func receivedOf(kept Kept) credential.Received {
	return credential.Received{
		Token: kept.Found.Token, SentAt: kept.At, Partial: !kept.Found.Complete,
		ExpiresIn: credential.ParseExpiresIn(kept.Found.ExpiresIn),
		ExpiresAt: credential.JWTExpiry(kept.Found.Token.Access),
	}
}

// keepLate stores a token whose attempt is no longer the open one: as an
// alternate if it belongs to the present login and is news, else not at all. A
// token of an earlier login is revoked where the provider can do that.
func (e *Engine) keepLate(ctx context.Context, t *Target, h credential.Held, kept Kept, got credential.Received) (credential.Held, error) {
	for {
		switch {
		case h.Record.Grant != kept.Grant:
			e.revoke(ctx, t, got.Token)
			return h, nil
		case h.Record.LastWrite == kept.Nonce, e.known(h, got.Token):
			return h, nil
		}
		alt := credential.Alternate{
			Nonce: kept.Nonce, Generation: kept.Generation, Token: got.Token, IssuedAt: got.SentAt,
			Lifetime: t.Policy.Lifetime(got.ExpiresIn, got.ExpiresAt, got.SentAt),
		}
		write := credential.KeepAlternate(h, alt, newNonce(), e.clock.Now())
		status, err := e.commits.do(ctx, write, nil)
		if err != nil {
			return h, err
		}
		if status == credential.StatusWritten {
			e.log.Info().Str("credential", string(kept.ID)).Uint64("generation", kept.Generation).
				Msg("a token that came after its attempt was closed is kept as an alternate")
			result := e.installAlternate(ctx, t, kept.ID)
			return result.held, result.err
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
	victim := token.Refresh
	if victim.IsZero() {
		victim = token.Access
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.Policy.Times.Exchange)
	defer cancel()
	if err := t.Exchanger.Revoke(ctx, victim); err != nil {
		e.log.Info().Err(err).Str("provider", t.Name).Msg("a token of an ended login could not be revoked")
	}
}

// verdict is what is known of an attempt that is open in the store.
type verdict int

const (
	living  verdict = iota // somebody works on it
	unsent                 // nothing went out
	maySent                // it may have gone out, and no reply is known
)

// inherit settles an attempt that owner left open.
func (e *Engine) inherit(ctx context.Context, id credential.ID, owner string, judge func(credential.Nonce) verdict) error {
	for {
		h, t, err := e.heldAndTarget(ctx, id)
		if err != nil || h == nil || h.Attempt == nil || h.Attempt.Owner != owner || h.Attempt.Doubt {
			return err
		}
		var write credential.Write
		switch judge(h.Attempt.Nonce) {
		case living:
			return nil
		case unsent:
			write = credential.Abandon(*h, *h.Attempt, credential.BySchedule, e.clock.Now())
		case maySent:
			write = credential.Doubt(*h, *h.Attempt, t.Policy, e.clock.Now())
			e.metrics.inDoubt(t.Name)
		}
		status, err := e.commits.do(ctx, write, nil)
		if err != nil {
			return err
		}
		if status == credential.StatusWritten {
			e.announce(write)
			return nil
		}
	}
}

// closeOrphans closes open attempts under this owner's name that nobody in
// this process holds: their begin was granted and the answer lost. An intent
// is noted only after the answer, so nothing was sent; unless the store fell
// back behind a commit, in which case the journal still has the record.
func (e *Engine) closeOrphans(ctx context.Context, own []credential.ID) error {
	judge := func(n credential.Nonce) verdict {
		switch {
		case e.ledger.holds(n):
			return living
		case e.ledger.retains(n):
			return maySent
		default:
			return unsent
		}
	}
	var trouble error
	for _, id := range own {
		if err := e.inherit(ctx, id, e.owner, judge); err != nil {
			trouble = errors.Join(trouble, fmt.Errorf("orphaned attempt of %s: %w", id, err))
		}
	}
	return trouble
}

// question looks for attempts of owners on other machines that have gone
// silent. A silent heartbeat proves nothing: it starts the quarantine, in
// which the owner or its journal may come back. After that the attempt counts
// as sent and unknown.
func (e *Engine) question(ctx context.Context, open map[string][]credential.ID) error {
	beats, err := e.registry.Owners(ctx)
	if err != nil {
		return err
	}
	now := e.clock.Boot()
	if now-e.lastPass > ownerSilence {
		e.judged = nil // this machine slept, and the others may have with it
	}
	e.lastPass = now
	var trouble error
	judged := make(map[string]judgement, len(open))
	for owner, ids := range open {
		if owner == e.owner {
			continue
		}
		j, ok := e.judged[owner]
		if !ok || j.beat != beats[owner] {
			j = judgement{beat: beats[owner], since: now}
		}
		judged[owner] = j
		if now-j.since < ownerSilence+e.opts.Quarantine {
			continue
		}
		for _, id := range ids {
			if err := e.inherit(ctx, id, owner, func(credential.Nonce) verdict { return maySent }); err != nil {
				trouble = errors.Join(trouble, fmt.Errorf("attempt of %s, whose owner is silent: %w", id, err))
			}
		}
	}
	e.judged = judged
	return trouble
}

// heldAndTarget reads a record and finds its provider; the record is nil if
// there is none any more.
func (e *Engine) heldAndTarget(ctx context.Context, id credential.ID) (*credential.Held, *Target, error) {
	list, err := e.store.Load(ctx, id)
	if err != nil || list[0] == nil {
		return nil, nil, err
	}
	t, err := e.target(list[0].Record.Provider)
	if err != nil {
		return nil, nil, err
	}
	return list[0], t, nil
}
