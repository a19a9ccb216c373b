package practice

import (
	"iter"
	"time"
)

// Entry is one call of the token endpoint as the ledger shows it.
type Entry struct {
	Seq           uint64  `json:"seq"`      // in order of arrival, from 1
	Received      int64   `json:"received"` // Unix ns
	Arrived       int64   `json:"arrived"`  // Unix ns, to some ms: this machine had all of it, however late its program looked; received where that is not known
	Grant         string  `json:"grant"`    // "" where the refresh token is unknown
	Generation    uint32  `json:"generation"`
	Subject       string  `json:"subject"`
	Client        string  `json:"client"` // "" where the client is unknown
	Outcome       Outcome `json:"outcome"`
	Verdict       Outcome `json:"verdict"`         // what happened to the token; "" where it was not looked at
	Fault         string  `json:"fault,omitempty"` // kind of the fault that was taken, with the form after a colon
	InAir         bool    `json:"in_air"`          // not finished yet: outcome and delivered are still open
	Delivered     bool    `json:"delivered"`       // see the package comment
	TokenSent     bool    `json:"token_sent"`      // the new refresh token went out whole
	RotatedAt     int64   `json:"rotated_at"`      // Unix ns; 0: no new refresh token was issued
	RepliedAt     int64   `json:"replied_at"`      // Unix ns, after the last byte; 0: no byte was written
	Concurrent    uint32  `json:"concurrent"`      // presentations of the grant in the air on arrival, with this one
	NewGeneration uint32  `json:"new_generation"`  // of the refresh token issued; 0: none
	Twice         bool    `json:"twice"`           // this generation had been judged before
}

// LedgerQuery selects entries.
type LedgerQuery struct {
	Grant string // "" is every grant
	After uint64 // entries with a greater sequence number only
}

// Ledger returns the selected entries in order of arrival. Whoever has read a
// reply to its end finds its entry settled.
func (s *Server) Ledger(q LedgerQuery) []Entry {
	var entries []Entry
	for e := range s.entries(q) {
		entries = append(entries, e)
	}
	return entries
}

func (s *Server) entries(q LedgerQuery) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		wanted, valid := parseGrantID(q.Grant)
		if q.Grant != "" && !valid {
			return
		}
		s.ledger.quiesce()
		s.ledger.read(q.After, func(seq uint64, r record) bool {
			if wanted != 0 && r.grant != wanted {
				return true
			}
			return yield(s.entry(seq, r))
		})
	}
}

func (s *Server) entry(seq uint64, r record) Entry {
	e := Entry{
		Seq:           seq,
		Received:      r.received,
		Arrived:       r.received - int64(r.waited)*int64(time.Millisecond),
		Grant:         grantID(r.grant),
		Generation:    r.generation,
		Client:        s.labels.text(r.client),
		Outcome:       Outcome(s.labels.text(r.outcome)),
		Verdict:       Outcome(s.labels.text(r.verdict)),
		Fault:         s.labels.text(r.fault),
		InAir:         !r.settled,
		Delivered:     r.delivered,
		TokenSent:     r.tokenSent,
		RotatedAt:     r.rotatedAt,
		RepliedAt:     r.repliedAt,
		Concurrent:    r.concurrent,
		NewGeneration: r.newGeneration,
		Twice:         r.twice,
	}
	if g := s.grants.get(r.grant); g != nil {
		e.Subject = g.subject
	}
	return e
}

// Summary is the ledger in numbers.
type Summary struct {
	Presentations             int64             `json:"presentations"` // calls that held a refresh token
	Rotations                 int64             `json:"rotations"`     // refresh tokens issued by a refresh, in grace as well
	Grants                    int               `json:"grants"`
	GrantsDead                int64             `json:"grants_dead"`
	GenerationsPresentedTwice int64             `json:"generations_presented_twice"`
	MaxConcurrentPerGrant     uint32            `json:"max_concurrent_per_grant"`
	Undelivered               int64             `json:"undelivered"`     // rotations whose reply was not delivered
	TokensNotSent             int64             `json:"tokens_not_sent"` // rotations whose refresh token never went out whole
	ReuseDetected             int64             `json:"reuse_detected"`
	GraceUsed                 int64             `json:"grace_used"`
	ClientErrors              int64             `json:"client_errors"`
	InAir                     int64             `json:"in_air"` // calls that are not finished; they are in no other number that needs their end
	ByOutcome                 map[Outcome]int64 `json:"by_outcome"`
	Violations                []Violation       `json:"violations"` // the first 100
	ViolationsTotal           int64             `json:"violations_total"`
}

// The kinds of violation.
const (
	ViolationPresentedTwice = "presented_twice" // a generation was judged more than once; outcome tells whether in grace
	ViolationConcurrent     = "concurrent"      // a grant had more than one presentation in the air
)

// Violation is one presentation that a careful client would not have made.
//
// A generation counts as presented when the token was judged, except by a
// server that does not rotate. A call that was turned away before (a fault that
// does not rotate, a wrong client) may be made again.
type Violation struct {
	Kind       string  `json:"kind"`
	Seq        uint64  `json:"seq"`
	Grant      string  `json:"grant"`
	Generation uint32  `json:"generation"`
	Outcome    Outcome `json:"outcome,omitempty"`
	Concurrent uint32  `json:"concurrent,omitempty"`
}

// Summary returns the ledger in numbers.
func (s *Server) Summary() Summary {
	s.ledger.quiesce()
	sum := Summary{
		Grants:     s.grants.count(),
		GrantsDead: s.grants.dead.Load(),
		ByOutcome:  make(map[Outcome]int64),
		Violations: []Violation{},
	}
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	t := &s.ledger.totals
	sum.Presentations, sum.Rotations, sum.InAir = t.presentations, t.rotations, t.inAir
	sum.GenerationsPresentedTwice, sum.MaxConcurrentPerGrant = t.twice, t.maxConcurrent
	sum.Undelivered, sum.TokensNotSent = t.undelivered, t.tokensNotSent
	sum.ReuseDetected = t.byVerdict[s.labels.of(string(OutcomeReuse))]
	sum.GraceUsed = t.byVerdict[s.labels.of(string(OutcomeGrace))]
	sum.ClientErrors = t.byOutcome[s.labels.of(string(OutcomeClientError))]
	for outcome, n := range t.byOutcome {
		sum.ByOutcome[Outcome(s.labels.text(outcome))] = n
	}
	sum.ViolationsTotal = t.violationsAll
	for _, v := range t.violations {
		sum.Violations = append(sum.Violations, s.violation(v))
	}
	return sum
}

func (s *Server) violation(v violation) Violation {
	kind := ViolationPresentedTwice
	if v.concurrent > 0 {
		kind = ViolationConcurrent
	}
	return Violation{
		Kind:       kind,
		Seq:        v.seq,
		Grant:      grantID(v.grant),
		Generation: v.generation,
		Outcome:    Outcome(s.labels.text(v.outcome)),
		Concurrent: v.concurrent,
	}
}
