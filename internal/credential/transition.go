package credential

import (
	"time"
)

// refusedPatience is the number of failures in a row up to which an
// invalid_request is met with the ordinary backoff; from then on one attempt
// is made per refusedWait. A login gets no such patience: see [Policy.LoginAt].
const (
	refusedPatience = 4
	refusedWait     = time.Hour
)

// Fail stores that the open attempt a brought no token. For ClassPermanent the
// caller has made sure that no newer token exists anywhere; see [NextAlternate].
func Fail(h Held, a Attempt, o Outcome, p Policy, by Initiator, now Millis) Write {
	c := beginChange(h, a.endNonce(endFailed, h.Record.Revision), by, now)
	c.write.Attempt = a.Nonce
	method := o.method(h, p)
	if o.Class != ClassNotSent && o.Class != ClassOperator {
		c.write.Record.served(a.BegunAt)
	}
	switch o.Class {
	case ClassPermanent:
		c.dead(h, a, o, method, p)
		if method == MethodExtend {
			return c.leave(a, p)
		}
		if a.Recovery {
			c.spendDoubted()
		}
		c.write.Close = true
		return c.done(nil)
	case ClassOperator:
		if o.Own {
			return c.failUnprocessed(a, o, method, p)
		}
		write := c.settle(a, now)
		if write.Due != 0 {
			write.Due = max(write.Due, now.Add(p.Times.Send)) // the breaker decides when, not this credential
		}
		return write
	case ClassNotSent, ClassRateLimited, ClassNotProcessed, ClassRefused:
		return c.failUnprocessed(a, o, method, p)
	case ClassTransient, ClassAmbiguous, ClassOK: // a success without a token is one that could not be read
	}
	c.fail(o, p)
	return c.doubt(a, method, p)
}

// failUnprocessed stores a failure that changed nothing at the provider.
func (c *change) failUnprocessed(a Attempt, o Outcome, method Method, p Policy) Write {
	o.Method = method
	c.fail(o, p)
	return c.settle(a, c.insideGrace(c.again, a, p))
}

// method returns what the exchange presented.
func (o Outcome) method(h Held, p Policy) Method {
	if o.Method != MethodNone {
		return o.Method
	}
	return p.presents(h)
}

// Abandon closes an attempt of which it is certain that nothing was sent.
// Whatever made the credential due still does.
func Abandon(h Held, a Attempt, by Initiator, now Millis) Write {
	c := beginChange(h, a.endNonce(endAbandoned, h.Record.Revision), by, now)
	c.write.Attempt = a.Nonce
	return c.settle(a, now)
}

// Doubt marks an attempt whose owner is dead, which was sent, and whose reply
// is in no journal. That is no failure of the provider's, so inside a grace nobody
// waits: what is left of it may be little.
func Doubt(h Held, a Attempt, p Policy, now Millis) Write {
	c := beginChange(h, a.endNonce(endDoubted, h.Record.Revision), BySchedule, now)
	c.write.Attempt = a.Nonce
	c.fail(Outcome{Method: p.MethodAt(h.Record, a.BegunAt), Class: ClassAmbiguous, Reason: ReasonOwnerDied}, p)
	c.unfailing = true
	return c.doubt(a, p.presented(h), p)
}

// RecoverAt returns the earliest moment, not before now, at which a generation
// in doubt may be presented once more. Where nothing rotates that is now; with
// a usable grace, now if the answer will come inside it; else the last moment
// before the access token that is still served dies.
func RecoverAt(r Record, a Attempt, p Policy, now Millis) Millis {
	if !p.MayRotate(r.Rotations) {
		return now
	}
	if end := graceEnd(a, p); end != 0 && now <= end {
		return now
	}
	return max(now, lastMoment(r))
}

// Postpone puts a recovery that was begun too early, or too late for the
// provider's grace, back into doubt without having sent anything.
func Postpone(h Held, a Attempt, p Policy, now Millis) Write {
	c := beginChange(h, a.endNonce(endPostponed, h.Record.Revision), BySchedule, now)
	c.write.Attempt = a.Nonce
	return c.settle(a, RecoverAt(h.Record, a, p, now))
}

// graceEnd returns the last moment at which the old refresh token can still be
// presented safely, 0 if the provider grants no usable grace.
func graceEnd(a Attempt, p Policy) Millis {
	within := p.RecoverWithin()
	if within == 0 || a.FirstSent == 0 {
		return 0
	}
	return a.FirstSent.Add(within)
}

// insideGrace brings a recovery planned for at forward into the provider's
// grace while that lasts, to half of what is left of it: whoever takes the
// recovery up needs a moment to begin, and one begun after the end is too late.
// Where it was not the provider that failed, there is nothing to wait for.
func (c *change) insideGrace(at Millis, a Attempt, p Policy) Millis {
	if end := graceEnd(a, p); end != 0 && c.now <= end {
		if c.unfailing {
			return c.now
		}
		return min(at, c.now+(end-c.now)/2)
	}
	return at
}

// doubt leaves the attempt open as one that may have been processed. Where
// nothing rotates there is no doubt: the attempt is closed. Nor is there where
// it was no refresh token that was presented: the same can be done again.
func (c *change) doubt(a Attempt, method Method, p Policy) Write {
	r := &c.write.Record
	if method != MethodRefresh {
		return c.leave(a, p)
	}
	if !p.MayRotate(r.Rotations) || r.State.Terminal() {
		c.spendDoubted()
		c.write.Close = true
		return c.done(nil)
	}
	if a.FirstSent == 0 {
		a.FirstSent = a.BegunAt
	}
	a.RecoverAt = c.insideGrace(max(RecoverAt(*r, a, p, c.now), r.RefreshAt, c.again), a, p)
	c.write.Doubted = !c.doubted
	a.Doubt = true
	c.write.Open = &a
	return c.done(&a)
}

// leave closes an attempt that presented no refresh token. If it took up a doubt
// about one, that doubt stands.
func (c *change) leave(a Attempt, p Policy) Write {
	r := c.write.Record
	if !a.Recovery || !r.HasRefresh {
		c.write.Close = true
		return c.done(nil)
	}
	a.Generation = r.Generation
	return c.settle(a, max(RecoverAt(r, a, p, c.now), r.RefreshAt, c.again))
}

// settle closes an attempt that changed nothing at the provider. If it was the
// recovery of an earlier one, that doubt still stands and comes back at again.
func (c *change) settle(a Attempt, again Millis) Write {
	if !a.Recovery || c.write.Record.State.Terminal() {
		if a.Recovery {
			c.spendDoubted()
		}
		c.write.Close = true
		return c.done(nil)
	}
	a.Doubt = true
	a.RecoverAt = again
	c.write.Open = &a
	return c.done(&a)
}

// spendDoubted has a refresh token that may have been presented count as spent where
// the credential is over because there is no call for it any more: it is not one that
// nobody has used. See [Record.Unasked].
func (c *change) spendDoubted() {
	if c.write.Record.Unasked() {
		c.write.Spent = c.refresh
	}
}

// fail counts a failure, plans the next attempt and publishes what follows for
// the state.
func (c *change) fail(o Outcome, p Policy) {
	c.takeSessionOut(p) // its clock says nothing any more
	r := &c.write.Record
	successor := o.Method != MethodExtend && r.alive() && r.Session.Successor.At != 0 && r.Session.Successor.At <= c.now
	apart := successor && p.Sessions.Extend // what keeps the session alive is another call, and goes on
	c.noteFailure(o)
	if apart {
		r.Failures--
	}
	failures, life := r.Failures, r.Lifetime
	if successor {
		failures, life = r.Session.Successor.Failures+1, p.Sessions.Absolute
	}
	wait := p.Backoff(r.ID, failures, life)
	if told := min(o.RetryAfter, MaxRetryAfter); told > 0 {
		wait = max(wait, told+time.Duration(retryJitter*spread(r.ID, uint64(max(r.Failures, 0)))*float64(told)))
	}
	if o.Class == ClassRefused && (o.Method == MethodLogin || failures > refusedPatience) {
		wait = max(wait, refusedWait)
	}
	if r.State == StateActive && r.ExpiresAt > c.now {
		c.event(EventDegraded, StateDegraded, o.Reason)
	}
	if successor {
		c.failSuccessor(o, wait)
	}
	c.expire(o.Reason, p)
	if r.State.Terminal() {
		return
	}
	c.again = c.now.Add(wait)
	if r.OnceAt != 0 && r.OnceAt <= c.now {
		r.OnceAt = c.again // it is still to be made, and not at once
	}
	if apart && r.alive() {
		return
	}
	if r.Refreshable && (!r.asleep() || r.RefreshAt != 0) {
		r.RefreshAt = c.again
	}
}

// noteFailure counts a failed attempt.
func (c *change) noteFailure(o Outcome) {
	r := &c.write.Record
	r.Failures++
	r.LastAttempt.FailedAt = c.now
	r.LastAttempt.Failure = o.Reason
	r.LastAttempt.Detail = o.Detail
}

// expire publishes the expiry if it has come.
func (c *change) expire(reason Reason, p Policy) {
	r := &c.write.Record
	if at := r.expiry(); at == 0 || at > c.now {
		return
	}
	if r.Session.Sliding() {
		c.sessionOver(r.endOf(), p)
		return
	}
	c.event(EventExpired, StateExpired, reason)
	if !r.Refreshable {
		c.reauth(ReasonNotRefreshable)
	}
}

// reauth ends all calls until the user has logged in again.
func (c *change) reauth(reason Reason) {
	r := &c.write.Record
	r.RefreshAt, r.WarnAt, r.OnceAt, r.Session.CountdownAt = 0, 0, 0, 0
	r.Session.Successor = Successor{}
	c.event(EventReauthRequired, StateReauthRequired, reason)
}

// Advance stores what the passing of time alone has brought: an expiry, a
// coming limit, an extension that comes too late. It reports false if there is
// nothing of the kind.
//
// A session that runs out while it is being extended is only told to be expired:
// whether it is over is for that call to say. Of one whose provider has no sessions
// any more nothing is told: it becomes a token, once that call has ended.
//
// Whether a token can be replaced that has expired is decided by the present settings:
// a way that is gone ends it now, unless somebody is on it or it is in doubt, and one
// that was added goes on from here.
func Advance(h Held, p Policy, nonce Nonce, now Millis) (Write, bool) {
	if !Due(h.Record, h.Attempt, now).Advance {
		return Write{}, false
	}
	c := beginChange(h, nonce, BySchedule, now)
	r := &c.write.Record
	if p.TookOut(*r) && h.Attempt != nil && !h.Attempt.Doubt {
		return Write{}, false
	}
	if c.takeSessionOut(p) {
		c.expire(r.Reason, p)
		return c.passed(h.Attempt), true
	}
	if at := r.AnnouncedAt(); at != 0 && at <= now {
		r.WarnAt = 0
		c.event(EventExpiring, r.State, r.Reason)
	}
	c.countdown()
	if at := r.lapse(); at != 0 && at <= now {
		r.RefreshAt = 0 // that it is over is told when somebody returns
	}
	if at := r.expiry(); h.Attempt != nil && r.Session.Sliding() && at != 0 && at <= now {
		r.Session.CountdownAt = 0
		r.RefreshAt = now
		c.event(EventExpired, StateExpired, r.endOf())
		return c.done(h.Attempt), true
	}
	if at := r.expiry(); h.Attempt == nil && !r.Session.Sliding() && at != 0 && at <= now && !r.findWay(p) {
		r.Refreshable = p.CanReplace(*r)
	}
	c.expire(r.Reason, p)
	if c.write.Erase {
		return c.done(nil), true
	}
	return c.passed(h.Attempt), true
}

// passed returns the write of what time alone has brought beside open, nil if no
// attempt is. With a credential that is over by that a doubt ends, too.
func (c *change) passed(open *Attempt) Write {
	if open == nil || !c.write.Record.State.Terminal() {
		return c.done(open)
	}
	c.spendDoubted()
	c.write.Close = true
	return c.done(nil).beside(open)
}
