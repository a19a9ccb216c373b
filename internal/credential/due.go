package credential

import (
	"cmp"
	"slices"
	"time"
)

// Work is what a credential needs at some moment.
type Work struct {
	Refresh  bool // present the refresh token
	Recover  bool // present it once more: an earlier attempt ended in doubt
	Advance  bool // a moment has passed that changes the record: expiry, a coming limit
	Question bool // an attempt is past its deadline: find out what became of its owner
}

// None reports whether there is nothing to do.
func (w Work) None() bool { return w == Work{} }

// Due tells what the credential needs at now. open is its open attempt.
func Due(r Record, open *Attempt, now Millis) Work {
	if r.State.Terminal() {
		return Work{}
	}
	passed := func(m Millis) bool { return m != 0 && m <= now }
	work := Work{Advance: passed(r.expiry()) || passed(r.AnnouncedAt()) || passed(r.countdown()) || passed(r.lapse())}
	switch {
	case open == nil:
		work.Refresh = r.presentable() && r.refreshDue(now) && !r.over(now)
	case open.Doubt:
		work.Recover = r.presentable() && passed(open.RecoverAt)
	default:
		work.Question = passed(open.Deadline)
	}
	return work
}

// NextDue returns the credential's score in the due index: the earliest moment
// at which [Due] has an answer, 0 if there is none. While an attempt is open
// that is its deadline, or the moment it may be recovered, instead of the
// planned refresh.
func NextDue(r Record, open *Attempt) Millis {
	if r.State.Terminal() {
		return 0
	}
	clock := r.Clock()
	switch {
	case open != nil && !open.Doubt:
		return earliest(clock, open.Deadline)
	case !r.presentable():
		return clock
	case open != nil:
		return earliest(clock, open.RecoverAt)
	default:
		return earliest(clock, r.NextRefresh())
	}
}

// NextCall returns when the next call is planned that may bring a token, as far as
// that is known; else what [NextDue] does. That a token ends meanwhile brings no
// other; the end of a session does, for it opens the way to a login.
func NextCall(r Record, open *Attempt) Millis {
	var call Millis
	switch {
	case r.State.Terminal(), r.Session.Sliding(), !r.presentable():
	case open == nil:
		call = r.NextRefresh()
	case open.Doubt:
		call = open.RecoverAt
	default:
		call = open.Deadline
	}
	return cmp.Or(call, NextDue(r, open))
}

// Clock returns the earliest moment at which the passing of time alone brings
// something, 0 if there is none.
func (r Record) Clock() Millis {
	if r.State.Terminal() {
		return 0
	}
	return earliest(r.expiry(), r.AnnouncedAt(), r.countdown(), r.lapse())
}

// expiry returns the moment at which the record turns expired, 0 if it has
// been announced already.
func (r Record) expiry() Millis {
	if r.asleep() {
		return 0 // it is told when somebody returns
	}
	switch r.State {
	case StateActive, StateDegraded:
		return r.ExpiresAt
	case StatePending, StateExpired, StateReauthRequired, StateLoggedOut, StateDeleted:
		return 0
	}
	return 0
}

// countdown returns the moment at which the coming end of a session is told next,
// 0 if it is not.
func (r Record) countdown() Millis {
	if r.expiry() == 0 {
		return 0
	}
	return r.Session.CountdownAt
}

// Overdue is one entry of the due index whose score has passed.
type Overdue struct {
	ID        ID
	Due       Millis // its score
	ExpiresAt Millis // of the access token
	FirstSent Millis // when the refresh token was first presented that is in doubt, 0 if none is
	Clock     Millis // when the passing of time alone brings something next, 0 if it does not; see [Record.Clock]
	Session   bool   // that it is a living session, whose clock moves with its use
}

// OrderOverdue sorts what is overdue for a catch-up: first the refresh tokens in
// doubt that the provider still takes, for within long after they were first
// presented, for with them a login ends; then those whose access token still
// lives, then those whose access token is dead, and within each the one that dies,
// or died, first. Of those that are alike the one that is due longest is first.
func OrderOverdue(list []Overdue, within time.Duration, now Millis) {
	doubted := func(o Overdue) bool { return o.FirstSent != 0 && now <= o.FirstSent.Add(within) }
	slices.SortFunc(list, func(a, b Overdue) int {
		switch doubtA, doubtB := doubted(a), doubted(b); {
		case doubtA && doubtB:
			if a.FirstSent != b.FirstSent {
				return cmp.Compare(a.FirstSent, b.FirstSent)
			}
			return inIndex(a, b)
		case doubtA:
			return -1
		case doubtB:
			return 1
		}
		deadA, deadB := a.ExpiresAt <= now, b.ExpiresAt <= now
		if deadA != deadB {
			if deadB {
				return -1
			}
			return 1
		}
		if a.ExpiresAt != b.ExpiresAt {
			return cmp.Compare(a.ExpiresAt, b.ExpiresAt)
		}
		return inIndex(a, b)
	})
}

// inIndex compares as the due index does.
func inIndex(a, b Overdue) int {
	if a.Due != b.Due {
		return cmp.Compare(a.Due, b.Due)
	}
	return cmp.Compare(a.ID, b.ID)
}

// BatchReport counts what became of a batch of due credentials.
type BatchReport struct {
	Refreshed int // exchanges that brought a token
	Failed    int // exchanges that did not
	Advanced  int // changes that the passing of time alone brought
	Skipped   int // not due any more, in other hands, or gone
	Returned  int // given back to the due index for want of permits, or by a process that has just started
}
