package scheduler

import (
	"context"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/tasks"
)

// Options are what a [Scheduler] is made of. Those up to Shards are required.
// All of them are used by many goroutines at once.
type Options struct {
	Index    Index
	Capacity Capacity
	Account  Account
	// RecoverWithin tells for how long a provider takes a refresh token again whose
	// first presentation ended in doubt; 0 if it does not.
	RecoverWithin func(provider string) time.Duration
	Queue         tasks.Enqueuer // an [asynq.Client]
	Depth         Depth
	Tasks         TaskInfo
	Slots         Slots
	Log           EventLog
	Clock         Clock // must have been synced once; nobody else may sync it
	Shards        int   // of the store

	// Retention is how long an event stays in the event log.
	Retention time.Duration
	// FetchWithin is the longest that a sweep may take; 10 min unless set. It
	// is never more than the interval of its schedule.
	FetchWithin time.Duration
	// Poll is the longest that due times are not looked at; 1 s unless set.
	// The shorter waits while there is work are parts of it.
	Poll time.Duration

	Logger     zerolog.Logger
	Registerer prometheus.Registerer
}

// Index is the due index, one per shard and provider.
type Index interface {
	// NextDue returns the lowest score; false if there is none.
	NextDue(ctx context.Context, shard int, provider string) (credential.Millis, bool, error)
	// Overdue returns up to most entries whose scores are between two moments,
	// these included, without the first skip of them: IDs and scores, the lowest
	// first.
	Overdue(ctx context.Context, shard int, provider string, from, till credential.Millis, skip, most int) ([]credential.Overdue, error)
	// Expiries fills in from the records what [credential.OrderOverdue] needs, and
	// when time alone brings something, and of whom that may change by a use.
	Expiries(ctx context.Context, shard int, list []credential.Overdue) error
	// Claim moves the scores of those ids that are due to now + lasts, and
	// returns them in the same order. Repeated with the same nonce it returns
	// the same IDs.
	Claim(ctx context.Context, shard int, provider string, ids []credential.ID, nonce credential.Nonce, lasts time.Duration) ([]credential.ID, error)
	// Release makes what was claimed and handed to nobody due at the given
	// moment.
	Release(ctx context.Context, provider string, ids []credential.ID, at credential.Millis) error
}

// Capacity estimates how many due credentials of a provider can be begun
// within horizon. 5000 or more stands for any number, 0 for none: all permits
// are taken, or the provider has asked to be left alone.
type Capacity interface {
	Capacity(ctx context.Context, provider string, horizon time.Duration) (int, error)
}

// Account is what all replicas have claimed of each provider, over all shards, and
// no worker has begun or put back. A claim shows in the provider's capacity only
// then; before it is subtracted here.
type Account interface {
	// ReserveClaims takes up to want of the room that a provider has, of which
	// whatever any replica has reserved is gone already.
	ReserveClaims(ctx context.Context, provider string, room, want int) (reserved int, id string, err error)
	// SettleClaims notes how many of a reservation were claimed.
	SettleClaims(ctx context.Context, provider, id string, claimed int) error
}

// Depth tells how many tasks wait in a queue, without those that are being
// worked on. A queue that does not exist yet has none.
type Depth interface {
	Waiting(ctx context.Context, queue string) (int, error)
}

// TaskInfo tells of a task; [asynq.Inspector] does. The error wraps
// [asynq.ErrTaskNotFound] or [asynq.ErrQueueNotFound] where there is none.
type TaskInfo interface {
	GetTaskInfo(queue, id string) (*asynq.TaskInfo, error)
}

// Slots tells how far a provider's fetches are.
type Slots interface {
	// Slot returns the state stored under a name; the zero state if there is
	// none.
	Slot(ctx context.Context, name string) (Slot, error)
}

// Slot is the stored state of a provider's fetches. Slots are numbered by the
// Unix time at which the schedule opened them.
type Slot struct {
	Done    int64             // the last one that was finished
	Running int64             // the one that was started and not finished, else 0
	Until   credential.Millis // when its worker counts as dead unless it says more
	Resumes int               // how often it was taken up after its worker died
}

// EventLog is the event log.
type EventLog interface {
	// TrimEvents drops entries older than before and returns how many there
	// were.
	TrimEvents(ctx context.Context, before credential.Millis) (int64, error)
}

// Clock tells the store's clock.
type Clock interface {
	Now() credential.Millis
	// Sync reads the store's clock and returns by how much it moved against
	// the machine's boot clock since the last reading.
	Sync(ctx context.Context) (step time.Duration, err error)
}
