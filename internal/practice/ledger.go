package practice

import (
	"sync"
	"time"
)

// Outcome is what became of one presentation.
type Outcome string

// The outcomes. A presentation whose reply was shaped by a fault has the
// outcome "fault:" and the fault's kind; its [Entry.Verdict] says then what
// happened to the token.
const (
	OutcomeRotated        Outcome = "rotated"         // spent, and replaced by a new one
	OutcomeRefreshed      Outcome = "refreshed"       // a new access token, the refresh token stays
	OutcomeGrace          Outcome = "grace"           // spent before, and replaced once more within the grace
	OutcomeReuse          Outcome = "reuse"           // spent before: refused, and the family is dead unless reuse is off
	OutcomeUnknown        Outcome = "unknown"         // no such refresh token, or that of another client
	OutcomeRevoked        Outcome = "revoked"         // the grant had died before
	OutcomeExpired        Outcome = "expired"         // the refresh token had expired
	OutcomeClientError    Outcome = "client_error"    // invalid_client; the token was not looked at
	OutcomeInvalidRequest Outcome = "invalid_request" // malformed; the token was not looked at
	OutcomeIssued         Outcome = "issued"          // a client_credentials call
	OutcomeAbandoned      Outcome = "abandoned"       // the client was gone before the token was judged
	outcomeFault          Outcome = "fault:"
)

// record is an entry as it is kept: without pointers, 56 bytes.
type record struct {
	received      int64
	rotatedAt     int64
	repliedAt     int64
	grant         uint32
	generation    uint32
	newGeneration uint32
	concurrent    uint32
	client        label
	outcome       label
	verdict       label
	fault         label
	presents      bool // it held a refresh token
	settled       bool
	delivered     bool
	tokenSent     bool
	twice         bool   // this generation had been presented before
	waited        uint16 // before it was received, in ms
}

// chunk is how many records are allocated at once, and copied under one lock.
const chunk = 4096

// settleWait bounds how long a reader waits for replies that are being written.
const settleWait = 2 * time.Second

// ledger keeps every presentation in order of arrival. Sequence numbers start
// at 1.
type ledger struct {
	mu      sync.Mutex
	chunks  [][]record
	length  uint64
	totals  totals
	epoch   uint64
	writing [2]int        // replies being written, by the parity of their epoch
	drained chan struct{} // closed when the earlier epoch has none left

	readers sync.Mutex // one reader waits at a time
}

// totals are kept along the way, so that a summary need not read the ledger.
type totals struct {
	presentations int64
	rotations     int64
	undelivered   int64
	tokensNotSent int64
	twice         int64
	maxConcurrent uint32
	inAir         int64
	byOutcome     map[label]int64
	byVerdict     map[label]int64
	violations    []violation
	violationsAll int64
}

type violation struct {
	seq        uint64
	grant      uint32
	generation uint32
	outcome    label
	concurrent uint32 // 0: presented twice
}

// maxViolations is how many violations a summary lists.
const maxViolations = 100

func newLedger() *ledger {
	return &ledger{totals: totals{byOutcome: make(map[label]int64), byVerdict: make(map[label]int64)}}
}

func (l *ledger) at(seq uint64) *record {
	return &l.chunks[(seq-1)/chunk][(seq-1)%chunk]
}

// open adds a presentation that has just arrived.
func (l *ledger) open(r record) (seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.length%chunk == 0 {
		l.chunks = append(l.chunks, make([]record, chunk))
	}
	l.length++
	*l.at(l.length) = r
	l.totals.inAir++
	if r.presents {
		l.totals.presentations++
	}
	l.totals.maxConcurrent = max(l.totals.maxConcurrent, r.concurrent)
	if r.concurrent > 1 {
		l.violation(violation{seq: l.length, grant: r.grant, generation: r.generation, concurrent: r.concurrent})
	}
	return l.length
}

func (l *ledger) violation(v violation) {
	l.totals.violationsAll++
	if len(l.totals.violations) < maxViolations {
		l.totals.violations = append(l.totals.violations, v)
	}
}

// judged notes what happened to the token.
func (l *ledger) judged(seq uint64, v verdict, outcome label) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.at(seq)
	r.verdict, r.rotatedAt, r.newGeneration, r.twice = outcome, v.rotatedAt, v.newGeneration, v.twice
	l.totals.byVerdict[outcome]++
	if v.rotatedAt != 0 {
		l.totals.rotations++
	}
	if v.twice {
		if v.presented == 2 {
			l.totals.twice++
		}
		l.violation(violation{seq: seq, grant: r.grant, generation: r.generation, outcome: outcome})
	}
}

// beginWrite says that the reply is about to go out whole, so that a reader
// who has seen the reply waits for the entry to be settled. The epoch goes to
// endWrite.
func (l *ledger) beginWrite() (epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing[l.epoch%2]++
	return l.epoch
}

// settlement is the end of a presentation.
type settlement struct {
	outcome   label
	fault     label
	repliedAt int64 // 0: no byte was written
	delivered bool
	tokenSent bool
}

// settle completes an entry that was not between beginWrite and endWrite.
func (l *ledger) settle(seq uint64, end settlement) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settleLocked(seq, end)
}

// endWrite completes an entry after beginWrite.
func (l *ledger) endWrite(seq, epoch uint64, end settlement) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settleLocked(seq, end)
	l.writing[epoch%2]--
	if l.drained != nil && l.writing[(l.epoch+1)%2] == 0 {
		close(l.drained)
		l.drained = nil
	}
}

func (l *ledger) settleLocked(seq uint64, end settlement) {
	r := l.at(seq)
	r.outcome, r.fault = end.outcome, end.fault
	r.repliedAt, r.delivered, r.tokenSent = end.repliedAt, end.delivered, end.tokenSent
	r.settled = true
	l.totals.inAir--
	l.totals.byOutcome[end.outcome]++
	if r.rotatedAt != 0 && !end.delivered {
		l.totals.undelivered++
	}
	if r.rotatedAt != 0 && !end.tokenSent {
		l.totals.tokensNotSent++
	}
}

// quiesce waits until every reply whose writing has begun is accounted for, at
// most settleWait: whoever got a reply and reads the ledger next finds that
// reply in it.
func (l *ledger) quiesce() {
	l.readers.Lock()
	defer l.readers.Unlock()
	l.mu.Lock()
	l.epoch++
	if l.writing[(l.epoch+1)%2] == 0 {
		l.mu.Unlock()
		return
	}
	drained := make(chan struct{})
	l.drained = drained
	l.mu.Unlock()
	timer := time.NewTimer(settleWait)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C:
		l.mu.Lock()
		l.drained = nil
		l.mu.Unlock()
	}
}

// read calls yield with each record after seq, in order, until it returns
// false. What arrives meanwhile is left out.
func (l *ledger) read(seq uint64, yield func(seq uint64, r record) bool) {
	l.mu.Lock()
	end := l.length
	l.mu.Unlock()
	var copied []record
	for seq < end {
		n := min(end-seq, chunk-seq%chunk)
		l.mu.Lock()
		from := seq % chunk
		copied = append(copied[:0], l.chunks[seq/chunk][from:from+n]...)
		l.mu.Unlock()
		for _, r := range copied {
			seq++
			if !yield(seq, r) {
				return
			}
		}
	}
}
