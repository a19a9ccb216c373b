package oracle

import (
	"math"
	"slices"

	"github.com/refreshd/refreshd/internal/practice"
)

// reauthRequired is P6: a person is only called where the provider has ended
// the grant for a reason that is not ours, or a reply was lost and the
// provider grants no grace.
func (c *trial) reauthRequired() {
	type call struct{ credential, grant string }
	called, said := map[call]bool{}, map[string]bool{}
	for _, e := range c.Log {
		if e.Type == "credential.reauth_required" {
			called[call{e.Credential, c.GrantAt(e)}] = true
			said[e.Credential] = true
		}
	}
	for _, f := range c.Final {
		if f.State == stateReauthRequired && !said[f.ID] {
			called[call{f.ID, f.Grant}] = true
		}
	}
	for one := range called {
		if !c.endedByOthers(one.grant) && !c.lostWithoutGrace(one.grant) {
			c.broken("P6", one.credential, "reauth_required, although nobody had ended grant %s and none of its replies was lost without grace (%s)", one.grant, c.deathOf(one.grant))
		}
	}
}

// GrantAt is the grant that a credential had before an event of its own. A login
// whose version nobody was told, for its answer was lost, counts from its moment.
func (e *Evidence) GrantAt(event Event) string {
	grant := ""
	for _, a := range e.Acked {
		if a.Credential != event.Credential || a.Kind != KindLogin {
			continue
		}
		before := a.Version < event.Version
		if a.Version == 0 {
			before = a.At.Before(event.At)
		}
		if before || grant == "" {
			grant = a.Grant
		}
	}
	return grant
}

func (c *trial) deathOf(grant string) string {
	f := c.families[grant]
	switch {
	case f == nil || f.state.Grant == "":
		return "unknown to the provider"
	case f.state.Alive:
		return "alive"
	default:
		return f.state.Death
	}
}

// endedByOthers reports whether the grant's end has a cause other than a
// second presentation.
func (c *trial) endedByOthers(grant string) bool {
	f := c.families[grant]
	if f == nil {
		return false
	}
	if f.state.Grant != "" && !f.state.Alive && f.state.Death != "reuse" {
		return true
	}
	for _, e := range f.entries {
		if e.Verdict == practice.OutcomeExpired {
			return true
		}
	}
	return false
}

// lostWithoutGrace reports whether a rotation's reply did not arrive, nor did
// anybody ever use what it brought, and asking again could not mend it; or
// asking again was overtaken by the call whose reply did not arrive.
func (c *trial) lostWithoutGrace(grant string) bool {
	f := c.families[grant]
	if f == nil || c.Provider.Grace > 0 {
		return false
	}
	return len(c.gone(f)) > 0 || c.overtaken(f)
}

// gone are a grant's rotations whose reply did not arrive, and what it brought was
// never used by anybody.
func (c *trial) gone(f *family) (list []practice.Entry) {
	for _, e := range f.entries {
		if e.RotatedAt != 0 && !c.brought(e) && !f.used(e.NewGeneration, math.MaxInt64) {
			list = append(list, e)
		}
	}
	return list
}

// Unread are the grants of which each reply that is gone had come whole, right
// before the process was killed which had asked for it: the provider's ledger
// does not count them as lost.
func Unread(e Evidence) map[string]bool {
	c, unread := newTrial(e), map[string]bool{}
	for grant, f := range c.families {
		gone := c.gone(f)
		if len(gone) > 0 && !slices.ContainsFunc(gone, c.undelivered) {
			unread[grant] = true
		}
	}
	return unread
}
