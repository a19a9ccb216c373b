package model

import (
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	logins   = 2 // the first and one more
	depths   = 4
	siblings = 3
)

// ledger is what the authorization server knows, and what is known of the
// truth beside it.
type ledger struct {
	families [logins]family
	issued   uint8  // the newest login
	acked    uint8  // the login in force by the last change that an owner was told of; 0 after a logout
	grant    uint64 // the number that the store gave it
}

// family is one login's tokens.
type family struct {
	depth   uint8 // of the newest refresh token
	sibling uint8 // the newest one's
	dead    bool
	spentAt uint8 // moment at which the one before was first accepted
	kept    uint8 // depth of the newest that was received and kept, + 1
	sends   [depths][siblings]uint8
}

// issue notes a login.
func (l *ledger) issue(t rt) {
	l.issued = t.login
	l.keep(t)
}

// keep notes that a token is in the hands of the service for good.
func (l *ledger) keep(t rt) {
	if f := l.of(t); t.depth+1 > f.kept {
		f.kept = t.depth + 1
	}
}

func (l *ledger) of(t rt) *family { return &l.families[t.login-1] }

// send notes that a refresh token is presented and checks that it may be: it
// was not before, or this is a recovery, inside the provider's grace or as the
// last resort.
func (m *machine) send(s *state, t rt, a credential.Attempt, r credential.Record) {
	f := s.ledger.of(t)
	before := f.sends[t.depth][t.sibling]
	if before == 0 {
		f.sends[t.depth][t.sibling] = 1
		if m.policy().Grace > 0 {
			f.sends[t.depth][t.sibling] += s.now
		}
	}
	if m.policy().Rotates == credential.RotatesNo {
		return
	}
	for _, w := range s.workers {
		if w.phase == sent && m.turns.get(w.turn).sent == t {
			m.fault(TwoInTheAir)
		}
	}
	if before == 0 {
		return
	}
	now := moment(s.now)
	grace := m.policy().Grace > 0 && now <= moment(before-1).Add(m.policy().Grace)
	lastResort := now >= r.ExpiresAt.Add(-time.Minute)
	if !a.Recovery || !grace && !lastResort {
		m.fault(PresentedTwice)
	}
}

// judge is the authorization server's answer to a refresh token: one that was
// spent revokes everything, unless the grace is on.
func (m *machine) judge(s *state, t rt) (reply rt, ok bool) {
	f := s.ledger.of(t)
	p := m.policy()
	switch {
	case f.dead:
		return rt{}, false
	case p.Rotates == credential.RotatesNo:
		s.left.rotations -= min(s.left.rotations, 1)
		return rt{}, true
	case t.depth == f.depth:
		f.depth, f.sibling = f.depth+1, 0
		if p.Grace > 0 {
			f.spentAt = s.now
		}
		s.left.rotations -= min(s.left.rotations, 1)
		return rt{t.login, f.depth, 0}, true
	case t.depth+1 == f.depth && p.Grace > 0 && moment(s.now) <= moment(f.spentAt).Add(p.Grace):
		f.sibling++
		return rt{t.login, f.depth, f.sibling}, true
	}
	f.dead = true
	if t.login == s.ledger.acked && (f.kept > t.depth+1 || s.now < last) {
		m.fault(Revoked)
	}
	return rt{}, false
}

// Kind is a way in which a promise can be broken.
type Kind uint8

// The kinds.
const (
	PresentedTwice Kind = iota + 1 // a generation, by no recovery that is allowed
	TwoInTheAir                    // presentations of one refresh token
	Lost                           // a token that was received and kept is nowhere
	Revoked                        // the grant, by a reuse of our own, although its newest token was received or it was not the last resort
	VersionFell                    // of the stored record, or below what a process has told
	Revived                        // a login that was over, or one was lost that an owner was told of
	Terminal                       // the user is sent to log in although the grant lives
	Stuck                          // nothing can happen, and something is not settled
)

func (k Kind) String() string {
	switch k {
	case PresentedTwice:
		return "a refresh token is presented twice"
	case TwoInTheAir:
		return "a refresh token is presented while it is being presented"
	case Lost:
		return "a token that was received is lost"
	case Revoked:
		return "the grant is revoked by our own reuse"
	case VersionFell:
		return "the version fell"
	case Revived:
		return "an ended login came back"
	case Terminal:
		return "a login is asked for although the grant lives"
	case Stuck:
		return "nothing can happen any more, and something is not settled"
	}
	return "unknown"
}

func (m *machine) fault(k Kind) { m.wrong = append(m.wrong, k) }

// check looks for what must not be in any state.
func (m *machine) check(s *state) {
	h := m.held(s.store)
	l := &s.ledger
	if l.acked != 0 {
		if f := &l.families[l.acked-1]; !f.dead && m.policy().Rotates != credential.RotatesNo && !m.somewhere(s, h, l.acked, f.kept-1) {
			m.fault(Lost)
		}
	}
	stored := rtOf(h.Token.Refresh)
	if h.Record.State == credential.StateReauthRequired && !stored.none() && !l.of(stored).dead {
		m.fault(Terminal)
	}
	if m.settledRun(s) {
		over := l.acked == 0 || stored.login < l.acked
		if over && !h.Record.State.Terminal() || l.acked != 0 && h.Record.State == credential.StateLoggedOut {
			m.fault(Revived)
		}
	}
}

// settledRun reports whether everyone has put back what they know into the
// present run of the store.
func (m *machine) settledRun(s *state) bool {
	for _, w := range s.workers {
		if w.ready != s.run {
			return false
		}
	}
	for _, d := range s.dead {
		if d.left && d.adopter == nobody {
			return false
		}
	}
	return true
}

// somewhere reports whether a token of a login, at least that many rotations
// deep, is in the store, among the alternates or in a journal.
func (m *machine) somewhere(s *state, h credential.Held, login, depth uint8) bool {
	is := func(t rt) bool { return t.login == login && t.depth >= depth }
	if is(rtOf(h.Token.Refresh)) {
		return true
	}
	for _, alt := range h.Alternates {
		if is(rtOf(alt.Token.Refresh)) {
			return true
		}
	}
	in := func(journal uint16) bool {
		for _, e := range m.journals.get(journal) {
			if is(e.token) {
				return true
			}
		}
		return false
	}
	for _, w := range s.workers {
		if in(w.journal) || m.without(WithoutJournal) && w.phase == kept && is(m.turns.get(w.turn).reply) {
			return true
		}
	}
	for _, d := range s.dead {
		if d.left && in(d.journal) {
			return true
		}
	}
	return false
}
