package refresh

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// userDataAsks is how many users are asked about at once beside everything else:
	// after a sign-in, or because there was no permit after a refresh. What more
	// there are at that moment, as in an import, is asked for with the next refresh
	// of each.
	userDataAsks = 64
	// userDataTries is how often a permit is asked for before that is left to the
	// next refresh as well, and userDataWait the longest rest between two.
	userDataTries = 20
	userDataWait  = 5 * time.Second
)

// learnUserData asks the provider about its user once more, after a token was
// installed, where its settings say so. If there is no permit, it goes on asking
// beside its caller, who has others to refresh.
func (e *Engine) learnUserData(ctx context.Context, t *Target, result settled) {
	if !t.Policy.AsksUserData || result.err != nil || result.outcome.Class != credential.ClassOK || e.opts.Delegate != nil {
		return
	}
	err := e.askUserData(ctx, t, result.held, credential.BySchedule)
	if _, busy := errors.AsType[*UnavailableError](err); busy {
		e.askBeside(ctx, t, result.held, credential.BySchedule)
	}
}

// meetUser begins to ask the provider about a user who has just signed in, and of
// whom the login has told nothing that was stored, where its settings say so.
func (e *Engine) meetUser(ctx context.Context, t *Target, held credential.Held) {
	r := held.Record
	if !t.Policy.AsksUserData || r.Paused || !r.ValidAt(e.clock.Now(), readMargin) {
		return
	}
	e.askBeside(ctx, t, held, credential.ByOwner)
}

// askBeside begins to ask the provider about a user. Nobody waits for the answer
// but the engine's stop.
func (e *Engine) askBeside(ctx context.Context, t *Target, held credential.Held, by credential.Initiator) {
	leave, err := e.enter()
	if err != nil {
		return // whoever comes next asks with the next refresh
	}
	log := e.log.With().Str("credential", string(held.Record.ID)).Str("provider", t.Name).Logger()
	select {
	case e.asking <- struct{}{}:
	default:
		leave()
		log.Info().Msg("user data is asked for with the next refresh: too many are asked for now")
		return
	}
	e.crew.run(func() {
		defer leave()
		defer func() { <-e.asking }()
		ctx, cancel := e.untilStopped(context.WithoutCancel(ctx))
		defer cancel()
		var err error
		for range userDataTries {
			if back, gone := e.breakers.heldBack(ctx, t.Name); gone != nil || back || !held.Record.ValidAt(e.clock.Now(), readMargin) {
				log.Info().Msg("user data is asked for with the next refresh: nothing is asked of the provider now, or the token has ended")
				return
			}
			err = e.askUserData(ctx, t, held, by)
			busy, _ := errors.AsType[*UnavailableError](err)
			if busy == nil || busy.RetryAfter > userDataWait || pause(ctx, busy.RetryAfter) != nil {
				break
			}
		}
		if err != nil {
			log.Info().Err(err).Msg("user data is asked for with the next refresh")
		}
	})
}

// askUserData asks the provider about its user, and stores what it tells. It is
// told when it has changed; that it cannot be had now says nothing of the
// credential, and the next refresh asks again. An error says that it was not asked.
func (e *Engine) askUserData(ctx context.Context, t *Target, held credential.Held, by credential.Initiator) error {
	id := held.Record.ID
	permits, err := e.takePermits(ctx, t, 1)
	if err != nil {
		return err
	}
	lasting := context.WithoutCancel(ctx)
	var late error // its permit has lapsed, and there is no other
	begin := permits.start(lasting)
	sentAt := e.clock.Now()
	data, o := t.Exchanger.UserData(lasting, held.Token, held.Record.Subject, func() error {
		if begin != nil {
			late = begin()
		}
		return late
	})
	renamed := e.keepName(held, o, sentAt) // before the store is asked for anything
	permits.giveBack(ctx)
	if late != nil {
		return late
	}
	e.metrics.asked(t.Name, askedUserData, o)
	if o.Class != credential.ClassOK {
		e.log.Info().Str("credential", string(id)).Str("provider", t.Name).Str("class", string(o.Class)).Str("reason", string(o.Reason)).Str("detail", o.Detail).
			Msg("user data could not be had")
		e.missing.unkept(t.Name, id, o.Missing, e.clock.Boot())
		return nil
	}
	if renamed != nil {
		e.storeName(ctx, t, held, *renamed)
	}
	_, err = e.amend(ctx, id, func(h credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		if h.Record.Grant != held.Record.Grant {
			return credential.Write{}, false // it is of an earlier login
		}
		return credential.TakeUserData(h, data, o.Subject, nonce, by, now)
	})
	if err != nil {
		e.log.Info().Err(err).Str("credential", string(id)).Msg("user data could not be stored")
	}
	return nil
}

// keepName notes a session's new name in the journal, which a backend may give with
// any reply, or the token that it gives in place of another. The old one may be dead
// from then on. It returns nil where the reply brought none.
func (e *Engine) keepName(before credential.Held, o credential.Outcome, sentAt credential.Millis) *Kept {
	r, token := before.Record, o.Token
	if o.Class != credential.ClassOK || token.Access.IsZero() || token.Access.Equal(before.Token.Access) {
		return nil
	}
	kept := Kept{
		Intent: Intent{Nonce: newNonce(), ID: r.ID, Generation: r.Generation, Grant: r.Grant, At: sentAt},
		Method: credential.MethodExtend,
		Found:  credential.Found{Token: token, Complete: true},
	}
	lasts := o.ExpiresIn
	if lasts == 0 && o.ExpiresAt == 0 && !r.Session.Sliding() { // nothing else was told of it
		lasts = r.Lifetime
	}
	kept.Found.ExpiresIn, kept.Found.RefreshExpiresIn = inSeconds(lasts), inSeconds(o.RefreshExpiresIn)
	if err := e.journal.Keep(kept)(); err != nil {
		e.log.Warn().Err(err).Str("credential", string(r.ID)).Str("provider", r.Provider).
			Msg("a session's new token could not be noted in the journal before it is stored")
	}
	return &kept
}

// inSeconds writes a duration as expires_in is written; "" for 0.
func inSeconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}

// storeName stores a session's new name like a token that an exchange has brought,
// however long the store is away.
func (e *Engine) storeName(ctx context.Context, t *Target, before credential.Held, kept Kept) {
	ctx, cancel := e.untilStopped(context.WithoutCancel(ctx))
	defer cancel()
	store := func(ctx context.Context, h credential.Held, write credential.Write) (bool, error) {
		return e.commit(ctx, h, write, func() { e.tokens.promise(write.Result(h)) })
	}
	over := func() { e.revoke(ctx, t, kept.Found.Token) }
	if _, err := e.keepLate(ctx, t, before, kept, receivedOf(kept), disposal{store: store, over: over}); err != nil {
		e.log.Warn().Err(err).Str("credential", string(kept.ID)).Str("provider", t.Name).
			Msg("a session's new token is not stored yet; the journal has it")
		return
	}
	e.ledger.retain(e.clock.Boot(), kept.Nonce)
}

// amend stores what decide makes of a record, deciding again where that has
// moved. A record that is not there is left alone.
func (e *Engine) amend(ctx context.Context, id credential.ID, decide func(credential.Held, credential.Nonce, credential.Millis) (credential.Write, bool)) (credential.Held, error) {
	for {
		list, err := e.store.Load(ctx, id)
		if err != nil {
			return credential.Held{}, &outageError{err: err}
		}
		if list[0] == nil || list[0].Record.State == credential.StateDeleted {
			return credential.Held{}, ErrNotFound
		}
		h := *list[0]
		write, wanted := decide(h, newNonce(), e.clock.Now())
		if !wanted {
			return h, nil
		}
		after, done, err := e.replace(ctx, h, write)
		if err != nil || done {
			return after, err
		}
	}
}

// amendSurely is amend for an owner, who is told what comes of it: that a record is
// as he wishes it to be, or is not there, may be so because the store has lost what
// came after it.
func (e *Engine) amendSurely(ctx context.Context, id credential.ID, decide func(credential.Held, credential.Nonce, credential.Millis) (credential.Write, bool)) (credential.Held, error) {
	for {
		seen, wrote := e.barrier.sight(), false
		held, err := e.amend(ctx, id, func(h credential.Held, nonce credential.Nonce, now credential.Millis) (write credential.Write, _ bool) {
			write, wrote = decide(h, nonce, now)
			return write, wrote
		})
		if gone := errors.Is(err, ErrNotFound); wrote && !gone || err != nil && !gone {
			return held, err
		}
		switch stands, unsure := e.concludes(ctx, seen); {
		case unsure != nil:
			return credential.Held{}, unsure
		case stands:
			return held, err
		}
	}
}

// replace stores a write that was decided on h, and reports whether
// the record was still that one.
func (e *Engine) replace(ctx context.Context, h credential.Held, write credential.Write) (credential.Held, bool, error) {
	w := Written{Write: write, After: write.Result(h)}
	status, err := e.applyOne(ctx, w)
	if err != nil {
		return credential.Held{}, false, err
	}
	if status != credential.StatusWritten {
		return h, false, nil
	}
	e.tokens.put(w.After)
	e.stored(w)
	return w.After, true, nil
}
