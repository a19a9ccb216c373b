package oracle

import (
	"slices"
	"time"
)

// The states that the rules name.
const (
	stateActive         = "active"
	stateReauthRequired = "reauth_required"
	stateLoggedOut      = "logged_out"

	typeStreamReset = "stream.reset"
)

// history follows the events of one log or subscriber.
type history struct {
	last map[string]uint64            // by credential: the newest version
	ids  map[string]map[uint64]string // by credential and version: the event's ID
	jump map[string]bool              // credentials that may go on anywhere, after a reset
}

func newHistory() *history {
	return &history{last: map[string]uint64{}, ids: map[string]map[uint64]string{}, jump: map[string]bool{}}
}

// follow checks that an event is the next one of its credential, or one that
// was there already.
func (c *trial) follow(h *history, where string, e Event) {
	if e.Type == typeStreamReset {
		for id := range h.last {
			h.jump[id] = true
		}
		return
	}
	if e.Credential == "" || e.Version == 0 {
		return // belongs to no version
	}
	ids := h.ids[e.Credential]
	if ids == nil {
		ids = map[uint64]string{}
		h.ids[e.Credential] = ids
	}
	last := h.last[e.Credential]
	switch was, there := ids[e.Version]; {
	case there && was == e.ID:
		return // at least once
	case there:
		c.broken("P4", e.Credential, "%s has two events for version %d: %s and %s", where, e.Version, was, e.ID)
		return
	case e.Version < last:
		c.broken("P3", e.Credential, "%s has version %d (%s) after %d", where, e.Version, e.Type, last)
		return
	case e.Version != last+1 && !h.jump[e.Credential]:
		c.broken("P4", e.Credential, "%s has version %d (%s) right after %d", where, e.Version, e.Type, last)
	case e.Previous != last && !h.jump[e.Credential]:
		c.broken("P4", e.Credential, "%s: version %d says that it follows %d, not %d", where, e.Version, e.Previous, last)
	}
	delete(h.jump, e.Credential)
	ids[e.Version] = e.ID
	h.last[e.Credential] = e.Version
}

// log is P4 for the log itself: one event for each version, from the first to
// the one that the record has.
func (c *trial) log() {
	h := newHistory()
	for _, e := range c.Log {
		c.follow(h, "the log", e)
	}
	for _, f := range c.Final {
		if last := h.last[f.ID]; last != f.Version {
			c.broken("P4", f.ID, "the log ends at version %d, the record has %d", last, f.Version)
		}
	}
}

// subscriber is P4 for one who asked for all types: repetitions, but no gap,
// nothing out of order, nothing that never came, and the same events as in the
// log.
func (c *trial) subscriber(name string, seen []Event) {
	h, log := newHistory(), newHistory()
	for _, e := range seen {
		c.follow(h, name, e)
	}
	for _, e := range c.Log {
		if e.Credential == "" {
			continue
		}
		if log.ids[e.Credential] == nil {
			log.ids[e.Credential] = map[uint64]string{}
		}
		log.ids[e.Credential][e.Version] = e.ID
		log.last[e.Credential] = max(log.last[e.Credential], e.Version)
	}
	for id, last := range log.last {
		if h.last[id] < last {
			c.broken("P4", id, "%s got version %d, the log has %d", name, h.last[id], last)
		}
		for version, event := range h.ids[id] {
			if in, there := log.ids[id][version]; there && in != event {
				c.broken("P4", id, "%s got %s for version %d, the log has %s", name, event, version, in)
			}
		}
	}
}

// versions is P3: nobody ever saw a version that the record does not have at
// the end.
func (c *trial) versions() {
	final := map[string]Final{}
	for _, f := range c.Final {
		final[f.ID] = f
	}
	told := map[string]bool{}
	check := func(id, where string, version uint64) {
		if f, there := final[id]; there && version > f.Version && !told[id+where] {
			told[id+where] = true
			c.broken("P3", id, "%s had version %d, the record has %d at the end", where, version, f.Version)
		}
	}
	for _, a := range c.Acked {
		check(a.Credential, "the answer to a "+a.Kind, a.Version)
	}
	for _, r := range c.Reads {
		check(r.ID, "a reader of "+r.Process, r.Version)
	}
	for _, e := range c.Log {
		check(e.Credential, "the log", e.Version)
	}
	for name, seen := range c.Seen {
		for _, e := range seen {
			check(e.Credential, name, e.Version)
		}
	}
}

// ended is P3 after the owner's last word: a logout or a deletion stays.
func (c *trial) ended() {
	last := map[string]Change{}
	for _, a := range c.Acked {
		if a.Kind != KindPause && a.Kind != KindResume {
			last[a.Credential] = a
		}
	}
	for _, e := range c.Ledger {
		a := last[c.families[e.Grant].name()]
		if a.Kind != "" && a.Kind != KindLogin && time.Unix(0, e.Received).After(a.At.Add(c.Send+slack)) {
			c.broken("P3", a.Credential, "its token was presented (%d) after the %s", e.Seq, a.Kind)
		}
	}
	for _, r := range c.Reads {
		if a := last[r.ID]; a.Kind != "" && a.Kind != KindLogin && r.Err == "" && r.At.After(a.At.Add(stale+slack)) {
			c.broken("P3", r.ID, "%s served version %d after the %s", r.Process, r.Version, a.Kind)
		}
	}
	for _, e := range c.Log {
		if a := last[e.Credential]; a.Kind == KindLogout && a.Version > 0 && e.Version > a.Version && e.State != stateLoggedOut && e.State != "deleted" {
			c.broken("P3", e.Credential, "version %d is %s after the logout", e.Version, e.State)
		}
	}
	for _, f := range c.Final {
		switch a := last[f.ID]; {
		case a.Kind == KindLogout && f.State != stateLoggedOut:
			c.broken("P3", f.ID, "it is %s after the logout", f.State)
		case a.Kind == KindDelete && f.State != "deleted":
			c.broken("P3", f.ID, "it is %s after the deletion", f.State)
		}
	}
}

// name is the credential of a family; none has none.
func (f *family) name() string {
	if f == nil {
		return ""
	}
	return f.credential
}

// reads is P5, and P3 for readers: no process serves what has expired, or goes
// back behind what it served.
func (c *trial) reads() {
	type served struct{ process, id string }
	last := map[served]Read{}
	for _, r := range c.Reads {
		if r.Err != "" {
			continue
		}
		if !r.At.Before(r.ExpiresAt) {
			c.broken("P5", r.ID, "%s was asked at %s and served a token that had expired %s before", r.Process, r.At.Format(time.TimeOnly), r.At.Sub(r.ExpiresAt))
		}
		c.end(r)
		before := last[served{r.Process, r.ID}]
		if r.Version < before.Version {
			c.broken("P5", r.ID, "%s served version %d after %d", r.Process, r.Version, before.Version)
		}
		if r.Generation < before.Generation {
			c.broken("P5", r.ID, "%s served generation %d after %d", r.Process, r.Generation, before.Generation)
		}
		last[served{r.Process, r.ID}] = r
	}
}

// end is P5 by the provider's own record: no token is said to live longer than
// it does. A grant that was ended takes its access tokens with it.
func (c *trial) end(r Read) {
	switch {
	case r.Looked.IsZero():
	case !r.Ends.IsZero():
		if r.ExpiresAt.After(r.Ends) {
			c.broken("P5", r.ID, "%s served a token with an end %s after that which the provider knows", r.Process, r.ExpiresAt.Sub(r.Ends))
		}
	case r.ExpiresAt.After(r.Looked) && !c.anyEnded(r.ID):
		c.broken("P5", r.ID, "%s served a token at %s that the provider did not take any more, as good for another %s",
			r.Process, r.At.Format(time.TimeOnly), r.ExpiresAt.Sub(r.Looked))
	}
}

// anyEnded reports whether a grant that a credential ever had was ended.
func (c *trial) anyEnded(credential string) bool {
	return slices.ContainsFunc(c.Acked, func(a Change) bool {
		if a.Credential != credential {
			return false
		}
		f := c.families[a.Grant]
		return f == nil || f.state.Grant == "" || !f.state.Alive
	})
}
