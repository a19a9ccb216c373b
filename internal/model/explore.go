package model

import (
	"slices"
	"strings"
)

// Result is what an exploration found.
type Result struct {
	States     int
	Steps      int // between states
	Depth      int // of the longest shortest way to a state
	Violations map[Kind]int
	// Traces holds, for each kind that was found, one of the shortest ways to
	// it, in words.
	Traces map[Kind][]string
}

// Found lists the kinds of violation, in their order.
func (r Result) Found() []Kind {
	kinds := make([]Kind, 0, len(r.Violations))
	for k := range r.Violations {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	return kinds
}

// Trace tells in words how the first violation of a kind comes about.
func (r Result) Trace(k Kind) string {
	return k.String() + ":\n  " + strings.Join(r.Traces[k], "\n  ")
}

// visit is one state that was reached, and from where.
type visit struct {
	state state
	from  uint32
	depth uint16
}

// end is where a violation was found.
type end struct {
	kind Kind
	at   uint32
	step string // that broke the promise, "" if it is the state itself
}

// Explore walks through every state that can be reached, the nearest first. A
// step that breaks a promise is not gone on from.
func Explore(cfg Config) Result {
	m := newMachine(cfg)
	first := m.first()
	visits := []visit{{state: first}}
	seen := map[state]struct{}{first: {}}
	result := Result{Violations: make(map[Kind]int), Traces: make(map[Kind][]string)}
	var ends []end
	var at uint32
	var outcomes int
	found := func(k Kind, what string) {
		if result.Violations[k]++; result.Violations[k] == 1 {
			ends = append(ends, end{k, at, what})
		}
	}
	m.next = func(st step, next state) {
		outcomes++
		for _, k := range m.wrong {
			found(k, st.words())
		}
		if len(m.wrong) > 0 {
			return
		}
		if _, ok := seen[next]; ok {
			return
		}
		seen[next] = struct{}{}
		visits = append(visits, visit{next, at, visits[at].depth + 1})
	}
	for n := 0; n < len(visits); n++ {
		at, outcomes = uint32(n), 0
		s := visits[n].state
		m.steps(s)
		if outcomes == 0 && !m.settled(&s) {
			found(Stuck, "")
		}
		result.Steps += outcomes
	}
	result.States = len(visits)
	result.Depth = int(visits[len(visits)-1].depth)
	for _, e := range ends {
		result.Traces[e.kind] = m.way(visits, e)
	}
	return result
}

// settled reports whether nothing is left to be done in a state from which no
// step leads on.
func (m *machine) settled(s *state) bool {
	for _, w := range s.workers {
		if w.phase != idle || w.ready != s.run || w.change != 0 {
			return false
		}
	}
	return m.held(s.store).Attempt == nil && !m.unread(s)
}

// way tells in words how a violation comes about: each step is the one that
// leads from a state to the next.
func (m *machine) way(visits []visit, e end) []string {
	var path []string
	if e.step != "" {
		path = append(path, e.step)
	}
	for n := e.at; n != 0; n = visits[n].from {
		want, words := visits[n].state, ""
		m.next = func(st step, next state) {
			if next == want && words == "" {
				words = st.words()
			}
		}
		m.steps(visits[visits[n].from].state)
		path = append(path, words)
	}
	slices.Reverse(path)
	return path
}
