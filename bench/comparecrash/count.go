package main

import (
	"cmp"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/practice"
)

// dying is how long before the kill an answer can have been handed to a process
// that had no time left to do anything with it.
const dying = 50 * time.Millisecond

// moment is when the processes were killed; before alone is set, to the first
// request, where nobody was.
type moment struct {
	killed        bool
	before, after time.Time
}

// evidence is what a run has left behind.
type evidence struct {
	credentials int
	entries     []practice.Entry
	grants      []practice.GrantState
	summary     practice.Summary
	held        []holding
	accepted    map[string]bool // by subject: the provider takes its access token
	kill        moment
}

// counts is what is told of a run.
type counts struct {
	Credentials   int     // that were stored
	Peak          int     // most requests that were in the air at one moment and were answered
	InAir         int     // requests that had arrived and were not answered at the kill
	Sent          int     // requests that presented a refresh token
	Rotations     int     // new refresh tokens that the provider issued
	Twice         int     // refresh tokens that were presented more than once
	Revoked       int     // families that the provider revoked for it
	Undelivered   int     // rotations whose answer did not arrive
	Lost          int     // credentials that only a new login mends
	LostReply     int     // of these, with an answer that did not arrive
	LostDying     int     // of the rest, answered within dying before the kill
	LostUnexcused int     // of these, neither
	Unsettled     int     // credentials of which the subject has not said what became of them
	Rest          float64 // seconds until rest, from the kill, or from the first request; 0: not reached
}

// count counts. It trusts the ledger for what happened, and the provider's own
// resource for what a stored token is worth.
func count(e evidence) counts {
	c := counts{
		Credentials: e.credentials, Sent: int(e.summary.Presentations), Rotations: int(e.summary.Rotations),
		Twice: int(e.summary.GenerationsPresentedTwice), Undelivered: int(e.summary.Undelivered),
		Peak: peak(e.entries),
	}
	undelivered, late := map[string]bool{}, map[string]bool{}
	for _, entry := range e.entries {
		if e.kill.inAir(entry) {
			c.InAir++
		}
		if entry.RotatedAt == 0 {
			continue
		}
		undelivered[entry.Subject] = undelivered[entry.Subject] || !entry.Delivered
		late[entry.Subject] = late[entry.Subject] || e.kill.takes(entry)
	}
	held := map[string]holding{}
	for _, h := range e.held {
		held[h.subject] = h
	}
	for _, g := range e.grants {
		if !g.Alive {
			c.Revoked++
		}
		h := held[g.Subject]
		if !h.settled() {
			c.Unsettled++
		}
		if g.Alive && h.fresh && e.accepted[g.Subject] {
			continue
		}
		c.Lost++
		switch {
		case undelivered[g.Subject]:
			c.LostReply++
		case late[g.Subject]:
			c.LostDying++
		default:
			c.LostUnexcused++
		}
	}
	return c
}

// peak is how many requests were in the air at the busiest moment. One that was
// never answered is left out: when it ended, nobody knows.
func peak(entries []practice.Entry) int {
	type step struct {
		at     int64
		change int
	}
	var steps []step
	for _, e := range entries {
		if e.RepliedAt != 0 {
			steps = append(steps, step{e.Received, 1}, step{e.RepliedAt, -1})
		}
	}
	slices.SortFunc(steps, func(a, b step) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.change, b.change)) })
	now, most := 0, 0
	for _, s := range steps {
		now += s.change
		most = max(most, now)
	}
	return most
}

// inAir says whether a request had arrived before the kill and its answer had
// not been given.
func (k moment) inAir(e practice.Entry) bool {
	at := k.before.UnixNano()
	return k.killed && e.Received < at && (e.RepliedAt == 0 || e.RepliedAt > at)
}

// takes says whether an answer was given to a process that was about to die.
func (k moment) takes(e practice.Entry) bool {
	return k.killed && e.RepliedAt > k.before.Add(-dying).UnixNano() && e.RepliedAt < k.after.UnixNano()
}
