package oracle

import (
	"time"

	"github.com/refreshd/refreshd/internal/practice"
)

// presentations is P1: no generation is presented again once it was spent,
// but to ask once more for a reply that did not come.
func (c *trial) presentations() {
	for _, f := range c.families {
		last := map[uint32]practice.Entry{}  // by generation: its last presentation
		first := map[uint32]practice.Entry{} // by generation: the one that spent it
		for _, e := range f.entries {
			before, again := last[e.Generation]
			if again && e.Concurrent > 1 && !c.over(before, e) {
				c.broken("P1", f.credential, "generation %d was presented (%d) while an earlier presentation (%d) was in the air", e.Generation, e.Seq, before.Seq)
			}
			if !judged(e) {
				continue
			}
			if spender, spent := first[e.Generation]; spent {
				c.again(f, spender, before, e)
			} else if e.RotatedAt != 0 {
				first[e.Generation] = e
			}
			last[e.Generation] = e
		}
	}
}

// over reports whether a had ended when b arrived, or its sender had.
func (c *trial) over(a, b practice.Entry) bool {
	return a.RepliedAt != 0 && a.RepliedAt <= b.Received || c.killedSince(a, b.Received)
}

// again judges a presentation of a generation that was spent by the entry
// spender and presented last by the entry before.
func (c *trial) again(f *family, spender, before, e practice.Entry) {
	after := time.Duration(e.Received - spender.RotatedAt)
	switch {
	case c.arrived(before):
		c.broken("P1", f.credential, "generation %d was presented again (%d), %s after it was spent, although the reply (%d) had arrived", e.Generation, e.Seq, after, before.Seq)
	case c.Provider.Grace > 0 && after <= c.Provider.Grace:
	case !c.aboutToExpire(f, e):
		c.broken("P1", f.credential, "generation %d was presented again (%d), %s after it was spent, while its access token was still good", e.Generation, e.Seq, after)
	}
}

// aboutToExpire reports whether the access token that came with the presented
// generation was near its end.
func (c *trial) aboutToExpire(f *family, e practice.Entry) bool {
	end, life := c.endOf(f, e.Generation)
	if end.IsZero() {
		return true // nothing to go on with
	}
	window := min(max(life/10, time.Second), time.Minute)
	return time.Unix(0, e.Received).After(end.Add(-window - slack))
}

// endOf is when the access token of a generation expires, and how long it
// lived; zero where that is not known.
func (c *trial) endOf(f *family, generation uint32) (end time.Time, life time.Duration) {
	for _, e := range f.entries {
		if e.RotatedAt == 0 || e.NewGeneration != generation {
			continue
		}
		if c.Provider.Life == 0 {
			return time.Time{}, 0
		}
		return time.Unix(0, e.Received).Add(c.Provider.Life), c.Provider.Life
	}
	return f.storedTill, f.storedTill.Sub(f.storedAt)
}

// newest is P2: what came and was kept is what is used from then on.
func (c *trial) newest() {
	for _, f := range c.families {
		var had practice.Entry // the newest token that is known to have come
		for _, e := range f.entries {
			if judged(e) && e.Generation < had.NewGeneration && had.RepliedAt < e.Received {
				c.broken("P2", f.credential, "generation %d was presented (%d) although %d had come (%d)", e.Generation, e.Seq, had.NewGeneration, had.Seq)
			}
			if e.RotatedAt != 0 && c.arrived(e) && e.NewGeneration > had.NewGeneration {
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

// missing are the credentials that should be there at the end and are not.
func (c *trial) missing() map[string]bool {
	missing := map[string]bool{}
	for _, a := range c.Acked {
		if a.Kind == KindDelete {
			delete(missing, a.Credential)
		} else {
			missing[a.Credential] = true
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
