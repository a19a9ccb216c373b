package tasks

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"

	"github.com/refreshd/refreshd/internal/credential"
)

// The types of tasks.
const (
	TypeRefreshBatch  = "refresh:batch"  // refresh what is due among some credentials of one provider
	TypeRefreshSingle = "refresh:single" // refresh one credential because somebody asked for it
	TypeFetchSweep    = "fetch:sweep"    // look at every credential of a provider
	TypeDelivery      = "delivery:advance"
)

// MaxBatch is the largest number of credentials in one batch.
const MaxBatch = 100

// Batch is the payload of [TypeRefreshBatch]. Its credentials are of one shard.
type Batch struct {
	Provider string          `json:"provider"`
	IDs      []credential.ID `json:"ids"` // 1 to MaxBatch
	// ClockOnly has stored what time alone has brought, and nothing presented: it
	// is not their turn for a call. A worker of an earlier version does not know it,
	// and refreshes them.
	ClockOnly bool `json:"clock_only,omitempty"`
	// Reservation names the room that was reserved for it within the provider's
	// limits, and that is given back once it waits no more; "" if there was none.
	Reservation string `json:"reservation,omitempty"`
}

// Single is the payload of [TypeRefreshSingle].
type Single struct {
	ID credential.ID `json:"id"`
	// RejectedGeneration is the one that the resource refused; 0 refreshes
	// whichever is current.
	RejectedGeneration uint64 `json:"rejected_generation,omitempty"`
}

// Sweep is the payload of [TypeFetchSweep]: one slot of a provider's fetch
// schedule, or an extra sweep outside it.
type Sweep struct {
	Provider string `json:"provider"`
	// Slot is the Unix time in seconds at which the schedule opened the slot;
	// 0 is an extra sweep, which keeps no progress.
	Slot int64 `json:"slot,omitempty"`
	// Next is the Unix time at which the following slot opens, and this one is
	// not worth doing any more; 0 if it always is.
	Next int64 `json:"next,omitempty"`
	// Resume counts how often the slot was given out again because whoever
	// ran it died.
	Resume int `json:"resume,omitempty"`
}

// Delivery is the payload of [TypeDelivery]: one lane of a subscription has
// news.
type Delivery struct {
	Subscription string `json:"subscription"`
	Lane         int    `json:"lane"`
}

// SlotName is the name under which the progress of a provider's fetches is
// stored.
func SlotName(provider string) string { return "fetch:" + provider }

// PayloadError refuses a task whose payload is not what its type has. It
// unwraps to [asynq.SkipRetry]: such a task can never succeed. It holds
// nothing of the payload.
type PayloadError struct {
	Type string
	Err  error
}

// Error names the type and what is wrong.
func (e *PayloadError) Error() string {
	return fmt.Sprintf("the payload of a %s task is malformed: %v", e.Type, e.Err)
}

// Unwrap returns what is wrong, and asynq.SkipRetry.
func (e *PayloadError) Unwrap() []error { return []error{e.Err, asynq.SkipRetry} }

// What can be wrong with a payload.
var (
	errNotJSON      = errors.New("not the JSON object that it has to be")
	errNoProvider   = errors.New("no provider")
	errNoName       = errors.New("no subscription")
	errBatchSize    = fmt.Errorf("1 to %d credentials are allowed", MaxBatch)
	errNegative     = errors.New("a count is negative")
	errNoSlot       = errors.New("no slot")
	errExtraResumed = errors.New("an extra sweep is never resumed")
)

// DecodeBatch reads the payload of a [TypeRefreshBatch] task. The error is a
// [PayloadError].
func DecodeBatch(payload []byte) (Batch, error) {
	return decode(TypeRefreshBatch, payload, Batch.check)
}

// DecodeSingle reads the payload of a [TypeRefreshSingle] task. The error is a
// [PayloadError].
func DecodeSingle(payload []byte) (Single, error) {
	return decode(TypeRefreshSingle, payload, Single.check)
}

// DecodeSweep reads the payload of a [TypeFetchSweep] task. The error is a
// [PayloadError].
func DecodeSweep(payload []byte) (Sweep, error) {
	return decode(TypeFetchSweep, payload, Sweep.check)
}

// DecodeDelivery reads the payload of a [TypeDelivery] task. The error is a
// [PayloadError].
func DecodeDelivery(payload []byte) (Delivery, error) {
	return decode(TypeDelivery, payload, Delivery.check)
}

// decode reads and checks a payload. Fields that it does not know are ignored,
// so that this version works beside the next one.
func decode[P any](kind string, payload []byte, check func(P) error) (P, error) {
	var p, none P
	if json.Unmarshal(payload, &p) != nil {
		return none, &PayloadError{Type: kind, Err: errNotJSON} // the decoder's error would quote it
	}
	if err := check(p); err != nil {
		return none, &PayloadError{Type: kind, Err: err}
	}
	return p, nil
}

func (b Batch) check() error {
	if b.Provider == "" {
		return errNoProvider
	}
	if len(b.IDs) == 0 || len(b.IDs) > MaxBatch {
		return errBatchSize
	}
	for _, id := range b.IDs {
		if _, err := credential.ParseID(string(id)); err != nil {
			return err
		}
	}
	return nil
}

func (s Single) check() error {
	_, err := credential.ParseID(string(s.ID))
	return err
}

func (s Sweep) check() error {
	switch {
	case s.Provider == "":
		return errNoProvider
	case s.Slot < 0 || s.Next < 0 || s.Resume < 0:
		return errNegative
	case s.Slot == 0 && s.Resume != 0:
		return errExtraResumed
	}
	return nil
}

func (s Sweep) checkSlot() error {
	if s.Slot == 0 {
		return errNoSlot
	}
	return s.check()
}

func (d Delivery) check() error {
	switch {
	case d.Subscription == "":
		return errNoName
	case d.Lane < 0:
		return errNegative
	}
	return nil
}
