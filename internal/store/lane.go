package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// Lanes is the number of lanes of a subscription. Events of one credential
	// go through one lane, so they arrive in order; lanes do not wait for each
	// other.
	Lanes = 64

	// breakAfter is how many failed deliveries in a row, over all lanes, open
	// the breaker of an endpoint.
	breakAfter = 5
)

var errLane = errors.New("no such lane")

// LaneState is what a holder needs to know of a lane.
type LaneState struct {
	// Cursors hold, by shard, the position of the last entry of the event log
	// that needs no more delivery in this lane; where there is none it is
	// where the subscription started, or "0".
	Cursors []string
	// Notified hold, by shard, the position up to which the log was looked
	// through for news: all that Want counts stand before it.
	Notified []string
	Attempt  int               // deliveries that failed before: of the lane in a row, or as probes of the endpoint
	NextAt   credential.Millis // no delivery before this moment; 0 is at once
	Want     uint64            // grows with every notification
}

// Advanced is what an advance leads to.
type Advanced int

// What an advance leads to.
const (
	AdvancedOn     Advanced = iota + 1 // the holder goes on
	AdvancedClosed                     // the holder goes on; the breaker was closed by it, and all lanes may
	AdvancedStop                       // the endpoint is held or disabled: no more for now
)

// Failure is a delivery that failed, and what the receiver asked for.
type Failure struct {
	Delivery   Delivery
	EventAt    credential.Millis // when the event was committed
	Gone       bool              // the receiver wants no more
	RetryAfter time.Duration     // the receiver asked to be left alone for so long; 0 if it did not
	Schedule   []time.Duration   // waits before each delivery of one event; at its end the subscription is disabled
	Cursors    []string          // by shard, what needs no delivery before it; "" leaves one
	ULID       credential.Nonce  // of the event that tells that the subscription was disabled, if it comes to that
}

// Verdict says what follows from a failure.
type Verdict struct {
	Disabled bool
	Open     bool          // the breaker of the endpoint is open
	Wait     time.Duration // until the next delivery
	Attempt  int           // failures that led to it, of the lane or of the endpoint
}

// LanesNotify notes that lanes have something to deliver that stands behind
// from, by shard, and that the log was looked through for such up to upto. It
// returns those for which a task has to be enqueued: not while somebody works
// on one, it waits for its next delivery or the subscription cannot be
// delivered; then it is found again by its holder or by [Store.AuditLanes].
func (s *Store) LanesNotify(ctx context.Context, sub string, lanes []int, from, upto []string) (enqueue []int, err error) {
	if err := checkName("subscription", sub); err != nil {
		return nil, err
	}
	if len(from) != len(s.shards) || len(upto) != len(s.shards) {
		return nil, fmt.Errorf("notify lanes: %d and %d positions for %d shards", len(from), len(upto), len(s.shards))
	}
	keys, args := []string{keySub(sub)}, []any{len(s.shards)}
	for _, position := range slices.Concat(from, upto) {
		args = append(args, position)
	}
	for _, lane := range lanes {
		if err := checkLane(lane); err != nil {
			return nil, err
		}
		keys, args = append(keys, keyLane(sub, lane)), append(args, lane)
	}
	reply, err := s.runList(ctx, s.scripts.lanesNotify, keys, args...)
	if err != nil {
		return nil, laneError("notify", err)
	}
	if len(reply) == 1 && reply[0] == int64(-1) {
		return nil, ErrToldLess
	}
	return laneNumbers(reply)
}

// LaneTake takes a lane for as long as lease says. It reports false if
// somebody else holds it, its next delivery is still to come or the
// subscription cannot be delivered. Taking what one holds already extends the
// lease.
func (s *Store) LaneTake(ctx context.Context, sub string, lane int, holder credential.Nonce, lease time.Duration) (LaneState, bool, error) {
	keys, err := laneKeys(sub, lane)
	if err != nil {
		return LaneState{}, false, err
	}
	reply, err := s.runList(ctx, s.scripts.laneTake, keys[:2], holder.String(), lease.Milliseconds())
	if err != nil {
		return LaneState{}, false, laneError("take", err)
	}
	if len(reply) != 3 {
		return LaneState{}, false, errReply
	}
	fields, err := pairs(reply[1])
	if err != nil {
		return LaneState{}, false, err
	}
	sublist, err := pairs(reply[2])
	if err != nil {
		return LaneState{}, false, err
	}
	probe := text(reply[0]) == "2"
	state, err := s.laneState(fields, sublist, probe)
	if err != nil {
		return LaneState{}, false, &CorruptError{Key: keys[0], Field: "attempt, next or want", Err: err}
	}
	return state, probe || text(reply[0]) == "1", nil
}

func (s *Store) laneState(fields, sub map[string]string, probe bool) (LaneState, error) {
	state := LaneState{Cursors: s.starts(sub)}
	for shard := range state.Cursors {
		if cursor := fields[cursorField(shard)]; cursor != "" {
			state.Cursors[shard] = cursor
		}
	}
	state.Notified = s.notified(sub)
	n := numbers{from: fields}
	state.Attempt = int(n.get("attempt"))
	state.NextAt = credential.Millis(n.get("next"))
	state.Want = uint64(max(n.get("want"), 0))
	if probe {
		of := numbers{from: sub, err: n.err}
		state.Attempt = int(of.get("probes"))
		n.err = of.err
	}
	return state, n.err
}

// LaneAdvance moves a lane's cursors, by shard, past what needs no more
// delivery, and extends the lease; "" leaves a cursor. done is what was
// delivered, of an event that was committed at eventAt, nil if it was nothing:
// failures before it count no more, neither the lane's nor the endpoint's. The
// error is [ErrLeaseLost] if the lane is not the holder's any longer.
func (s *Store) LaneAdvance(
	ctx context.Context, sub string, lane int, holder credential.Nonce, cursors []string, done *Delivery, eventAt credential.Millis,
) (Advanced, error) {
	keys, err := laneKeys(sub, lane)
	if err != nil {
		return 0, err
	}
	remembered := ""
	if done != nil {
		if remembered, err = encodeDelivery(*done); err != nil {
			return 0, err
		}
	}
	args, err := s.withCursors([]any{holder.String(), remembered, int64(eventAt)}, cursors)
	if err != nil {
		return 0, err
	}
	n, err := s.runInt(ctx, s.scripts.laneAdvance, keys, args...)
	return Advanced(n), heldOr(n, laneError("advance", err))
}

// LaneFail notes a delivery that failed and gives the lane back. What follows
// is decided by Redis's clock: a process whose own is off must not put a
// delivery off by that much. Of an endpoint at which deliveries of several
// lanes fail in a row the breaker opens: then it is the endpoint that waits,
// and one lane makes one probe after each wait of the schedule. The error is
// [ErrLeaseLost] as above.
func (s *Store) LaneFail(ctx context.Context, sub string, lane int, holder credential.Nonce, f Failure) (Verdict, error) {
	keys, err := laneKeys(sub, lane)
	if err != nil {
		return Verdict{}, err
	}
	if len(f.Schedule) == 0 {
		return Verdict{}, errors.New("a delivery failed that has no schedule")
	}
	remembered, err := encodeDelivery(f.Delivery)
	if err != nil {
		return Verdict{}, err
	}
	gone := "0"
	if f.Gone {
		gone = "1"
	}
	args := []any{
		holder.String(), remembered, lane, int64(f.EventAt), f.Delivery.Event, gone, f.RetryAfter.Milliseconds(),
		f.Delivery.Error, f.ULID.String(), breakAfter, len(f.Schedule),
	}
	for _, wait := range f.Schedule {
		args = append(args, wait.Milliseconds())
	}
	if args, err = s.withCursors(args, f.Cursors); err != nil {
		return Verdict{}, err
	}
	reply, err := s.runList(ctx, s.scripts.laneFail, keys, args...)
	if err != nil {
		return Verdict{}, laneError("fail", err)
	}
	var n [3]int64
	if len(reply) != len(n) {
		return Verdict{}, errReply
	}
	for i := range n {
		var ok bool
		if n[i], ok = reply[i].(int64); !ok {
			return Verdict{}, errReply
		}
	}
	return Verdict{
		Disabled: n[0] == 3, Open: n[0] == 2, Wait: time.Duration(n[1]) * time.Millisecond, Attempt: int(n[2]),
	}, heldOr(n[0], nil)
}

// LaneLeave gives a lane back in the middle of its work: nothing failed, and
// whoever comes next need not wait. The error is [ErrLeaseLost] as above.
func (s *Store) LaneLeave(ctx context.Context, sub string, lane int, holder credential.Nonce, cursors []string) error {
	keys, err := laneKeys(sub, lane)
	if err != nil {
		return err
	}
	args, err := s.withCursors([]any{holder.String()}, cursors)
	if err != nil {
		return err
	}
	n, err := s.runInt(ctx, s.scripts.laneLeave, keys[:2], args...)
	return heldOr(n, laneError("leave", err))
}

// LaneDone gives back a lane whose end was reached, unless it was notified
// since it had the wants that the holder saw before: then again is true, and
// the lane stays with its holder. The error is [ErrLeaseLost] as above.
func (s *Store) LaneDone(ctx context.Context, sub string, lane int, holder credential.Nonce, seen uint64, cursors []string) (again bool, err error) {
	keys, err := laneKeys(sub, lane)
	if err != nil {
		return false, err
	}
	args, err := s.withCursors([]any{holder.String(), seen}, cursors)
	if err != nil {
		return false, err
	}
	n, err := s.runInt(ctx, s.scripts.laneEnd, keys[:2], args...)
	switch {
	case err != nil:
		return false, laneError("finish", err)
	case n < 0:
		return false, ErrLeaseLost
	default:
		return n == 1, nil
	}
}

// withCursors appends the cursors that are set, as field and position.
func (s *Store) withCursors(args []any, cursors []string) ([]any, error) {
	if len(cursors) > len(s.shards) {
		return nil, fmt.Errorf("cursors over %d shards, there are %d", len(cursors), len(s.shards))
	}
	for shard, cursor := range cursors {
		if cursor != "" {
			args = append(args, cursorField(shard), cursor)
		}
	}
	return args, nil
}

func checkLane(lane int) error {
	if lane < 0 || lane >= Lanes {
		return fmt.Errorf("%w: %d of %d", errLane, lane, Lanes)
	}
	return nil
}

// laneKeys are a lane's key, its subscription's, and that of the last
// deliveries.
func laneKeys(sub string, lane int) ([]string, error) {
	if err := checkName("subscription", sub); err != nil {
		return nil, err
	}
	if err := checkLane(lane); err != nil {
		return nil, err
	}
	return []string{keyLane(sub, lane), keySub(sub), keySubLog(sub)}, nil
}

func laneNumbers(reply []any) ([]int, error) {
	lanes := make([]int, len(reply))
	for i, v := range reply {
		lane, ok := v.(int64)
		if !ok {
			return nil, errReply
		}
		lanes[i] = int(lane)
	}
	return lanes, nil
}

func cursorField(shard int) string   { return "c" + strconv.Itoa(shard) }
func startField(shard int) string    { return "f" + strconv.Itoa(shard) }
func notifiedField(shard int) string { return "n" + strconv.Itoa(shard) }

// laneError says during what err happened; nil stays nil.
func laneError(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s lane of a subscription: %w", doing, err)
}

// heldOr turns a script's 0 into [ErrLeaseLost].
func heldOr(n int64, err error) error {
	if err == nil && n == 0 {
		return ErrLeaseLost
	}
	return err
}
