package oracle

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/practice"
)

// Dying is how long before its owner's kill a reply may have come and still
// count as one that died with it.
const Dying = 50 * time.Millisecond

const (
	// slack is for the way between two processes on a busy machine.
	slack = 500 * time.Millisecond
	// stale is how old an answer from a process's memory may be.
	stale = time.Second
	// settleWithin is the time that P8 allows.
	settleWithin = 60 * time.Second
	// defaultSend is refreshd's own.
	defaultSend = 5 * time.Second
)

// Check returns every promise that the run broke, in the promises' order.
func Check(e Evidence) []Violation {
	c := newTrial(e)
	c.presentations()
	c.newest()
	c.versions()
	c.ended()
	c.held()
	c.log()
	for name, seen := range e.Seen {
		c.subscriber(name, seen)
	}
	c.reads()
	c.reauthRequired()
	c.unexplained()
	for _, place := range e.Canaries {
		c.broken("P7", "", "a secret was found: %s", place)
	}
	if e.Settled < 0 || e.Settled > settleWithin {
		c.broken("P8", "", "not settled %s after the faults", settleWithin)
	}
	c.afterDeath()
	c.refusedClient()
	return c.sorted()
}

// sorted are the promises that were found broken, in their order.
func (c *trial) sorted() []Violation {
	slices.SortFunc(c.found, func(a, b Violation) int { return strings.Compare(a.String(), b.String()) })
	return c.found
}

// Lost counts the credentials that ended although nobody had ended their
// grant, or are not there any more, and how many of them the ledger explains
// as replies that did not arrive, without a grace to ask again.
func Lost(e Evidence) (lost, excused int) {
	c := newTrial(e)
	lost = len(c.missing())
	for _, f := range e.Final {
		if f.State != stateReauthRequired || c.endedByOthers(f.Grant) {
			continue
		}
		lost++
		if c.lostWithoutGrace(f.Grant) {
			excused++
		}
	}
	return lost, excused
}

// Replies counts the rotations whose reply did not reach a program that could
// keep it: those that were not delivered, or cut on their way, and those that
// came as the process died which had asked.
func Replies(e Evidence) (undelivered, dying int) {
	c := newTrial(e)
	for _, entry := range e.Ledger {
		switch {
		case entry.RotatedAt == 0, c.brought(entry):
		case c.undelivered(entry):
			undelivered++
		default:
			dying++
		}
	}
	return undelivered, dying
}

// unexplained is P6 for replies: the program gives none up by itself. What did
// not arrive, and was not used all the same, has an injected fault for a reason.
// An injected error of which the status came is read no further: the kernel does not
// tell of the rest that it arrived.
func (c *trial) unexplained() {
	if c.Reasons == nil {
		return
	}
	for _, e := range c.Ledger {
		if _, known := c.Reasons.Known[e.Seq]; known || e.Delivered || e.Fault == string(practice.KindStatus) {
			continue
		}
		f := c.families[e.Grant]
		if e.NewGeneration != 0 && (f.used(e.NewGeneration, math.MaxInt64) || c.served(e)) {
			continue
		}
		c.broken("P6", f.name(), "the reply (%d) did not arrive, and no fault had kept it (%s)", e.Seq, c.Reasons.Else[e.Seq])
	}
}

// served reports whether the access token that came with a rotation is served at the
// end: its reply arrived, whatever the taps have seen of it.
func (c *trial) served(e practice.Entry) bool {
	return c.Holds != nil && slices.ContainsFunc(c.Final, func(f Final) bool {
		if f.Grant != e.Grant || f.AccessToken == "" {
			return false
		}
		grant, generation := c.Holds(f.AccessToken)
		return grant == e.Grant && generation == e.NewGeneration
	})
}

// family is what the ledger holds about one grant, in order.
type family struct {
	credential string
	state      practice.GrantState
	entries    []practice.Entry
	storedAt   time.Time   // the login
	storedTill time.Time   // expiry of the access token that it brought
	told       []time.Time // ends of the credential's access tokens, as its events tell them
}

// trial is the evidence, sorted.
type trial struct {
	Evidence

	found    []Violation
	repeated int // last resorts
	families map[string]*family
}

func newTrial(e Evidence) *trial {
	if e.Send == 0 {
		e.Send = defaultSend
	}
	c := &trial{Evidence: e, families: map[string]*family{}}
	for _, g := range e.Grants {
		f := c.family(g.Grant)
		f.state = g
	}
	for _, a := range e.Acked {
		if a.Grant != "" {
			f := c.family(a.Grant)
			f.credential, f.storedAt, f.storedTill = a.Credential, a.At, a.ExpiresAt
		}
	}
	for _, one := range e.Final {
		if one.Grant != "" {
			c.family(one.Grant).credential = one.ID
		}
	}
	for _, entry := range e.Ledger {
		if entry.Grant != "" {
			c.enter(c.family(entry.Grant), entry)
		}
	}
	told := map[string][]time.Time{}
	for _, one := range e.Log {
		if !one.ExpiresAt.IsZero() {
			told[one.Credential] = append(told[one.Credential], one.ExpiresAt)
		}
	}
	for _, f := range c.families {
		f.told = told[f.credential]
	}
	return c
}

func (c *trial) family(grant string) *family {
	f, ok := c.families[grant]
	if !ok {
		f = &family{credential: "grant " + grant}
		c.families[grant] = f
	}
	return f
}

func (c *trial) broken(promise, credential, format string, args ...any) {
	c.found = append(c.found, Violation{Promise: promise, Credential: credential, What: fmt.Sprintf(format, args...)})
}

// judged reports whether the provider looked at the token.
func judged(e practice.Entry) bool {
	switch e.Verdict {
	case practice.OutcomeRotated, practice.OutcomeRefreshed, practice.OutcomeGrace, practice.OutcomeReuse,
		practice.OutcomeUnknown, practice.OutcomeRevoked, practice.OutcomeExpired:
		return true
	case practice.OutcomeClientError, practice.OutcomeInvalidRequest, practice.OutcomeIssued, practice.OutcomeAbandoned:
		return false
	default:
		return false
	}
}

// arrived reports whether the whole reply is known to have reached a program
// that could keep it.
func (c *trial) arrived(e practice.Entry) bool {
	return e.Delivered && !c.Cut[e.Seq] && !c.killedAround(e)
}

// brought reports whether a reply that arrived had the refresh token in it which
// the provider issued: some that are malformed have not.
func (c *trial) brought(e practice.Entry) bool {
	return c.arrived(e) && whole(e)
}

// undelivered reports whether no process ever had the issued refresh token.
func (c *trial) undelivered(e practice.Entry) bool {
	return !e.Delivered || c.Cut[e.Seq] || !whole(e)
}

// whole reports whether the reply had the issued refresh token in it, if it was
// not cut on its way.
func whole(e practice.Entry) bool { return e.Fault == "" || e.TokenSent }

// killedAround reports whether the process that made the call was killed while
// it was under way, or so soon after that the reply may not have been read.
func (c *trial) killedAround(e practice.Entry) bool {
	credential := c.families[e.Grant].credential
	from, to := e.Received-int64(Dying), max(e.RotatedAt, e.RepliedAt)+int64(Dying)
	return slices.ContainsFunc(c.Kills, func(k Kill) bool {
		at := k.At.UnixNano()
		return !slices.Contains(k.Kept, credential) && at >= from && at < to+int64(k.Slow) && c.maker(e, k)
	})
}

// killedSince reports whether the process that made the call was killed between
// its arrival and a moment (Unix ns).
func (c *trial) killedSince(e practice.Entry, to int64) bool {
	return slices.ContainsFunc(c.Kills, func(k Kill) bool {
		at := k.At.UnixNano()
		return at >= e.Received && at <= to && c.maker(e, k)
	})
}

// maker reports whether the call may have been the killed process's.
func (c *trial) maker(e practice.Entry, k Kill) bool {
	owner, known := c.Made[e.Seq]
	return !known || k.Owner == "" || owner == k.Owner
}
