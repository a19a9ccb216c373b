package model

import (
	"github.com/refreshd/refreshd/internal/credential"
)

// refresh is what a process does for a credential that is due, from begin to
// commit. Nothing is begun and nothing written by a process that has not put
// back what it knows into the present run of the store.
func (m *machine) refresh(s state, i uint8) {
	w := &s.workers[i]
	ready := m.writes(&s) || m.without(WithoutDurableBegin)
	switch w.phase {
	case idle:
		if ready {
			m.begin(s, i)
			m.installAlternate(s, i)
			m.advance(s, i)
		}
	case begun:
		s.workers[i].phase = intended
		t := m.turns.get(w.turn)
		e := entryOf(entryIntent, t)
		e.sentAt = t.began
		s.workers[i].journal = m.append(w.journal, e)
		m.emit(step{kind: stepIntend, who: i}, s)
	case intended:
		m.present(s, i, ready)
	case sent:
		m.travel(s, i)
	case answered:
		m.receive(s, i)
	case denied, ambiguous:
		if ready {
			m.conclude(s, i)
		}
	case kept:
		if ready {
			m.commit(s, i)
		}
	}
	if ready {
		m.orphan(s, i)
		m.takeOver(s, i)
	}
}

func entryOf(kind entryKind, t turn) entry {
	a := t.held.attempt()
	return entry{kind: kind, nonce: a.Nonce, generation: a.Generation, grant: a.Grant, sentAt: t.sentAt}
}

// begin asks the store for an attempt. A refresh that is not in doubt is only
// begun while the provider has rotations left to give.
func (m *machine) begin(s state, i uint8) {
	h := m.held(s.store)
	if h.Attempt == nil && s.left.rotations == 0 || !m.without(WithoutDurableBegin) && m.awaited(&s, i) {
		return
	}
	if m.without(WithoutStickyAttempt) && h.Attempt != nil && !h.Attempt.Doubt && h.Attempt.Deadline <= moment(s.now) {
		h.Attempt = nil
	}
	number := s.attempts
	if m.without(WithoutNonce) {
		number = s.counter
		s.counter++
	}
	s.attempts++
	refusal, attempt := credential.Grant(h, credential.Begin{
		ID: h.Record.ID, Nonce: attemptNonce(number), Owner: ownerName(s.workers[i].owner),
		Lasts: m.policy().Times.Attempt(), Force: true,
	}, moment(s.now))
	if refusal != credential.RefusedNot {
		return
	}
	h.Attempt = attempt
	s.store = m.helds.put(h)
	if lost := s; lost.left.fault() {
		m.emit(step{kind: stepBeginLost, who: i}, lost)
	}
	s.workers[i].phase = begun
	s.workers[i].turn = m.turns.put(turn{held: heldOpen{h}, began: s.now})
	m.emit(step{kind: stepBegin, who: i}, s)
}

// present sends the request, unless it is too late for that.
func (m *machine) present(s state, i uint8, ready bool) {
	w := &s.workers[i]
	t := m.turns.get(w.turn)
	a, now := t.held.attempt(), moment(s.now)
	late := now > a.BegunAt.Add(m.policy().Times.Send)
	early := a.Recovery && credential.RecoverAt(t.held.Record, a, m.policy(), now) > now
	switch {
	case late || early:
		if !ready {
			return
		}
		kind := stepGiveUp
		if !late {
			kind = stepPostpone
		}
		m.settle(&s, i, func(h credential.Held) credential.Write {
			if late {
				return credential.Abandon(h, a, credential.BySchedule, now)
			}
			return credential.Postpone(h, a, m.policy(), now)
		})
		m.emit(step{kind: kind, who: i}, s)
	default:
		t.sent, t.sentAt = rtOf(t.held.Token.Refresh), s.now
		if s.now < last {
			t.sentAt = due // what comes of it lives as long
		}
		m.send(&s, t.sent, a, t.held.Record)
		w.phase, w.turn = sent, m.turns.put(t)
		m.emit(step{kind: stepSend, who: i}, s)
	}
}

// travel is the way of a request to the provider.
func (m *machine) travel(s state, i uint8) {
	w := &s.workers[i]
	t := m.turns.get(w.turn)
	if lost := s; lost.left.fault() {
		lost.workers[i].phase = ambiguous
		m.emit(step{kind: stepRequestLost, who: i}, lost)
	}
	reply, ok := m.judge(&s, t.sent)
	w.phase = denied
	if ok {
		t.reply = reply
		w.phase, w.turn = answered, m.turns.put(t)
	}
	m.emit(step{kind: stepArrives, who: i}, s)
}

// receive is the way of a reply back, up to the journal.
func (m *machine) receive(s state, i uint8) {
	w := &s.workers[i]
	if lost := s; lost.left.fault() {
		lost.workers[i].phase = ambiguous
		m.emit(step{kind: stepReplyLost, who: i}, lost)
	}
	t := m.turns.get(w.turn)
	e := entryOf(entryKept, t)
	e.token = t.reply
	w.phase = kept
	w.journal = m.append(m.drop(w.journal, func(other entry) bool { return other.kind == entryIntent && other.nonce == e.nonce }), e)
	if !t.reply.none() {
		s.ledger.keep(t.reply)
	}
	m.emit(step{kind: stepKeep, who: i}, s)
}

// commit stores a received token.
func (m *machine) commit(s state, i uint8) {
	w := &s.workers[i]
	t := m.turns.get(w.turn)
	e := entryOf(entryKept, t)
	e.token = t.reply
	if m.takeLate(&s, i, e) {
		w.phase, w.turn = idle, 0
		m.emit(step{kind: stepCommit, who: i}, s)
	}
}

// takeLate stores a token that was received, wherever it waits, and reports
// whether its journal's record has served.
func (m *machine) takeLate(s *state, i uint8, e entry) bool {
	h := m.held(s.store)
	write, verdict := credential.TakeLate(h, credential.Late{
		Nonce: e.nonce, Generation: e.generation, Grant: e.grant,
		Received: credential.Received{Token: e.token.pair(), SentAt: moment(e.sentAt), ExpiresAt: expiryOf(e.sentAt)},
	}, known(h, e.token), m.policy(), writeNonce(nonceAlternate, s.workers[i].owner, s.run, h.Record.Revision), credential.BySchedule, moment(s.now))
	switch verdict {
	case credential.LateInstalled, credential.LateKept:
		m.must(s, i, write)
	case credential.LateRevoke:
		if !e.token.none() {
			s.ledger.of(e.token).dead = true
		}
	case credential.LateAwaits:
		return false
	case credential.LateKnown:
	}
	return true
}

// conclude stores how an attempt ended that brought no token. Before a
// credential is given up, every journal is read and the alternates are tried.
func (m *machine) conclude(s state, i uint8) {
	w := &s.workers[i]
	t := m.turns.get(w.turn)
	a, now := t.held.attempt(), moment(s.now)
	if w.phase == denied && m.unread(&s) {
		return
	}
	outcome := credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonNetwork}
	if w.phase == denied {
		outcome = credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonInvalidGrant}
	}
	m.settle(&s, i, func(h credential.Held) credential.Write {
		if alt, _, ok := credential.NextAlternate(h); ok && outcome.Class == credential.ClassPermanent {
			return credential.InstallAlternate(h, alt, m.policy(), a.Nonce, credential.BySchedule, now)
		}
		return credential.Fail(h, a, outcome, m.policy(), credential.BySchedule, now)
	})
	m.emit(step{kind: stepConclude, who: i}, s)
}

// unread reports whether a dead process's journal waits to be adopted.
func (m *machine) unread(s *state) bool {
	for _, d := range s.dead {
		if d.left && d.adopter == nobody {
			return true
		}
	}
	return false
}

// settle stores what decide makes of an attempt, if it is still the open one,
// and ends the turn.
func (m *machine) settle(s *state, i uint8, decide func(credential.Held) credential.Write) {
	w := &s.workers[i]
	h := m.held(s.store)
	a := m.turns.get(w.turn).held.attempt()
	if h.Attempt != nil && h.Attempt.Nonce == a.Nonce {
		m.must(s, i, decide(h))
	}
	w.phase, w.turn = idle, 0
}

// installAlternate installs a token that was got with the current generation.
func (m *machine) installAlternate(s state, i uint8) {
	h := m.held(s.store)
	alt, spent, ok := credential.NextAlternate(h)
	if !ok || !spent || h.Attempt != nil && !h.Attempt.Doubt || h.Record.State.Terminal() {
		return
	}
	nonce := writeNonce(nonceAlternate, s.workers[i].owner, s.run, h.Record.Revision)
	m.must(&s, i, credential.InstallAlternate(h, alt, m.policy(), nonce, credential.BySchedule, moment(s.now)))
	m.emit(step{kind: stepInstallAlternate, who: i}, s)
}

// advance stores that the access token has expired. It matters who does only
// where the store may lose it.
func (m *machine) advance(s state, i uint8) {
	if i > 0 && s.synced == 0 {
		return
	}
	h := m.held(s.store)
	write, ok := credential.Advance(h, m.policy(), writeNonce(nonceAdvance, s.workers[i].owner, s.run, h.Record.Revision), moment(s.now))
	if !ok {
		return
	}
	m.must(&s, i, write)
	m.emit(step{kind: stepAdvance, who: i}, s)
}
