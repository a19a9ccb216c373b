package model

import (
	"slices"
	"strconv"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	processes = 2
	// nobody is no process.
	nobody = processes
	// never is no run of the store.
	never = 0xff
)

// state is everything at one moment. It is compared as a whole; what is large
// stands in tables of the machine.
type state struct {
	now      uint8
	run      uint8  // of the store: 0, and 1 after it fell back
	store    uint16 // what is stored
	synced   uint16 // what the store will fall back to; 0: everything is durable
	attempts uint8  // begun so far: each has a number of its own
	counter  uint8  // that stands in for a random nonce, if that is taken away
	counted  uint8  // what the counter will fall back to
	owners   uint8  // processes started so far
	left     budget
	workers  [processes]worker
	dead     [2]remains // what crashes left: the journals
	ledger   ledger
}

// budget is what may still happen.
type budget struct{ rotations, crashes, faults, losses, logins, logouts, delays, troubles uint8 }

// crash, fault and loss each take one from the budget and report whether there
// was one left.
func (b *budget) crash() bool { return b.take(&b.crashes) }
func (b *budget) fault() bool { return b.take(&b.faults) }
func (b *budget) loss() bool  { return b.take(&b.losses) }

func (b *budget) take(one *uint8) bool {
	if *one == 0 || b.troubles == 0 {
		return false
	}
	*one--
	if b.troubles--; b.troubles == 0 {
		b.crashes, b.faults, b.losses = 0, 0, 0
	}
	return true
}

// phase is how far a process is with its attempt.
type phase uint8

const (
	idle      phase = iota
	begun           // the attempt is stored
	intended        // the intent is in the journal
	sent            // the request is on its way
	answered        // the reply is on its way: a token
	denied          // the reply is on its way: invalid_grant
	kept            // the token is in the journal
	ambiguous       // no reply will come
)

// worker is one process.
type worker struct {
	owner   uint8
	ready   uint8 // the run for which it has put back what it knows
	phase   phase
	turn    uint16 // the attempt it works on
	journal uint16
	memory  uint16 // writes that the store may lose
	change  uint8  // owner's change that it journaled and has not stored: a kind of entry
}

// remains is the journal of a dead process.
type remains struct {
	left    bool
	owner   uint8
	journal uint16
	adopter uint8
	ready   uint8 // the run for which its owner had put back what it knew
	step    uint8 // 0, 1: the received tokens are put back, 2: the open attempts are settled
}

// entryKind is what a journal's record is of.
type entryKind uint8

const (
	entryIntent entryKind = iota + 1
	entryKept
	entryLogin
	entryLogout
)

// entry is one record of a journal.
type entry struct {
	kind       entryKind
	nonce      credential.Nonce
	generation uint64
	grant      uint64
	sentAt     uint8
	token      rt // that was received, or brought by a login
}

// written is a write that a process made and that the store may lose.
type written struct {
	write credential.Write
	after credential.Held
}

// heldOpen is a record with the attempt that a process holds in it.
type heldOpen struct{ credential.Held }

func (h heldOpen) attempt() credential.Attempt {
	if h.Attempt == nil {
		return credential.Attempt{}
	}
	return *h.Attempt
}

// turn is what a process knows of the attempt that it works on.
type turn struct {
	held   heldOpen // as begin handed it out
	began  uint8
	sentAt uint8
	sent   rt // the refresh token that was presented
	reply  rt // the one that came back
}

// machine holds the tables that states refer to, and finds what can happen
// next.
type machine struct {
	cfg      Config
	from     state // that the step leads on from
	helds    *table[credential.Held]
	turns    *table[turn]
	journals *table[[]entry]
	memories *table[[]written]
	next     func(step, state) // receives what can happen
	wrong    []Kind            // of the step that is being made
}

func newMachine(cfg Config) *machine {
	return &machine{
		cfg: cfg, helds: newTable(heldKey), turns: newTable(turnKey),
		journals: newTable(journalKey), memories: newTable(memoryKey),
	}
}

// first is the state in which every exploration begins: one login, two
// processes, nothing due.
func (m *machine) first() state {
	b := m.cfg.Bounds
	s := state{
		owners: processes,
		left: budget{
			b.Rotations, b.Crashes, b.Faults, b.Losses, b.Logins, b.Logouts, b.Delays, b.Troubles,
		},
	}
	for i := range s.workers {
		s.workers[i] = worker{owner: uint8(i)}
	}
	write := credential.Connect(nil, loginOf(rt{login: 1}, fresh), m.cfg.Policy, writeNonce(nonceChange, 0, 0, 0), moment(fresh))
	s.store = m.helds.put(plain(write.Result(credential.Held{})))
	s.ledger.issue(rt{login: 1})
	s.ledger.acked = 1
	return s
}

// loginOf is the login that an owner brings at a moment.
func loginOf(t rt, now uint8) credential.Login {
	return credential.Login{
		ID: "account", Provider: "provider", Token: t.pair(), ExpiresAt: expiryOf(now),
	}
}

func ownerName(n uint8) string { return "process-" + strconv.Itoa(int(n)) }

func (m *machine) held(n uint16) credential.Held { return m.helds.get(n) }

func (m *machine) policy() credential.Policy { return m.cfg.Policy }

func (m *machine) without(part Without) bool { return m.cfg.Take&part != 0 }

// apply stores a write under the rules of the store's script: the revision and
// the open attempt must be those that it expects.
func (m *machine) apply(s *state, who uint8, write credential.Write) bool {
	h := m.held(s.store)
	if h.Record.Revision != write.Revision {
		return false
	}
	if !write.Attempt.IsZero() && (h.Attempt == nil || h.Attempt.Nonce != write.Attempt) {
		return false
	}
	if write.Alone && h.Attempt != nil {
		return false
	}
	after := plain(write.Result(h))
	if !write.Spent.IsZero() {
		after.Record.Remember(macOf(write.Spent))
	}
	if after.Record.Version < h.Record.Version {
		m.fault(VersionFell)
	}
	if s.synced != 0 {
		w := &s.workers[who]
		memory := m.memories.get(w.memory)
		w.memory = m.memories.put(append(slices.Clip(memory), written{write, after}))
	}
	s.store = m.helds.put(after)
	return true
}

// must is apply for a write that was decided on what is stored.
func (m *machine) must(s *state, who uint8, write credential.Write) {
	if !m.apply(s, who, write) {
		panic("model: a write that was decided on the stored record was not taken")
	}
}

func (m *machine) append(journal uint16, e entry) uint16 {
	if m.without(WithoutJournal) {
		return 0
	}
	list := m.journals.get(journal)
	return m.journals.put(append(slices.Clip(list), e))
}

// drop takes the records of an attempt or a change out of a journal.
func (m *machine) drop(journal uint16, gone func(entry) bool) uint16 {
	var rest []entry
	for _, e := range m.journals.get(journal) {
		if !gone(e) {
			rest = append(rest, e)
		}
	}
	return m.journals.put(rest)
}

// known reports whether a token that was received brings nothing new.
func known(h credential.Held, t rt) bool {
	if t.none() || rtOf(h.Token.Refresh) == t {
		return true
	}
	for _, mac := range h.Record.Spent {
		if mac == macOf(t.secret()) {
			return true
		}
	}
	for _, alt := range h.Alternates {
		if rtOf(alt.Token.Refresh) == t {
			return true
		}
	}
	return false
}
