package practice

import "time"

// verdict is what happened to a refresh token that was judged.
type verdict struct {
	outcome       Outcome
	access        key
	refresh       key   // only where rotatedAt is set
	rotatedAt     int64 // Unix ns; 0: no new refresh token
	newGeneration uint32
	scope         string
	presented     uint32 // how often this generation was judged, with this time
	twice         bool   // presented > 1
}

// granted reports whether the presentation gets tokens.
func (v verdict) granted() bool {
	switch v.outcome {
	case OutcomeRotated, OutcomeRefreshed, OutcomeGrace, OutcomeIssued:
		return true
	case OutcomeReuse, OutcomeUnknown, OutcomeRevoked, OutcomeExpired, OutcomeClientError,
		OutcomeInvalidRequest, OutcomeAbandoned, outcomeFault:
		return false
	default:
		return false
	}
}

// judge decides on one presentation of the refresh token of generation number,
// and rotates it. The caller has checked that the token belongs to the client.
func (s *Server) judge(g *grant, number uint32, scope string, st *Settings, rotate bool) verdict {
	access, refresh := newKeys() // outside of the lock
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	v := verdict{access: access, refresh: refresh, scope: scope}
	gen := &g.generations[number-1]
	v.outcome = decide(*gen, g.diedAt != 0, now.UnixNano(), st, rotate)
	if v.outcome != OutcomeRefreshed {
		gen.presented++
		v.presented, v.twice = gen.presented, gen.presented > 1
	}
	current := number
	switch v.outcome {
	case OutcomeRotated, OutcomeGrace:
		if gen.spent == 0 {
			gen.spent = now.UnixNano()
		}
		g.generations = append(g.generations, newGeneration(now, st.RefreshTTL))
		current = count32(len(g.generations))
		v.newGeneration, v.rotatedAt = current, now.UnixNano()
		s.refresh.put(refresh, refreshRef{grant: g.index, generation: current}, nil)
	case OutcomeReuse:
		if st.Reuse != ReuseOff && g.killLocked(now.UnixNano(), deathReuse) {
			s.grants.dead.Add(1)
		}
	case OutcomeRefreshed, OutcomeUnknown, OutcomeRevoked, OutcomeExpired, OutcomeIssued,
		OutcomeClientError, OutcomeInvalidRequest, OutcomeAbandoned, outcomeFault:
	}
	if v.granted() {
		s.putAccess(access, accessRef{
			expires:    now.Add(st.AccessTTL).UnixNano(),
			grant:      g.index,
			generation: current,
			client:     g.client,
			scope:      s.labels.of(scope),
		}, now)
	}
	return v
}

// decide is the outcome of presenting a refresh token now (Unix ns).
func decide(gen generation, dead bool, now int64, st *Settings, rotate bool) Outcome {
	switch {
	case dead:
		return OutcomeRevoked
	case gen.spent != 0 && st.Reuse == ReuseGrace && now-gen.spent <= int64(st.Grace) && !gen.expired(now):
		return OutcomeGrace
	case gen.spent != 0:
		return OutcomeReuse
	case gen.expired(now):
		return OutcomeExpired
	case st.Rotate && rotate:
		return OutcomeRotated
	default:
		return OutcomeRefreshed
	}
}

// issue is a client_credentials call (RFC 6749, 4.4).
func (s *Server) issue(c client, scope string, st *Settings) verdict {
	access, _ := newKeys()
	now := time.Now()
	s.putAccess(access, accessRef{
		expires: now.Add(st.AccessTTL).UnixNano(),
		client:  c.label,
		scope:   s.labels.of(scope),
	}, now)
	return verdict{outcome: OutcomeIssued, access: access, scope: scope}
}
