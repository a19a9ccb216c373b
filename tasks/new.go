package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
)

const (
	// RefreshTimeout is when asynq gives up on a refresh: above the longest
	// attempt that settings allow (5 s to send, 5 min for the provider, 5 s to
	// store, 5 s margin) and the seconds in which a batch takes permits. What
	// was sent by then runs to its end all the same.
	RefreshTimeout = 6 * time.Minute
	// DeliveryTimeout is how long one task may deliver what a lane has.
	DeliveryTimeout = 2 * time.Minute
	// Grace is how much longer than its allowed time asynq lets a sweep or a
	// delivery run: they end by themselves before it, and store how far they
	// came.
	Grace = 20 * time.Second
	// SweepWithin is how long a sweep may take; one of a schedule also no longer
	// than until its next.
	SweepWithin = 10 * time.Minute
	// SlotRetention is how long a finished slot's ID stays taken. It is far
	// above the skew of the clocks of the processes that enqueue it.
	SlotRetention = 10 * time.Minute
	// extraEvery is how often an extra sweep can be asked for one reason:
	// replicas that see the same reason enqueue one.
	extraEvery = 10 * time.Second
	// deliveryEvery is how long all news of a lane is one task, unless that has
	// ended. It is also how long a dead worker's task blocks its ID, so it is
	// no longer than that worker's hold on the lane: while an endpoint is left
	// alone but for a probe, a lane that cannot be enqueued holds up all.
	deliveryEvery = 5 * time.Second
)

// NewBatch returns the task for a batch of the credentials of shard.
func NewBatch(shard int, b Batch) (*asynq.Task, error) {
	return build(TypeRefreshBatch, b, b.check,
		asynq.Queue(RefreshQueue(shard)), asynq.Timeout(RefreshTimeout))
}

// NewSingle returns the task for a refresh that somebody asked for.
func NewSingle(s Single) (*asynq.Task, error) {
	return build(TypeRefreshSingle, s, s.check,
		asynq.Queue(QueueSingle), asynq.Timeout(RefreshTimeout))
}

// NewSlot returns the task for a slot of a fetch schedule, to be done within
// allowed. Its ID is fixed, so of all replicas' tasks for the slot one is
// taken. An ID stays blocked as long as asynq keeps its task, 90 days in the
// archive; hence a slot that has to be resumed gets another one.
func NewSlot(s Sweep, allowed time.Duration) (*asynq.Task, error) {
	return build(TypeFetchSweep, s, s.checkSlot,
		asynq.Queue(QueueFetch), asynq.Timeout(allowed+Grace),
		asynq.TaskID(s.ID()), asynq.Retention(SlotRetention))
}

// ID is the fixed ID of the task for a slot.
func (s Sweep) ID() string {
	id := fmt.Sprintf("fetch:%s:%d", s.Provider, s.Slot)
	if s.Resume > 0 {
		id += fmt.Sprintf(":%d", s.Resume)
	}
	return id
}

// Why says why a sweep is made outside the schedule.
type Why string

// The reasons for an extra sweep.
const (
	WhyClientRecovered Why = "client" // the provider accepts this client again
	WhyClientRetuned   Why = "retune" // a client that is refused got other settings
	WhyClockStep       Why = "clock"  // scores were computed by another time
	WhySlot            Why = "slot"   // a slot of the schedule cannot be stored
	WhySettings        Why = "tune"   // sessions may live by other settings than there are
)

// NewExtra returns the task for a sweep outside the schedule. Tasks for the same
// reason at about the same time are one, whichever replica makes them.
func NewExtra(provider string, why Why, now time.Time, allowed time.Duration) (*asynq.Task, error) {
	return extra(provider, allowed,
		asynq.TaskID(fmt.Sprintf("fetch:%s:%s:%d", provider, why, now.UnixNano()/int64(extraEvery))),
		asynq.Retention(2*extraEvery))
}

// NewOwnExtra returns the task for a sweep outside the schedule in whose place no
// other is taken: it is to begin after what its maker has just done.
func NewOwnExtra(provider string, allowed time.Duration) (*asynq.Task, error) {
	return extra(provider, allowed)
}

func extra(provider string, allowed time.Duration, opts ...asynq.Option) (*asynq.Task, error) {
	s := Sweep{Provider: provider}
	return build(TypeFetchSweep, s, s.check, append(opts, asynq.Queue(QueueFetch), asynq.Timeout(allowed+Grace))...)
}

// NewDelivery returns the task that advances a lane. While one waits or runs,
// another of about the same time is not taken: whoever holds a lane looks
// again for what came in the meantime.
func NewDelivery(d Delivery, now time.Time) (*asynq.Task, error) {
	return build(TypeDelivery, d, d.check,
		asynq.Queue(QueueDelivery), asynq.Timeout(DeliveryTimeout+Grace),
		asynq.TaskID(fmt.Sprintf("delivery:%s:%d:%d", d.Subscription, d.Lane, now.UnixNano()/int64(deliveryEvery))))
}

func build[P any](kind string, payload P, check func() error, opts ...asynq.Option) (*asynq.Task, error) {
	if err := check(); err != nil {
		return nil, &PayloadError{Type: kind, Err: err}
	}
	data, err := json.Marshal(payload)
	if err != nil {
		return nil, &PayloadError{Type: kind, Err: errNotJSON}
	}
	return asynq.NewTask(kind, data, append(opts, asynq.MaxRetry(0))...), nil
}

// Enqueuer takes tasks; [asynq.Client] is one.
type Enqueuer interface {
	EnqueueContext(ctx context.Context, task *asynq.Task, opts ...asynq.Option) (*asynq.TaskInfo, error)
}

// Enqueue puts a task on its queue and reports whether it was added. false
// without an error means that a task of that ID is there already: another
// replica was first, or this very task got in and the answer was lost, for
// go-redis sends a script again whose reply did not come.
func Enqueue(ctx context.Context, queue Enqueuer, task *asynq.Task) (added bool, err error) {
	_, err = queue.EnqueueContext(ctx, task)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return false, nil
	}
	return err == nil, err
}
