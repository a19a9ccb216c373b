package model

import "slices"

// steps finds everything that can happen in s and hands each outcome to
// m.next.
func (m *machine) steps(s state) {
	m.from = s
	m.passTime(s)
	if s.now == fresh {
		return // nothing is due, and nothing can be forced
	}
	for i := range uint8(processes) {
		if i > 0 && s.twins() {
			return // what the second does the first does as well
		}
		m.crash(s, i)
		m.adopt(s, i)
		if s.workers[i].ready != s.run {
			m.restore(s, i)
		}
		m.refresh(s, i)
		m.change(s, i)
	}
}

// passTime moves the clock. Requests under way have arrived or are lost by
// then: a process gives its provider less time than that. A process that stands
// still with an attempt that it has not sent is slow; that is bounded. Beyond
// the named moments time goes on only while a doubt waits for it.
func (m *machine) passTime(s state) {
	for _, w := range s.workers {
		switch w.phase {
		case sent:
			return
		case begun, intended:
			if s.left.delays == 0 {
				return
			}
			s.left.delays--
		case idle, answered, denied, kept, ambiguous:
		}
	}
	if s.now >= expired {
		h := m.held(s.store)
		if h.Attempt == nil || !h.Attempt.Doubt || h.Attempt.RecoverAt <= moment(s.now) {
			return
		}
	}
	m.release(&s)
	s.now = m.after(s.now)
	m.emit(step{kind: stepTime, arg: s.now}, s)
}

// after returns the next moment. Without a grace nothing happens inside it, nor
// at its end.
func (m *machine) after(now uint8) uint8 {
	if now == due && m.policy().Grace == 0 {
		return last
	}
	return now + 1
}

// release drops from the journals what was settled, if the store cannot fall
// back behind it any more.
func (m *machine) release(s *state) {
	if s.synced != 0 || !m.writes(s) {
		return
	}
	for i := range s.workers {
		if w := &s.workers[i]; w.phase == idle && w.change == 0 {
			w.journal = 0
		}
	}
	for i, d := range s.dead {
		if d.left && d.step == 2 {
			s.dead[i] = remains{}
		}
	}
}

// twins reports whether the processes differ in nothing but their names, and
// nothing is known by these yet.
func (s *state) twins() bool {
	a, b := s.workers[0], s.workers[1]
	a.owner, b.owner = 0, 0
	return a == b && s.attempts == 0 && s.owners == processes && s.dead == [2]remains{}
}

// crash kills a process and starts another in its place. Its journal stays. Its
// request may be on its way, and arrive or not.
func (m *machine) crash(s state, i uint8) {
	place := slices.IndexFunc(s.dead[:], func(d remains) bool { return !d.left })
	if place < 0 || !s.left.crash() {
		return
	}
	w := &s.workers[i]
	s.dead[place] = remains{left: true, owner: w.owner, journal: w.journal, adopter: nobody, ready: w.ready}
	for n := range s.dead {
		if d := &s.dead[n]; d.left && d.adopter == i {
			d.adopter, d.step = nobody, 0
		}
	}
	phase, request := w.phase, m.turns.get(w.turn).sent
	*w = worker{owner: s.owners}
	if s.run > 0 {
		w.ready = never
	}
	s.owners++
	m.emit(step{kind: stepCrash, who: i}, s)
	if phase == sent {
		m.judge(&s, request)
		m.emit(step{kind: stepCrash, who: i, arg: 1}, s)
	}
}

// emit checks a state that a step led to and hands it on; once more for each
// way in which the store can then stop making durable what it acknowledges, or
// fall back. It is enough to consider that where the store has changed, or time
// has passed: nothing else depends on when it happens.
func (m *machine) emit(st step, s state) {
	m.hand(st, s)
	if s.store == m.from.store && st.kind != stepTime {
		return
	}
	switch {
	case s.synced == 0 && s.left.loss():
		s.synced, s.counted = s.store, s.counter
		st.then = thenUnsynced
		m.hand(st, s)
	case s.synced != 0 && s.synced != s.store:
		s.store, s.synced, s.counter = s.synced, 0, s.counted
		s.run++
		for n := range s.dead {
			s.dead[n].step = 0 // what came of adopting it may be lost
		}
		st.then = thenLoss
		m.hand(st, s)
	}
}

func (m *machine) hand(st step, s state) {
	m.check(&s)
	m.next(st, s)
	m.wrong = m.wrong[:0]
}
