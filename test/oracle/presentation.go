package oracle

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/practice"
)

// Presentations judges P1 alone, for runs of which the provider's side is all
// that matters. What is not there of the rest of the evidence excuses nothing,
// but for the end of an access token: where that is not known, it may have come.
func Presentations(e Evidence) []Violation {
	c := newTrial(e)
	c.presentations()
	return c.sorted()
}

// Repeated counts the last resorts that were made again, for no answer came to
// the one before.
func Repeated(e Evidence) int {
	c := newTrial(e)
	c.presentations()
	return c.repeated
}

// turns are the presentations of one generation so far.
type turns struct {
	first, last practice.Entry // that the provider looked at
	spender     practice.Entry // the one that spent it
	lastResort  practice.Entry // the one that was made when the access token was about to expire
}

// presentations is P1: no generation is presented again, but to ask once more
// for a reply that did not come.
func (c *trial) presentations() {
	for _, f := range c.families {
		all := map[uint32]*turns{}
		for _, e := range f.entries {
			of := all[e.Generation]
			if of == nil {
				of = &turns{}
				all[e.Generation] = of
			}
			if of.last.Seq != 0 {
				if e.Concurrent > 1 && !c.over(of.last, e) {
					c.broken("P1", f.credential, "generation %d was presented (%d) while an earlier presentation (%d) was in the air", e.Generation, e.Seq, of.last.Seq)
				}
				if c.Provider.Rotates {
					c.again(f, of, e)
				}
			}
			if judged(e) {
				of.take(e)
			}
		}
	}
}

// take notes a presentation that the provider looked at.
func (t *turns) take(e practice.Entry) {
	if t.first.Seq == 0 {
		t.first = e
	}
	if e.RotatedAt != 0 && (t.spender.Seq == 0 || e.RotatedAt < t.spender.RotatedAt) {
		t.spender = e
	}
	t.last = e
}

// since is the moment from which the provider's grace counts (Unix ns).
func (t *turns) since() int64 {
	if t.spender.Seq != 0 {
		return t.spender.RotatedAt
	}
	return t.first.Received
}

// over reports whether a had ended when b arrived, or its sender had.
func (c *trial) over(a, b practice.Entry) bool {
	return a.RepliedAt != 0 && a.RepliedAt <= b.Received || c.leftBefore(a, b) || c.killedSince(a, b.Received)
}

// again judges a presentation of a generation that was presented before. Each
// one has to have a doubt of its own: the one right before it, as far as the
// provider looked at it, must have ended without an answer that was taken in.
// Inside the grace that is enough. Outside of it, and where there is none, it
// may not come before the access token is about to expire. One more after that
// has the lost reply of the last resort for its doubt: it costs nothing, for
// either of both has spent the token if the provider saw both, and whoever ended
// the login instead would end a good one if it did not. It is counted.
func (c *trial) again(f *family, of *turns, e practice.Entry) {
	after := time.Duration(e.Received - of.since())
	switch {
	case deadly(of.last) && c.arrived(of.last): // P9 has it
	case c.givenBack(of.last): // it was told that its token stays good, and refreshes by schedule
	case c.answered(f, of.last, e.Received):
		c.broken("P1", f.credential, "generation %d was presented again (%d), %s after it was spent, although the reply (%d) had arrived", e.Generation, e.Seq, after, of.last.Seq)
	case c.Provider.Grace > 0 && after <= c.Provider.Grace:
	case !c.aboutToExpire(f, e):
		c.broken("P1", f.credential, "generation %d was presented again (%d), %s after it was spent, while its access token was still good", e.Generation, e.Seq, after)
	case !judged(e):
	default:
		if of.lastResort.Seq != 0 && !c.renewed(of) {
			c.repeated++
		}
		of.lastResort = e
	}
}

// answered reports whether the reply to a presentation is known to have been
// taken in by a moment (Unix ns): it came whole to a program that lived on, or
// the token that it brought was presented by then. A reply without a refresh
// token, where the provider rotates, is none: whether the old one was spent is
// as uncertain as before.
func (c *trial) answered(f *family, e practice.Entry, by int64) bool {
	if e.NewGeneration == 0 {
		return deadly(e) && c.arrived(e)
	}
	return c.brought(e) || f.used(e.NewGeneration, by)
}

// givenBack reports whether the reply to a presentation had the presented refresh
// token in it, which was not spent, and came.
func (c *trial) givenBack(e practice.Entry) bool {
	same := string(practice.KindMalformed) + ":" + string(practice.FormRTSame)
	return e.Verdict == practice.OutcomeRefreshed && e.Fault == same && c.arrived(e)
}

// used reports whether a generation was presented before a moment (Unix ns).
func (f *family) used(generation uint32, by int64) bool {
	return slices.ContainsFunc(f.entries, func(e practice.Entry) bool {
		return e.Generation == generation && e.Received < by
	})
}

// renewed reports whether the last resort brought another access token, though
// no refresh token: the next resort comes when that one is about to expire.
func (c *trial) renewed(of *turns) bool {
	return of.last.Seq == of.lastResort.Seq && of.last.Verdict == practice.OutcomeRefreshed && of.last.Delivered
}

// aboutToExpire reports whether the access token that is served with the
// presented generation was near its end: a tenth of its life, a second at the
// least and a minute at the most, are left by then. It may come later than that
// by any time, and earlier by none.
func (c *trial) aboutToExpire(f *family, e practice.Entry) bool {
	end, life := c.endOf(f, e)
	if end.IsZero() {
		return true // nothing to go on with
	}
	window := min(max(life/10, time.Second), time.Minute)
	return !time.Unix(0, e.Received).Before(end.Add(-window))
}

// endOf is when the newest access token expires that is known to have come with
// a presentation's generation, and how long it lives; zero where that is not
// known.
func (c *trial) endOf(f *family, presented practice.Entry) (end time.Time, life time.Duration) {
	end, life = f.storedTill.Truncate(time.Millisecond), f.storedTill.Sub(f.storedAt)
	if !end.IsZero() {
		life = max(life, c.Provider.Life) // it was stored, and counts, from before the answer told so
	}
	since := f.storedAt // the call before, or the login
	for _, e := range f.entries {
		brought := e.RotatedAt != 0 && e.NewGeneration == presented.Generation
		again := e.Verdict == practice.OutcomeRefreshed && e.Generation == presented.Generation && c.arrived(e)
		switch {
		case e.Received >= presented.Received:
		case !brought && !again:
		case c.Provider.Life == 0:
			return time.Time{}, 0
		default:
			end, life = f.servedTill(e, since, c.Provider.Life)
		}
		if e.RotatedAt != 0 || e.Verdict == practice.OutcomeRefreshed {
			since = time.Unix(0, e.Received)
		}
	}
	return end, life
}

// servedTill is the end of the access token that a call brought, and its life.
// The provider counts that from when it issued the token. The program only knows
// when it sent, which is earlier by what the call waited for its connection, was
// under way and was worked on, and it is right to take that: its own end, as the
// event tells it, counts where it was sent, by that, after the call before and
// before this one arrived. Where none was told the call's arrival counts. The
// program is told whole seconds.
func (f *family) servedTill(call practice.Entry, since time.Time, issued time.Duration) (end time.Time, life time.Duration) {
	life = issued.Truncate(time.Second)
	arrived := time.Unix(0, call.Received)
	end = arrived.Add(life)
	var own time.Time
	for _, told := range f.told {
		if sent := told.Add(-life); sent.After(since) && !sent.After(arrived) && told.After(own) {
			own = told
		}
	}
	if !own.IsZero() {
		end = own
	}
	return end, life
}

// newest is P2: what came and was kept is what is used from then on.
func (c *trial) newest() {
	for _, f := range c.families {
		var had practice.Entry // the newest token that is known to have come
		for _, e := range f.entries {
			if judged(e) && e.Generation < had.NewGeneration && had.RepliedAt < e.Received {
				c.broken("P2", f.credential, "generation %d was presented (%d) although %d had come (%d)", e.Generation, e.Seq, had.NewGeneration, had.Seq)
			}
			if e.RotatedAt != 0 && c.brought(e) && e.NewGeneration > had.NewGeneration {
				had = e
			}
		}
		for _, final := range c.Final {
			if final.ID == f.credential && final.Grant == f.state.Grant {
				c.serves(final, had.NewGeneration)
			}
		}
	}
	for id := range c.missing() {
		c.broken("P2", id, "its login was acknowledged, and it is gone")
	}
}

// serves checks what a credential serves at the end.
func (c *trial) serves(final Final, newest uint32) {
	if final.AccessToken == "" || final.State != stateActive {
		return
	}
	if c.Live != nil && !c.Live(final.AccessToken) {
		c.broken("P2", final.ID, "it serves a token that the provider does not take")
		return
	}
	if c.Holds == nil {
		return
	}
	switch grant, generation := c.Holds(final.AccessToken); {
	case grant != final.Grant:
		c.broken("P2", final.ID, "it serves a token of grant %s, not of %s", grant, final.Grant)
	case generation < newest:
		c.broken("P2", final.ID, "it serves generation %d although %d had come", generation, newest)
	}
}

// missing are the credentials that should be there at the end and are not. Only a
// login makes one, and only its deletion takes it away: after a logout it is there
// or not as before.
func (c *trial) missing() map[string]bool {
	missing := map[string]bool{}
	for _, a := range c.Acked {
		switch a.Kind {
		case KindLogin:
			missing[a.Credential] = true
		case KindDelete:
			delete(missing, a.Credential)
		}
	}
	for _, f := range c.Final {
		delete(missing, f.ID)
	}
	return missing
}

// deadly reports whether the answer says that the token will never work again.
func deadly(e practice.Entry) bool {
	switch e.Verdict {
	case practice.OutcomeReuse, practice.OutcomeUnknown, practice.OutcomeRevoked, practice.OutcomeExpired:
		return true
	case practice.OutcomeRotated, practice.OutcomeRefreshed, practice.OutcomeGrace, practice.OutcomeIssued,
		practice.OutcomeClientError, practice.OutcomeInvalidRequest, practice.OutcomeAbandoned:
		return false
	default:
		return false
	}
}

// afterDeath is P9: who was told that a grant is dead does not ask again, nor
// does his heir.
func (c *trial) afterDeath() {
	for _, f := range c.families {
		var told practice.Entry
		for _, e := range f.entries {
			if told.Seq != 0 && e.Generation <= told.Generation {
				c.broken("P9", f.credential, "generation %d was presented (%d) although the answer before (%d) had told that it is dead", e.Generation, e.Seq, told.Seq)
			}
			if deadly(e) && c.arrived(e) {
				told = e
			}
		}
	}
}

// refusedClient is the other half of P9: a client that is refused is tried
// once a minute. What was in the air when the first refusal came is free.
func (c *trial) refusedClient() {
	const inAir = 2 * time.Second
	var first, last practice.Entry
	for _, e := range c.Ledger {
		if e.Outcome != practice.OutcomeClientError {
			if judged(e) && first.Seq != 0 && e.Received > first.RepliedAt {
				first, last = practice.Entry{}, practice.Entry{} // the client is taken again
			}
			continue
		}
		switch {
		case first.Seq == 0:
			first = e
		case e.Received < first.RepliedAt+int64(inAir):
		default:
			since := first.RepliedAt
			if last.Seq != 0 {
				since = last.Received
			}
			if wait := time.Duration(e.Received - since); wait < time.Minute-inAir {
				c.broken("P9", "client "+e.Client, "it was tried again (%d) %s after it was refused", e.Seq, wait)
			}
			last = e
		}
	}
}

// held is P9 for owners: of what is paused no token is presented, but by a call that
// was begun before.
func (c *trial) held() {
	for i, paused := range c.Acked {
		if paused.Kind != KindPause {
			continue
		}
		from, until := paused.At.Add(c.Send+slack).UnixNano(), int64(math.MaxInt64)
		for _, later := range c.Acked[i+1:] {
			if later.Credential == paused.Credential && later.Kind == KindResume {
				until = later.At.UnixNano()
				break
			}
		}
		for _, f := range c.families {
			if f.credential != paused.Credential {
				continue
			}
			for _, e := range f.entries {
				if asked := cmp.Or(c.Calls[e.Seq].Asked, e.Received); asked > from && asked < until {
					c.broken("P9", f.credential, "its token was presented (%d) although it was paused", e.Seq)
				}
			}
		}
	}
}
