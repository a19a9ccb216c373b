package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// Lane is the stored state of one lane of a subscription.
type Lane struct {
	Last     []string // by shard: the last entry that needs no more delivery here
	Notified []string // by shard: what Want counts stands before it
	Want     uint64   // counts notifications
	Attempt  int      // failed deliveries of the entry that comes next, or probes of the endpoint that failed
}

// Delivery is what is remembered of one delivery.
type Delivery struct {
	Event      string // the event's ID
	Type       credential.EventType
	Credential credential.ID
	EventAt    credential.Millis // when the event was committed
	Attempt    int               // counts deliveries of this event, or probes of the endpoint
	Took       time.Duration
	Result     Result
	Status     int
	Error      string // bare
}

// Failure is a delivery that failed, and what may follow from it.
type Failure struct {
	Delivery   Delivery
	Gone       bool
	RetryAfter time.Duration
	Schedule   []time.Duration
	ULID       credential.Nonce // of the event that tells that the subscription was disabled
}

// Verdict says what follows from a failure.
type Verdict struct {
	Disabled bool
	Open     bool          // the breaker of the endpoint is open
	Wait     time.Duration // until the next delivery
	Attempt  int           // failures that led to it, of the lane or of the endpoint
}

// Progress says what a holder may do after an advance.
type Progress int

// What a holder may do.
const (
	GoOn   Progress = iota + 1
	Closed          // go on, and so may all lanes: the breaker of the endpoint was closed by it
	Hold            // deliver no more for now: the endpoint asked to be left alone, or is disabled
)

// Lanes keeps the lanes' states. A lane is held by one holder at a time, for
// as long as its lease is extended; every call of one that has lost it fails.
// Positions are by shard; "" leaves a cursor where it is.
type Lanes interface {
	// Take leases a lane; false if somebody holds it, its next delivery is
	// still to come, or the subscription cannot be delivered. Whoever holds it
	// already extends his lease.
	Take(ctx context.Context, subscription string, lane int, holder credential.Nonce, lease time.Duration) (Lane, bool, error)
	// Advance stores how far the log was delivered and extends the lease. done
	// is what was delivered, nil if entries were only passed.
	Advance(ctx context.Context, subscription string, lane int, holder credential.Nonce, last []string, done *Delivery) (Progress, error)
	// Fail stores a failed delivery and gives the lane up; the same call
	// decides what follows for the lane and for the endpoint.
	Fail(ctx context.Context, subscription string, lane int, holder credential.Nonce, last []string, f Failure) (Verdict, error)
	// Leave gives the lane up for whoever takes it next.
	Leave(ctx context.Context, subscription string, lane int, holder credential.Nonce, last []string) error
	// Done gives the lane up unless it was notified since want: then it
	// reports true and the lane stays with its holder.
	Done(ctx context.Context, subscription string, lane int, holder credential.Nonce, want uint64, last []string) (bool, error)
}

// Audit is what was found when the lanes of a subscription were looked over.
type Audit struct {
	Pending  []int             // lanes that have news and no holder, and may be delivered
	Oldest   credential.Millis // moment of the oldest event that is owed, 0 if there is none
	Disabled bool
	Open     bool // the breaker of the endpoint is open
	Lagging  bool // that it lags was noted, and not yet that it caught up
}

// GapTurn says whose turn it is to tell a receiver of events that are missing.
type GapTurn int

// Whose turn it is.
const (
	GapTold  GapTurn = iota // nobody's: the receiver was told after the last of them was committed
	GapMine                 // the caller's, who says with EndGap what came of it
	GapOther                // somebody else's
)

// Gap is what is known of events that are missing.
type Gap struct {
	Turn  GapTurn
	ID    credential.Nonce  // of the event that tells of them
	Since credential.Millis // when the first lane came upon it
	New   bool              // that was this call
}

// Gaps keeps that a receiver is told once of what was trimmed before it was
// delivered, whichever lanes that belonged to.
type Gaps interface {
	// BeginGap notes that the holder of a lane has come upon missing events,
	// of which the newest was committed at that moment; id is for the event
	// that tells of them, if it has none yet. While it is one caller's turn
	// others are kept off for as long as lease says.
	BeginGap(ctx context.Context, subscription string, holder credential.Nonce, newest credential.Millis, id credential.Nonce, lease time.Duration) (Gap, error)
	// EndGap ends a turn.
	EndGap(ctx context.Context, subscription string, holder credential.Nonce, told bool) error
}

// ErrToldLess says that lanes are known to have been told of less than was
// thought: a Redis came back without its last writes.
var ErrToldLess = errors.New("lanes were told of less than was thought")

// Subscriptions keeps what concerns a whole subscription.
type Subscriptions interface {
	// Open makes sure that the subscription exists; a new one starts behind
	// last, the ends of the shards' logs. It returns up to where lanes were
	// told of news.
	Open(ctx context.Context, subscription string, last []string) (notified []string, err error)
	// Notify tells lanes of news that stand behind from, and that the log was
	// looked through up to upto. It returns the lanes whose task should be
	// enqueued: nobody holds them, and they may be delivered. It fails with
	// [ErrToldLess], and notes nothing, where lanes are known to have been told
	// of less than from.
	Notify(ctx context.Context, subscription string, lanes []int, from, upto []string) (enqueue []int, err error)
	// Audit looks over all lanes, and sees to it that the event log tells what
	// it has to of the subscription.
	Audit(ctx context.Context, subscription string) (Audit, error)
	// SetLagging notes that a subscription lags, which the event log is to be
	// told with that ULID; false if it was noted before.
	SetLagging(ctx context.Context, subscription string, oldest credential.Millis, id credential.Nonce) (bool, error)
	// ClearLagging notes that it has caught up.
	ClearLagging(ctx context.Context, subscription string) error
}
