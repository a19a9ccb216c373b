package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// Lanes is the number of lanes of a subscription. Events of one credential go
// through one lane, so they arrive in order; lanes do not wait for each other.
const Lanes = 64

var errLane = errors.New("no such lane")

// LaneState is what a holder needs to know of a lane.
type LaneState struct {
	// Cursors hold, by shard, the position of the last entry of the event log
	// that needs no more delivery in this lane; where there is none it is
	// where the subscription started, or "0".
	Cursors []string
	Attempt int               // deliveries that failed in a row
	NextAt  credential.Millis // no delivery before this moment; 0 is at once
	Want    uint64            // grows with every notification
}

// SubscriptionState tells whether a subscription is disabled.
type SubscriptionState struct {
	Disabled bool
	Reason   string
	Since    credential.Millis // when it was disabled
}

// StartSubscription fixes where a new subscription starts, by shard: positions
// in the event logs. It reports false, and changes nothing, for one that is
// known already.
func (s *Store) StartSubscription(ctx context.Context, sub string, from []string) (created bool, err error) {
	if err := checkName("subscription", sub); err != nil {
		return false, err
	}
	if len(from) != len(s.shards) {
		return false, fmt.Errorf("start of a subscription: %d positions for %d shards", len(from), len(s.shards))
	}
	key := keySub(sub)
	pipe := s.client.TxPipeline()
	first := pipe.HSetNX(ctx, key, startField(0), from[0])
	for shard := 1; shard < len(from); shard++ {
		pipe.HSetNX(ctx, key, startField(shard), from[shard])
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return false, fmt.Errorf("start of a subscription: %w", s.explain(ctx, err, key))
	}
	return first.Val(), nil
}

// LaneNotify notes that a lane has something to deliver, and reports whether a
// task has to be enqueued for it: not while somebody works on it, it waits for
// its next attempt or the subscription is disabled; then it is found again by
// its holder or by [Store.LanesPending].
func (s *Store) LaneNotify(ctx context.Context, sub string, lane int) (enqueue bool, err error) {
	keys, err := laneKeys(sub, lane)
	if err != nil {
		return false, err
	}
	n, err := s.runInt(ctx, s.scripts.laneNotify, keys)
	return n == 1, laneError("notify", err)
}

// LaneTake takes a lane for as long as lease says. It reports false if
// somebody else holds it, its next attempt is still to come or the
// subscription is disabled. Taking what one holds already extends the lease.
func (s *Store) LaneTake(ctx context.Context, sub string, lane int, holder credential.Nonce, lease time.Duration) (LaneState, bool, error) {
	keys, err := laneKeys(sub, lane)
	if err != nil {
		return LaneState{}, false, err
	}
	reply, err := s.runList(ctx, s.scripts.laneTake, keys, holder.String(), lease.Milliseconds())
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
	start, err := pairs(reply[2])
	if err != nil {
		return LaneState{}, false, err
	}
	state, err := s.laneState(fields, start)
	if err != nil {
		return LaneState{}, false, &CorruptError{Key: keys[0], Field: "attempt, next or want", Err: err}
	}
	return state, text(reply[0]) == "1", nil
}

func (s *Store) laneState(fields, start map[string]string) (LaneState, error) {
	state := LaneState{Cursors: make([]string, len(s.shards))}
	for shard := range state.Cursors {
		switch cursor, from := fields[cursorField(shard)], start[startField(shard)]; {
		case cursor != "":
			state.Cursors[shard] = cursor
		case from != "":
			state.Cursors[shard] = from
		default:
			state.Cursors[shard] = startOfLog
		}
	}
	n := numbers{from: fields}
	state.Attempt = int(n.get("attempt"))
	state.NextAt = credential.Millis(n.get("next"))
	state.Want = uint64(max(n.get("want"), 0))
	return state, n.err
}

// LaneAdvance moves a lane's cursor of one shard past what was delivered, and
// extends the lease. Failures before count no more. The error is
// [ErrLeaseLost] if the lane is not the holder's any longer.
func (s *Store) LaneAdvance(ctx context.Context, sub string, lane int, holder credential.Nonce, shard int, cursor string) error {
	keys, err := laneKeys(sub, lane)
	if err != nil {
		return err
	}
	if _, err := s.ofShard(shard); err != nil {
		return err
	}
	n, err := s.runInt(ctx, s.scripts.laneAdvance, keys[:1], holder.String(), cursorField(shard), cursor)
	return heldOr(n, laneError("advance", err))
}

// LaneFail gives a lane back after attempt failures in a row, and leaves it
// alone for as long as wait says, by Redis's clock: a process whose own is off
// must not put a delivery off by that much. The error is [ErrLeaseLost] as
// above.
func (s *Store) LaneFail(ctx context.Context, sub string, lane int, holder credential.Nonce, attempt int, wait time.Duration) error {
	keys, err := laneKeys(sub, lane)
	if err != nil {
		return err
	}
	n, err := s.runInt(ctx, s.scripts.laneFail, keys[:1], holder.String(), attempt, wait.Milliseconds())
	return heldOr(n, laneError("fail", err))
}

// LaneDone gives back a lane whose end was reached, unless it was notified
// since it had the wants that the holder saw before: then again is true, and
// the lane stays with its holder. The error is [ErrLeaseLost] as above.
func (s *Store) LaneDone(ctx context.Context, sub string, lane int, holder credential.Nonce, seen uint64) (again bool, err error) {
	keys, err := laneKeys(sub, lane)
	if err != nil {
		return false, err
	}
	n, err := s.runInt(ctx, s.scripts.laneEnd, keys[:1], holder.String(), seen)
	switch {
	case err != nil:
		return false, laneError("finish", err)
	case n < 0:
		return false, ErrLeaseLost
	default:
		return n == 1, nil
	}
}

// LanesPending returns the lanes that have something to deliver, are held by
// nobody and may be delivered at now: those whose holder died, whose next
// attempt has come, or whose task was lost.
func (s *Store) LanesPending(ctx context.Context, sub string, now credential.Millis) ([]int, error) {
	if err := checkName("subscription", sub); err != nil {
		return nil, err
	}
	reply, err := s.runList(ctx, s.scripts.lanesPending, subKeys(sub), int64(now))
	if err != nil {
		return nil, laneError("look for pending lanes", err)
	}
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

// Disable stops the delivery of a subscription. Its cursors stay.
func (s *Store) Disable(ctx context.Context, sub, reason string) error {
	if err := checkName("subscription", sub); err != nil {
		return err
	}
	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	key := keySub(sub)
	if err := s.client.HSet(ctx, key, "disabled", reason, "since", int64(now)).Err(); err != nil {
		return laneError("disable", s.explain(ctx, err, key))
	}
	return nil
}

// Enable goes on with a disabled subscription from where it stopped, at once.
func (s *Store) Enable(ctx context.Context, sub string) error {
	if err := checkName("subscription", sub); err != nil {
		return err
	}
	_, err := s.runInt(ctx, s.scripts.subEnable, subKeys(sub))
	return laneError("enable", err)
}

// Subscription tells whether a subscription is disabled, and why.
func (s *Store) Subscription(ctx context.Context, sub string) (SubscriptionState, error) {
	if err := checkName("subscription", sub); err != nil {
		return SubscriptionState{}, err
	}
	key := keySub(sub)
	fields, err := s.client.HGetAll(ctx, key).Result()
	if err != nil {
		return SubscriptionState{}, laneError("read", s.explain(ctx, err, key))
	}
	reason, disabled := fields["disabled"]
	n := numbers{from: fields}
	state := SubscriptionState{Disabled: disabled, Reason: reason, Since: credential.Millis(n.get("since"))}
	if n.err != nil {
		return SubscriptionState{}, &CorruptError{Key: key, Field: "since", Err: n.err}
	}
	return state, nil
}

func laneKeys(sub string, lane int) ([]string, error) {
	if err := checkName("subscription", sub); err != nil {
		return nil, err
	}
	if lane < 0 || lane >= Lanes {
		return nil, fmt.Errorf("%w: %d of %d", errLane, lane, Lanes)
	}
	return []string{keyLane(sub, lane), keySub(sub)}, nil
}

// subKeys are a subscription's own key and those of all its lanes.
func subKeys(sub string) []string {
	keys := append(make([]string, 0, 1+Lanes), keySub(sub))
	for lane := range Lanes {
		keys = append(keys, keyLane(sub, lane))
	}
	return keys
}

func cursorField(shard int) string { return "c" + strconv.Itoa(shard) }
func startField(shard int) string  { return "f" + strconv.Itoa(shard) }

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

// numbers reads whole numbers out of a hash; what is missing or empty is 0.
type numbers struct {
	from map[string]string
	err  error
}

func (n *numbers) get(name string) int64 {
	value := strings.TrimSpace(n.from[name])
	if value == "" {
		return 0
	}
	number, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		n.err = errNumber
	}
	return number
}
