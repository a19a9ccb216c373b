package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/internal/credential"
)

// SubscriptionState tells how the delivery of a subscription stands.
type SubscriptionState struct {
	Disabled bool
	Reason   string            // [credential.ReasonGone] or [credential.ReasonUndeliverable], "" while it is not disabled
	Why      string            // what came of the last delivery before it was disabled; bare
	Event    string            // ID of the event that could not be delivered then
	Since    credential.Millis // when it was disabled

	Open    bool              // the breaker of its endpoint is open
	HeldTo  credential.Millis // nothing is delivered before this moment; 0 if it is not held
	Lagging bool              // it was announced that it lags behind
}

// Audit is what was found when all lanes of a subscription were looked over.
type Audit struct {
	SubscriptionState

	// Pending are the lanes that have something to deliver, are held by nobody
	// and may be delivered: those whose holder died, whose next delivery has
	// come, or whose task was lost. While the breaker is open it is one.
	Pending []int
	// Oldest is the moment of the oldest event that is still to be delivered,
	// 0 if there is none.
	Oldest credential.Millis
}

// StartSubscription fixes where a new subscription starts, by shard: positions
// in the event logs. It changes nothing for one that is known already. It
// returns how far lanes were told of news, by shard.
func (s *Store) StartSubscription(ctx context.Context, sub string, from []string) (notified []string, err error) {
	if err := checkName("subscription", sub); err != nil {
		return nil, err
	}
	if len(from) != len(s.shards) {
		return nil, fmt.Errorf("start of a subscription: %d positions for %d shards", len(from), len(s.shards))
	}
	key := keySub(sub)
	pipe := s.client.TxPipeline()
	for shard := range from {
		pipe.HSetNX(ctx, key, startField(shard), from[shard])
	}
	all := pipe.HGetAll(ctx, key)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("start of a subscription: %w", s.explain(ctx, err, key))
	}
	return s.notified(all.Val()), nil
}

// AuditLanes looks over all lanes of a subscription. Where the event log is
// still to be told that it was disabled or lags, that is done.
func (s *Store) AuditLanes(ctx context.Context, sub string) (Audit, error) {
	if err := checkName("subscription", sub); err != nil {
		return Audit{}, err
	}
	reply, err := s.runList(ctx, s.scripts.lanesAudit, subKeys(sub))
	if err != nil {
		return Audit{}, laneError("audit", err)
	}
	if len(reply) != 3 {
		return Audit{}, errReply
	}
	list, ok := reply[0].([]any)
	oldest, ok2 := reply[1].(int64)
	if !ok || !ok2 {
		return Audit{}, errReply
	}
	fields, err := pairs(reply[2])
	if err != nil {
		return Audit{}, err
	}
	found := Audit{Oldest: credential.Millis(oldest)}
	if found.Pending, err = laneNumbers(list); err != nil {
		return Audit{}, err
	}
	if found.SubscriptionState, err = subscriptionState(keySub(sub), fields); err != nil {
		return Audit{}, err
	}
	return found, s.announce(ctx, sub, fields)
}

// Enable has a subscription delivered at once, from where it stopped: one that
// is disabled is enabled, and one that waits for its receiver need not.
func (s *Store) Enable(ctx context.Context, sub string) error {
	if err := checkName("subscription", sub); err != nil {
		return err
	}
	_, err := s.runInt(ctx, s.scripts.subEnable, subKeys(sub))
	return laneError("enable", err)
}

// Replay moves all lanes of a subscription to the positions from, by shard,
// back or forward, and has them delivered from there at once; what is behind
// the log's end becomes its end. Whoever holds a lane loses it, so that what he
// delivers meanwhile moves nothing. A disabled subscription is enabled by it.
// Where entries after a position were trimmed it goes on from the oldest that
// is left, and reset is true. To begin with the entries of a moment, pass the
// largest position of the millisecond before it.
func (s *Store) Replay(ctx context.Context, sub string, from []string) (reset bool, err error) {
	if err := checkName("subscription", sub); err != nil {
		return false, err
	}
	if len(from) != len(s.shards) {
		return false, fmt.Errorf("replay of a subscription: %d positions for %d shards", len(from), len(s.shards))
	}
	args := make([]any, len(from))
	for shard, position := range from {
		at, err := parsePosition(position)
		if err != nil {
			return false, fmt.Errorf("replay of a subscription: %w", err)
		}
		args[shard] = position
		trimmed, err := s.TrimmedTo(ctx, shard)
		if err != nil {
			return false, err
		}
		if gone, err := parsePosition(trimmed); err != nil {
			return false, &CorruptError{Key: s.shards[shard].trimmed, Field: "position", Err: err}
		} else if gone.after(at) {
			args[shard], reset = trimmed, true
			continue
		}
		last, err := s.LastEvent(ctx, shard)
		if err != nil {
			return false, err
		}
		if end, err := parsePosition(last); err != nil || at.after(end) {
			args[shard] = last
		}
	}
	if _, err := s.runInt(ctx, s.scripts.subReplay, subKeys(sub), args...); err != nil {
		return false, laneError("replay", err)
	}
	return reset, nil
}

// Subscription tells how the delivery of a subscription stands.
func (s *Store) Subscription(ctx context.Context, sub string) (SubscriptionState, error) {
	if err := checkName("subscription", sub); err != nil {
		return SubscriptionState{}, err
	}
	key := keySub(sub)
	fields, err := s.client.HGetAll(ctx, key).Result()
	if err != nil {
		return SubscriptionState{}, laneError("read", s.explain(ctx, err, key))
	}
	return subscriptionState(key, fields)
}

func subscriptionState(key string, fields map[string]string) (SubscriptionState, error) {
	n := numbers{from: fields}
	state := SubscriptionState{
		Reason: fields["disabled"], Why: fields["why"], Event: fields["stuck"], Since: credential.Millis(n.get("since")),
		Open: fields["open"] != "", HeldTo: credential.Millis(n.get("hold")), Lagging: fields["lagging"] != "",
	}
	_, state.Disabled = fields["disabled"]
	if n.err != nil {
		return SubscriptionState{}, &CorruptError{Key: key, Field: "since or hold", Err: n.err}
	}
	return state, nil
}

// subKeys are a subscription's own key and those of all its lanes.
func subKeys(sub string) []string {
	keys := append(make([]string, 0, 1+Lanes), keySub(sub))
	for lane := range Lanes {
		keys = append(keys, keyLane(sub, lane))
	}
	return keys
}

// notified reads how far lanes were told of news; of a subscription to which
// that never happened it is where it starts.
func (s *Store) notified(sub map[string]string) []string {
	positions := s.starts(sub)
	for shard := range positions {
		if told := sub[notifiedField(shard)]; told != "" {
			positions[shard] = told
		}
	}
	return positions
}

// starts reads where a subscription starts, by shard; that is the log's start unless it was fixed.
func (s *Store) starts(sub map[string]string) []string {
	positions := make([]string, len(s.shards))
	for shard := range positions {
		if positions[shard] = sub[startField(shard)]; positions[shard] == "" {
			positions[shard] = startOfLog
		}
	}
	return positions
}

// place is a position in an event log, taken apart so that it can be compared.
type place struct{ ms, n uint64 }

var errPosition = errors.New("not a position in an event log")

func parsePosition(text string) (place, error) {
	ms, n, dashed := strings.Cut(text, "-")
	var p place
	var err error
	if p.ms, err = strconv.ParseUint(ms, 10, 64); err != nil {
		return place{}, fmt.Errorf("%q is %w", text, errPosition)
	}
	if dashed {
		if p.n, err = strconv.ParseUint(n, 10, 64); err != nil {
			return place{}, fmt.Errorf("%q is %w", text, errPosition)
		}
	}
	return p, nil
}

func (p place) after(other place) bool {
	return p.ms > other.ms || (p.ms == other.ms && p.n > other.n)
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
