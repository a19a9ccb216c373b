package model

import (
	"github.com/refreshd/refreshd/internal/credential"
)

// change is what a credential's owner does in mid-flight: a login or a logout.
// It is journaled before it is stored, and the owner is told afterwards.
func (m *machine) change(s state, i uint8) {
	w := &s.workers[i]
	if !m.writes(&s) {
		return
	}
	if w.change != 0 {
		m.storeChange(s, i)
		return
	}
	h := m.held(s.store)
	e := entry{
		nonce: writeNonce(nonceChange, w.owner, s.run, h.Record.Revision),
		grant: h.Record.Grant + 1, sentAt: s.now,
	}
	if s.left.logins > 0 {
		in := s
		in.left.logins--
		e := e
		e.kind, e.token = entryLogin, rt{login: s.ledger.issued + 1}
		in.ledger.issued++
		in.workers[i].journal, in.workers[i].change = m.append(w.journal, e), uint8(e.kind)
		m.emit(step{kind: stepNoteLogin, who: i}, in)
	}
	if s.left.logouts > 0 && h.Record.State != credential.StateLoggedOut {
		out := s
		out.left.logouts--
		e.kind = entryLogout
		out.workers[i].journal, out.workers[i].change = m.append(w.journal, e), uint8(e.kind)
		m.emit(step{kind: stepNoteLogout, who: i}, out)
	}
}

// storeChange stores what was journaled. Where another change came in between
// it is decided and journaled again.
func (m *machine) storeChange(s state, i uint8) {
	w := &s.workers[i]
	h := m.held(s.store)
	var e entry
	for _, other := range m.journals.get(w.journal) {
		if uint8(other.kind) == w.change {
			e = other
		}
	}
	w.journal = m.drop(w.journal, func(other entry) bool { return other == e })
	e.grant = h.Record.Grant + 1
	w.journal, w.change = m.append(w.journal, e), 0
	m.must(&s, i, m.changed(&s, e))
	s.ledger.told(e)
	m.emit(step{kind: stepChange, who: i}, s)
}

// changed decides what an owner's change makes of the record.
func (m *machine) changed(s *state, e entry) credential.Write {
	h := m.held(s.store)
	now := moment(s.now)
	if e.kind == entryLogout {
		return credential.Logout(h, e.nonce, now)
	}
	return credential.Connect(&h, loginOf(e.token, e.sentAt), m.policy(), e.nonce, now)
}

// replay puts back what a dead process's owner was told had been done.
func (m *machine) replay(s *state, i uint8, e entry) {
	if m.held(s.store).Record.Grant >= e.grant {
		return
	}
	write := m.changed(s, e)
	write.Record.Grant = max(write.Record.Grant, e.grant)
	m.must(s, i, write)
	s.ledger.told(e)
}

// told notes a change that is in force. One that another has overtaken is not.
func (l *ledger) told(e entry) {
	if e.grant <= l.grant {
		return
	}
	l.grant = e.grant
	l.acked = e.token.login
	if !e.token.none() {
		l.keep(e.token)
	}
}
