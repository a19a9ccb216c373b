package worker

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
)

// Options are what a [Pool] is made of. Those up to Shards are required. All
// of them are used by many goroutines at once.
type Options struct {
	// NewServer makes a server on a Redis client that all servers share, as
	// asynq.NewServerFromRedisClient does: one that owned its client would
	// close it for the others.
	NewServer func(asynq.Config) *asynq.Server
	Refresher Refresher
	Deliverer Deliverer
	Walker    Walker
	Verifier  Verifier
	Tuner     Tuner
	Slots     Slots
	Clock     Clock
	Owner     string // a random ID of this process start
	Shards    int    // of the store

	// Concurrency is how many batches are worked on at once, each until its slowest
	// answer, so that a slow provider's leave room for the others'; 200 unless set,
	// below 500.
	Concurrency int
	// ShutdownTimeout is how long [Pool.Stop] lets tasks run on; 40 s unless
	// set. It has to cover the slowest provider's timeout, 5 s to store what
	// it answered, and 5 s margin.
	ShutdownTimeout time.Duration

	AsynqLog   asynq.Logger
	Logger     zerolog.Logger
	Registerer prometheus.Registerer
}

// Refresher is the crash-safe refresh. What it has sent runs to its end when
// ctx does not.
type Refresher interface {
	// RefreshBatch refreshes what is due of a batch, for which room may have been
	// reserved.
	RefreshBatch(ctx context.Context, provider string, ids []credential.ID, reservation string) (credential.BatchReport, error)
	// AdvanceBatch stores what the passing of time alone has brought to those of a
	// batch, and presents nothing.
	AdvanceBatch(ctx context.Context, provider string, ids []credential.ID) (credential.BatchReport, error)
	// Refresh refreshes one credential unless a later generation than rejected
	// is installed; 0 refreshes whichever is.
	Refresh(ctx context.Context, id credential.ID, rejected uint64) (credential.Held, error)
}

// Deliverer delivers events to subscribers.
type Deliverer interface {
	// Advance delivers what a lane of a subscription has. It does nothing if
	// somebody else does.
	Advance(ctx context.Context, subscription string, lane int) error
}

// Walker goes through the stored credentials, not through an index of them.
type Walker interface {
	// Walk returns some credentials of a provider, without secrets, and the
	// cursor to go on with: "" to begin with, and at the end. An error that
	// also has a method At(int) error is about single records that cannot be
	// read, and unwraps to one error for each: the others, and the cursor,
	// hold.
	Walk(ctx context.Context, provider, cursor string, count int) (list []credential.Held, next string, err error)
	// Suspects tells which records Heal would find something wrong with as of
	// now; due are their right scores.
	Suspects(ctx context.Context, provider string, list []credential.Held, due []credential.Millis, now credential.Millis) ([]bool, error)
	// Heal sets the credential's score in the due index, 0 for none, unless
	// the record has changed meanwhile, and reports whether it was wrong.
	Heal(ctx context.Context, h credential.Held, due credential.Millis) (bool, error)
}

// Verifier asks providers whether they still take tokens.
type Verifier interface {
	// Verify asks about those of ids for which there is something to ask, and
	// has what is refused refreshed. It returns how many it asked about and how
	// many were refused.
	Verify(ctx context.Context, provider string, ids []credential.ID) (asked, refused int, err error)
}

// Tuner sees to it that credentials are planned by the present settings.
type Tuner interface {
	// Tune looks at a provider's credentials and returns how many it has
	// planned anew. One that cannot be read is passed over; with an error it is
	// asked about all of them again.
	Tune(ctx context.Context, provider string, list []credential.Held) (int, error)
}

// Slots keeps the progress of sweeps.
type Slots interface {
	// StartSlot starts a slot, or resumes it where its owner's lease has
	// passed. false: it is done, or in other hands.
	StartSlot(ctx context.Context, name string, slot int64, owner string, lease time.Duration) (Progress, bool, error)
	// SaveSlot keeps the progress and extends the lease. The error is
	// [ErrSlotLost] if another owner has the slot.
	SaveSlot(ctx context.Context, name string, slot int64, owner string, progress Progress, lease time.Duration) error
	// FinishSlot ends a slot. Errors as of SaveSlot.
	FinishSlot(ctx context.Context, name string, slot int64, owner string, counts map[string]int64, outcome string) error
}

// ErrSlotLost says that a slot has passed to another owner.
var ErrSlotLost = errors.New("the slot is in other hands")

// Progress is how far a sweep has come.
type Progress struct {
	Cursor string           // of the next page
	Counts map[string]int64 // so far, by kind
}

// Clock tells the store's clock.
type Clock interface {
	Now() credential.Millis
}
