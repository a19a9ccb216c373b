package model

import (
	"strconv"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// adopt takes up the journals of dead processes: first what was received and
// what owners changed is put back, then what was left open is settled.
func (m *machine) adopt(s state, i uint8) {
	// It matters who does it only where the store may lose what comes of it.
	first := i == 0 || s.synced != 0 || s.workers[0].ready != s.run
	for n, d := range s.dead {
		switch {
		case !d.left || d.adopter != nobody && d.adopter != i || d.adopter == nobody && !first:
		case d.step == 0:
			m.putBack(s, i, uint8(n))
		case d.step == 1:
			m.inheritOpen(s, i, uint8(n))
		}
	}
}

func (m *machine) putBack(s state, i, n uint8) {
	d := &s.dead[n]
	for _, e := range m.journals.get(d.journal) {
		if e.kind == entryLogin || e.kind == entryLogout {
			m.replay(&s, i, e)
		}
	}
	for _, e := range m.journals.get(d.journal) {
		if e.kind == entryKept && !m.takeLate(&s, i, e) {
			return // the login that it belongs to is still to be put back
		}
	}
	d.adopter, d.step = i, 1
	if s.left.crashes == 0 && !m.waits(&s, *d) {
		m.inheritOpen(s, i, n) // nothing can come in between that matters
		return
	}
	m.emit(step{kind: stepAdopt, who: i, arg: n}, s)
}

func (m *machine) inheritOpen(s state, i, n uint8) {
	d := &s.dead[n]
	if m.waits(&s, *d) {
		return
	}
	intended := false
	for _, e := range m.journals.get(d.journal) {
		if e.kind != entryIntent {
			continue
		}
		a := attemptOf(e, d.owner, m.policy())
		later, waits := m.beganLater(&s, i, *d, a)
		if waits {
			return
		}
		if write, ok := credential.Recall(m.held(s.store), a, later, m.policy(), moment(s.now)); ok {
			m.must(&s, i, write)
		}
		if a := m.held(s.store).Attempt; a != nil && a.Nonce == e.nonce {
			intended = true
		}
	}
	if m.without(WithoutJournal) {
		intended = true // nothing tells that nothing was sent
	}
	h := m.held(s.store)
	if a := h.Attempt; a != nil && a.Owner == ownerName(d.owner) {
		m.inherit(&s, i, *a, credential.EvidenceOfDead(intended, false))
	}
	d.step = 2
	m.emit(step{kind: stepInherit, who: i, arg: n}, s)
}

// beganLater reports whether the attempt that is open was begun after a, which
// the journal of a dead owner tells of, or that this cannot be told yet.
func (m *machine) beganLater(s *state, i uint8, d remains, a credential.Attempt) (later, waits bool) {
	h := m.held(s.store)
	if !credential.Unordered(h, a) {
		return false, false
	}
	owner := h.Attempt.Owner
	for n, w := range s.workers {
		switch {
		case ownerName(w.owner) != owner:
		case uint8(n) == i:
			later = w.phase != idle && m.turns.get(w.turn).held.attempt().Nonce == h.Attempt.Nonce
			return later, !later
		default:
			return w.ready == s.run, w.ready != s.run
		}
	}
	for _, other := range s.dead {
		if other.left && ownerName(other.owner) == owner {
			ready := other.ready == s.run
			return ready, !ready && other.step < 2 && other.owner != d.owner
		}
	}
	return false, false
}

// attemptOf rebuilds an attempt from its owner's intent.
func attemptOf(e entry, owner uint8, p credential.Policy) credential.Attempt {
	at := moment(e.sentAt)
	return credential.Attempt{
		Nonce: e.nonce, Owner: ownerName(owner), Generation: e.generation, Grant: e.grant,
		BegunAt: at, Deadline: at.Add(p.Times.Attempt()), FirstSent: at,
	}
}

// inherit settles an attempt on the evidence there is, and reports whether
// there was anything to settle.
func (m *machine) inherit(s *state, i uint8, a credential.Attempt, e credential.Evidence) bool {
	write, ok := credential.Inherit(m.held(s.store), a, e, m.policy(), moment(s.now))
	if ok {
		m.must(s, i, write)
	}
	return ok
}

// orphan settles an attempt that is open in a process's own name and that it
// does not hold: the answer to its begin was lost.
func (m *machine) orphan(s state, i uint8) {
	w := s.workers[i]
	a := m.held(s.store).Attempt
	if a == nil || a.Owner != ownerName(w.owner) {
		return
	}
	holds := w.phase != idle && m.turns.get(w.turn).held.attempt().Nonce == a.Nonce
	journaled := false
	for _, e := range m.journals.get(w.journal) {
		journaled = journaled || e.nonce == a.Nonce
	}
	if m.inherit(&s, i, *a, credential.EvidenceOfOwn(holds, journaled)) {
		m.emit(step{kind: stepOrphan, who: i}, s)
	}
}

// takeOver is what others do about an attempt because nothing is heard of its
// owner. What presents a refresh token must not be taken over: that is to take
// him for dead.
func (m *machine) takeOver(s state, i uint8) {
	a := m.held(s.store).Attempt
	if a == nil || a.Owner == ownerName(s.workers[i].owner) {
		return
	}
	evidence := credential.EvidenceSilent
	if m.without(WithoutProofOfDeath) {
		evidence = credential.EvidenceSent
	}
	if m.inherit(&s, i, *a, evidence) {
		m.emit(step{kind: stepTakeOver, who: i}, s)
	}
}

// restore puts back into the store's new run what a process wrote in the old
// one and the store has lost, then the attempt that it holds. A write waits for
// those that came before it, unless nobody is left who could bring them.
func (m *machine) restore(s state, i uint8) {
	before := s
	m.restoreWrites(&s, i, false)
	if s == before && m.alone(&s, i) {
		m.restoreWrites(&s, i, true)
	}
	if s != before {
		m.emit(step{kind: stepRestore, who: i}, s)
	}
}

func (m *machine) restoreWrites(s *state, i uint8, force bool) {
	w := &s.workers[i]
	memory := m.memories.get(w.memory)
	told := uint64(0)
	for n, one := range memory {
		told = max(told, one.write.Record.Version)
		h := m.held(s.store)
		write, what := credential.Restore(&h, one.write, one.after, force)
		switch what {
		case credential.RestoreLater:
			w.memory = m.memories.put(memory[n:])
			return
		case credential.RestoreAgain:
			m.must(s, i, write)
		case credential.RestoreNone:
		}
	}
	w.memory = 0
	if w.phase != idle {
		h, a := m.held(s.store), m.turns.get(w.turn).held.attempt()
		if (credential.Missing(h, a) || credential.Contested(h, a)) && !m.others(s, i) {
			return // whoever installed that generation, or ended that attempt, has not put it back yet
		}
		if write, ok := credential.Reopen(h, a); ok {
			m.must(s, i, write)
		}
	}
	for _, d := range s.dead {
		if d.left && (d.adopter == nobody || d.adopter == i && d.step < 2) {
			return // the journals of the dead come before it is ready
		}
	}
	w.ready = s.run
	if m.held(s.store).Record.Version < told {
		m.fault(VersionFell)
	}
}

// others reports whether everyone else has put back what they know.
func (m *machine) others(s *state, i uint8) bool {
	for _, d := range s.dead {
		if d.left && d.step < 2 {
			return false
		}
	}
	other := s.workers[1-i]
	return other.ready == s.run
}

// alone reports whether nobody is left who could bring what is missing before
// one of process i's writes: who lives has put back everything, or waits as
// well, and what the dead left was adopted.
func (m *machine) alone(s *state, i uint8) bool {
	for _, d := range s.dead {
		if d.left && (d.step == 0 || d.step == 1 && !m.waits(s, d)) {
			return false
		}
	}
	for n, w := range s.workers {
		if uint8(n) != i && w.ready != s.run && w.memory != 0 && !m.blocked(s, w) {
			return false
		}
	}
	return true
}

// blocked reports whether the next thing that a process has to put back waits
// for something earlier.
func (m *machine) blocked(s *state, w worker) bool {
	h := m.held(s.store)
	for _, one := range m.memories.get(w.memory) {
		switch _, what := credential.Restore(&h, one.write, one.after, false); what {
		case credential.RestoreAgain:
			return false
		case credential.RestoreLater:
			return true
		case credential.RestoreNone:
		}
	}
	a := m.turns.get(w.turn).held.attempt()
	return w.phase != idle && credential.Missing(h, a)
}

// waits reports whether a journal tells of a presentation about which nothing
// can be said yet: somebody who lives may still put back the generation.
func (m *machine) waits(s *state, d remains) bool {
	coming := false
	for _, w := range s.workers {
		coming = coming || w.ready != s.run && w.memory != 0
	}
	if !coming {
		return false
	}
	h := m.held(s.store)
	for _, e := range m.journals.get(d.journal) {
		if e.kind == entryIntent && credential.Missing(h, attemptOf(e, d.owner, m.policy())) {
			return true
		}
	}
	return false
}

// writes reports whether anything may be written: everyone who lives has put back
// what they know into the present run of the store.
func (m *machine) writes(s *state) bool {
	for _, w := range s.workers {
		if w.ready != s.run {
			return false
		}
	}
	return true
}

// awaited reports whether somebody keeps process i from beginning: a member
// who has not put back what he knows into the present run of the store.
func (m *machine) awaited(s *state, i uint8) bool {
	if s.run == 0 {
		return false
	}
	run := func(n uint8) string { return strconv.Itoa(int(n)) }
	roster := credential.Roster{Members: map[string]credential.Member{}}
	standing := map[string]credential.Standing{}
	const silence = time.Second
	for n, w := range s.workers {
		if uint8(n) != i {
			// The least that may tell of a living one: somebody has removed its
			// journal, and its heartbeat moves.
			name := ownerName(w.owner)
			roster.Members[name] = credential.Member{Place: "here", Ready: run(w.ready)}
			standing[name] = credential.Standing{Here: true, Silent: silence - 1}
		}
	}
	for _, d := range s.dead {
		if d.left && d.step < 2 {
			name := ownerName(d.owner)
			roster.Members[name] = credential.Member{Place: "here", Ready: run(never)}
			standing[name] = credential.Standing{Here: true, Locked: d.adopter != nobody, Left: true}
		}
	}
	own := ownerName(s.workers[i].owner)
	return len(credential.Awaited(roster, own, run(s.run), silence, 0, func(owner string) credential.Standing { return standing[owner] })) > 0
}
