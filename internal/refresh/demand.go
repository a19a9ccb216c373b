package refresh

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// followPoll is how often a follower looks for itself, in case the event
	// log is not being read.
	followPoll = 500 * time.Millisecond
	// demandRounds bounds how many steps one request drives: a provider whose
	// tokens are dead on arrival must not be called in a loop.
	demandRounds = 3
	// suspectFor is how long a token that replaced a rejected one counts as
	// just refreshed.
	suspectFor = time.Minute
)

// Token returns the credential with an access token that stays valid for at
// least minTTL. It never waits while the token in hand is good enough;
// otherwise it refreshes, once however many ask.
//
// Errors: [ErrNotFound]; a [StateError] where only a person can mend it;
// [ErrNotRefreshable]; a [MinTTLError]; an [UnavailableError].
func (e *Engine) Token(ctx context.Context, id credential.ID, minTTL time.Duration) (credential.Held, error) {
	for range demandRounds {
		held, err := e.read(ctx, id)
		if err != nil {
			return credential.Held{}, e.unavailable(err)
		}
		if held.Record.Session.Sliding() && !held.Record.ValidAt(e.clock.Now(), minTTL+readMargin) {
			// A session may have been used elsewhere, of which no event tells.
			if held, err = e.load(ctx, id); err != nil {
				return credential.Held{}, e.unavailable(err)
			}
		}
		done, err := e.enough(held, minTTL)
		if errors.Is(err, ErrNotRefreshable) && !held.Record.Refreshable {
			if held, err = e.findWay(ctx, held); err != nil {
				return credential.Held{}, e.unavailable(err)
			}
			done, err = e.enough(held, minTTL)
		}
		if done {
			return held, err
		}
		if e.loginAt(held.Record) > e.clock.Now() {
			break
		}
		if err := e.withoutAccess(held); err != nil {
			return credential.Held{}, err
		}
		if err := e.inVain(held, minTTL); err != nil {
			return credential.Held{}, err
		}
		moved, err := e.advance(ctx, held, false)
		if err != nil {
			return credential.Held{}, e.unavailable(err)
		}
		if !moved {
			break
		}
	}
	held, err := e.read(ctx, id)
	if err != nil {
		return credential.Held{}, e.unavailable(err)
	}
	if done, err := e.enough(held, minTTL); done {
		return held, err
	}
	return credential.Held{}, e.notNow(held)
}

// paused says that nothing is presented until somebody resumes it.
func paused() *UnavailableError {
	return &UnavailableError{Reason: credential.ReasonPaused, RetryAfter: time.Minute}
}

// Refresh is asked for by a caller whose token was refused: rejected is its
// generation. If a newer one is installed already, that is returned without a
// call. 0 asks for a refresh whatever the generation.
func (e *Engine) Refresh(ctx context.Context, id credential.ID, rejected uint64) (credential.Held, error) {
	after := rejected
	if after == 0 {
		after = math.MaxUint64 // whatever is stored
	}
	held, err := e.loadUnlessAfter(ctx, id, after)
	if err != nil {
		return credential.Held{}, e.unavailable(err)
	}
	if current := held.Record.Generation; rejected > current {
		return held, fmt.Errorf("%w: generation %d was never handed out, the current one is %d", ErrConflict, rejected, current)
	}
	if held, err = e.findWay(ctx, held); err != nil {
		return credential.Held{}, e.unavailable(err)
	}
	first := held.Record.AccessGeneration()
	for range demandRounds {
		r := held.Record
		switch {
		case r.State.Terminal():
			return held, &StateError{State: r.State, Reason: r.Reason, Since: r.Since}
		case r.AccessGeneration() != first, rejected != 0 && r.AccessGeneration() > rejected:
			if r.ValidAt(e.clock.Now(), readMargin) {
				return held, nil
			}
		case rejected != 0 && r.Rejected == r.Generation && e.clock.Now().Sub(r.LastAttempt.SucceededAt) < suspectFor && r.ValidAt(e.clock.Now(), readMargin):
			return held, ErrFreshRejected
		}
		if e.wayless(r) {
			return held, ErrNotRefreshable
		}
		if r.Paused {
			return held, paused()
		}
		if rejected != 0 && e.loginAt(r) > e.clock.Now() {
			break // 0 is somebody's explicit wish
		}
		if err := e.withoutAccess(held); err != nil {
			return credential.Held{}, err
		}
		if rejected != 0 || r.AccessGeneration() != first {
			if err := e.inVain(held, 0); err != nil {
				return credential.Held{}, err
			}
		}
		used := r.LastAttempt.SucceededAt
		moved, err := e.advance(ctx, held, rejected != 0 && r.AccessGeneration() <= rejected)
		if err != nil {
			return credential.Held{}, e.unavailable(err)
		}
		if held, err = e.loadUnlessAfter(ctx, id, first); err != nil {
			return credential.Held{}, e.unavailable(err)
		}
		if !moved && !held.Record.State.Terminal() && held.Record.Refreshable {
			break
		}
		if now := held.Record; now.Session.Sliding() && now.AccessGeneration() == first && now.LastAttempt.SucceededAt > used && now.ValidAt(e.clock.Now(), readMargin) {
			return held, nil // the backend has just taken it
		}
	}
	if r := held.Record; r.AccessGeneration() != first && r.ValidAt(e.clock.Now(), readMargin) {
		return held, nil
	}
	return credential.Held{}, e.notNow(held)
}

// advance brings a credential one step on from what held shows: by an exchange
// of its own, or by waiting for somebody else's. It reports whether anything
// may have changed for the better.
func (e *Engine) advance(ctx context.Context, held credential.Held, rejected bool) (bool, error) {
	id := held.Record.ID
	for {
		fl, leads := e.flights.join(id)
		if leads {
			leave, err := e.enter()
			if err != nil {
				e.flights.land(id, fl, settled{err: err})
				return false, err
			}
			go func() {
				defer leave()
				ctx, cancel := e.untilStopped(context.WithoutCancel(ctx))
				defer cancel()
				result := e.lead(ctx, held, rejected)
				e.flights.land(id, fl, result)
				if t, err := e.target(held.Record.Provider); err == nil {
					e.learnUserData(ctx, t, result)
				}
			}()
		}
		if promised, err := e.await(ctx, fl, held.Record); promised || err != nil {
			return promised, err
		}
		switch result := fl.result; {
		case result.err != nil:
			return false, result.err
		case result.outcome.Class == credential.ClassOK, result.held.Record.AccessGeneration() > held.Record.AccessGeneration():
			return true, nil
		case result.outcome.Class == credential.ClassPermanent && !result.held.Record.State.Terminal() && result.held.Record.Refreshable:
			return true, nil // that way is closed, and there is another one
		case e.otherWay(held.Record, result.held.Record):
			return true, nil // as somebody else's attempt has shown
		case result.outcome.Class == credential.ClassOperator && !result.outcome.Own:
			return false, clientRefused()
		case leads, result.outcome.Class != "":
			return false, nil
		}
		// A batch looked at it and found it in other hands: lead, and follow
		// those.
	}
}

// errNotStored says that an exchange was made, or is being made, of which the
// store has not been told.
var errNotStored = errors.New("what comes of the refresh is stored once redis takes it")

// await returns when fl has ended, or promised once it has brought a token that
// the store does not take: it is served from memory. Whoever waits for anything
// else is answered with an error after the time that a commit may take, and in any
// case after that of a whole attempt and the waits before it.
func (e *Engine) await(ctx context.Context, fl *flight, before credential.Record) (promised bool, err error) {
	times := credential.DefaultTimes(0)
	if t, err := e.target(before.Provider); err == nil {
		times = t.Policy.Times
	}
	bound := time.NewTimer(2*permitWait + times.Attempt() + times.Commit)
	defer bound.Stop()
	stalled := fl.stalled
	for {
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-fl.done:
			return false, nil
		case <-stalled:
			if fl.promised.Record.AccessGeneration() > before.AccessGeneration() {
				return true, nil
			}
			stalled = nil
			bound.Reset(times.Commit)
		case <-bound.C:
			return false, &outageError{err: errNotStored}
		}
	}
}

// otherWay reports whether a credential gets its next token in another way than
// it did before.
func (e *Engine) otherWay(before, after credential.Record) bool {
	t, err := e.target(before.Provider)
	return err == nil && after.Refreshable && !after.State.Terminal() && t.Policy.Method(after) != t.Policy.Method(before)
}

// lead makes the attempt that everyone in this process waits for.
func (e *Engine) lead(ctx context.Context, held credential.Held, rejected bool) settled {
	id := held.Record.ID
	t, err := e.target(held.Record.Provider)
	if err != nil {
		return settled{err: err}
	}
	if e.opts.Delegate != nil { // before the breaker: its probe is for the one that makes the call
		var generation uint64
		if rejected {
			generation = held.Record.Generation
		}
		if err := e.opts.Delegate(ctx, id, generation); err != nil {
			return settled{err: err}
		}
		return e.follow(ctx, t, held, true)
	}
	if err := e.barrier.awaitSoon(ctx, passAll); err != nil {
		return settled{err: err}
	}
	allowed, err := e.breakers.allow(ctx, t.Name, id)
	if err != nil {
		return settled{err: err}
	}
	switch allowed {
	case blocked:
		return settled{err: clientRefused()}
	case onHold:
		return settled{err: paused()}
	case oneProbe, free:
	}
	permits, err := e.takePermits(ctx, t, 1)
	if err != nil {
		return settled{err: err}
	}
	defer permits.giveBack(ctx)
	want := wanted{id: id, force: true, generation: held.Record.Generation}
	turns, refused, err := e.begin(ctx, t, []wanted{want}, credential.ByDemand, rejected)
	if err == nil {
		err = e.takeProbeFor(ctx, t, allowed, turns)
	}
	if err != nil {
		return settled{err: err}
	}
	if len(turns) == 1 {
		turns[0].start = permits.start(context.WithoutCancel(ctx))
		return e.take(ctx, turns[0])
	}
	return e.refusedDemand(ctx, t, held, refused[0])
}

// refusedDemand answers for a begin that was refused.
func (e *Engine) refusedDemand(ctx context.Context, t *Target, held credential.Held, answer credential.Begun) settled {
	if answer.Err != nil {
		return settled{err: answer.Err}
	}
	switch answer.Refusal {
	case credential.RefusedOpen:
		if a := answer.Held.Attempt; a != nil && a.Doubt {
			return settled{err: &UnavailableError{Reason: answer.Held.Record.LastAttempt.Failure, RetryAfter: max(a.RecoverAt.Sub(answer.Now), time.Second), Doubt: true}}
		}
		return e.follow(ctx, t, held, false)
	case credential.RefusedAlternate:
		return e.installAlternate(ctx, t, held.Record.ID)
	case credential.RefusedUnknown:
		return settled{err: ErrNotFound}
	case credential.RefusedOver:
		if after, advanced := e.advanceClock(ctx, t, answer.Held); advanced {
			e.tokens.put(after)
			return settled{held: after} // there may be another way now
		}
	case credential.RefusedNot, credential.RefusedMoved, credential.RefusedTerminal,
		credential.RefusedNotDue, credential.RefusedNoRefresh:
	}
	fresh, err := e.load(ctx, held.Record.ID)
	return settled{held: fresh, err: err}
}

// follow waits until somebody else's attempt has ended, at most as long as one
// may take. One that is still to be begun has ended once the record moves. A look
// that is cut short by that says nothing: the answer is what the one before has shown.
func (e *Engine) follow(ctx context.Context, t *Target, held credential.Held, toBegin bool) settled {
	ctx, cancel := context.WithTimeout(ctx, t.Policy.Times.Attempt())
	defer cancel()
	late, known := e.unsettled(held)
	for {
		heard, forget := e.tokens.wait(held.Record.ID)
		fresh, err := e.load(ctx, held.Record.ID)
		if errors.Is(err, ErrNotFound) {
			forget()
			return settled{err: err}
		}
		switch {
		case err == nil:
			late, known = e.unsettled(fresh)
		case ctx.Err() == nil:
			late, known = &UnavailableError{Reason: credential.ReasonStoreUnavailable, RetryAfter: time.Second, Err: err}, false
		}
		ended := fresh.Attempt == nil || fresh.Attempt.Doubt || fresh.Record.Generation != held.Record.Generation
		if err == nil && ended && (!toBegin || fresh.Record.Revision != held.Record.Revision) {
			forget()
			return settled{held: fresh}
		}
		if deadline, _ := ctx.Deadline(); known && late.RetryAfter > time.Until(deadline) {
			forget()
			return settled{err: late} // it will not end while anybody waits here
		}
		timer := time.NewTimer(followPoll)
		var over error
		select {
		case <-heard:
		case <-timer.C:
		case <-ctx.Done():
			over = late
		case <-e.ctx.Done():
			over = ErrStopping
		}
		timer.Stop()
		forget()
		if over != nil {
			return settled{err: over}
		}
	}
}

// installAlternate makes a token that waits as an alternate the current one, if
// it was got with the current generation: that one is spent then. It settles a
// doubt about that generation, and brings a credential back that was given up.
func (e *Engine) installAlternate(ctx context.Context, t *Target, id credential.ID) settled {
	for {
		h, err := e.reload(ctx, id)
		if err != nil || h == nil {
			return settled{err: errors.Join(err, ErrNotFound)}
		}
		alt, spent, ok := credential.NextAlternate(*h)
		if !ok || !spent || h.Attempt != nil && !h.Attempt.Doubt {
			return settled{held: *h}
		}
		write := credential.InstallAlternate(*h, alt, t.Policy, newNonce(), credential.BySchedule, e.clock.Now())
		written, err := e.commit(ctx, *h, write, nil)
		if err != nil {
			return settled{err: err}
		}
		if written {
			after := write.Result(*h)
			e.tokens.put(after)
			return settled{held: after}
		}
	}
}

// loginAt returns before when a credential's stored login is not made by itself
// again; 0 if there is no such moment.
func (e *Engine) loginAt(r credential.Record) credential.Millis {
	t, err := e.target(r.Provider)
	if err != nil {
		return 0
	}
	return t.Policy.LoginAt(r)
}

// clientRefused says that the provider does not accept refreshd's own client.
func clientRefused() error {
	return &UnavailableError{Reason: credential.ReasonClientMisconfigured, RetryAfter: credential.ProbeEvery}
}

// unavailable turns what stood in the way of an answer into one that tells
// when to ask again.
func (e *Engine) unavailable(err error) error {
	var known *UnavailableError
	switch {
	case errors.As(err, &known), errors.Is(err, ErrNotFound), errors.Is(err, ErrUnknownProvider),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	default:
		out, ok := errors.AsType[*outageError](err)
		return &UnavailableError{Reason: credential.ReasonStoreUnavailable, RetryAfter: time.Second, Err: err, Unsure: ok && out.unsure}
	}
}

// notNow tells why there is no good enough token, and when there may be one.
func (e *Engine) notNow(held credential.Held) *UnavailableError {
	r := held.Record
	if r.Paused {
		return paused()
	}
	reason := r.LastAttempt.Failure
	if reason == credential.ReasonNone {
		reason = credential.ReasonUnavailable
	}
	wait := time.Second
	if next := credential.NextCall(r, held.Attempt); next != 0 {
		wait = max(wait, next.Sub(e.clock.Now()))
	}
	if at := e.loginAt(r); at != 0 {
		wait = max(wait, at.Sub(e.clock.Now()))
	}
	return &UnavailableError{Reason: reason, RetryAfter: wait, Doubt: held.Attempt != nil && held.Attempt.Doubt}
}
