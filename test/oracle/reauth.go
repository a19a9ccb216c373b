package oracle

import "github.com/refreshd/refreshd/internal/practice"

// reauthRequired is P6: a person is only called where the provider has ended
// the grant for a reason that is not ours, or a reply was lost and the
// provider grants no grace.
func (c *trial) reauthRequired() {
	called := map[string]string{} // by credential: the grant that it was about
	for _, f := range c.Final {
		if f.State == stateReauthRequired {
			called[f.ID] = f.Grant
		}
	}
	for _, e := range c.Log {
		if _, known := called[e.Credential]; known || e.Type != "credential.reauth_required" {
			continue
		}
		called[e.Credential] = c.grantAt(e)
	}
	for id, grant := range called {
		if !c.endedByOthers(grant) && !c.lostWithoutGrace(grant) {
			c.broken("P6", id, "reauth_required, although nobody had ended grant %s and none of its replies was lost without grace (%s)", grant, c.deathOf(grant))
		}
	}
}

// grantAt is the grant that a credential had at a version. A login whose version
// nobody was told, for its answer was lost, counts from its moment.
func (c *trial) grantAt(e Event) string {
	grant := ""
	for _, a := range c.Acked {
		if a.Credential != e.Credential || a.Kind != KindLogin {
			continue
		}
		before := a.Version < e.Version
		if a.Version == 0 {
			before = a.At.Before(e.At)
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

// lostWithoutGrace reports whether a rotation's reply did not arrive and
// asking again could not mend it.
func (c *trial) lostWithoutGrace(grant string) bool {
	f := c.families[grant]
	if f == nil || c.Provider.Grace > 0 {
		return false
	}
	for _, e := range f.entries {
		if e.RotatedAt != 0 && !c.arrived(e) {
			return true
		}
	}
	return false
}
