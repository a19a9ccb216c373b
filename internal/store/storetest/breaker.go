package storetest

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

// fiveFail has the first deliveries of five lanes fail, with the waits given.
func (b *bundle) fiveFail(schedule ...time.Duration) (verdict store.Verdict) {
	b.Helper()
	for lane := range 5 {
		b.notifyLanes(lane)
		verdict = b.failLane(lane, func(f *store.Failure) { f.Schedule = schedule })
		require.Equal(b, lane == 4, verdict.Open, "after %d failures", lane+1)
	}
	return verdict
}

// Five failures in a row open the breaker; then one lane at a time makes a
// probe, and the first success lets all lanes go on.
func breakerLife(b *bundle) {
	verdict := b.fiveFail(0, 10*time.Millisecond, time.Hour, time.Hour)
	assert.Equal(b, 1, verdict.Attempt)
	const fresh = 9
	b.notifyLanes(fresh)
	assert.True(b, b.audit().Open)
	b.eventually(func() bool { return len(b.pending()) > 0 }, "the endpoint's wait is over")
	assert.Equal(b, []int{fresh}, b.pending(), "one lane makes the probe: it has failed the longest ago, or never")
	prober := newNonce()
	state, taken := b.takeLane(fresh, prober, time.Hour)
	require.True(b, taken)
	assert.Equal(b, 1, state.Attempt, "of the endpoint")
	assert.Empty(b, b.pending())
	_, taken = b.takeLane(0, newNonce(), time.Hour)
	assert.False(b, taken, "one probe at a time")
	assert.Empty(b, b.notifyLanes(10))

	f := failure("bob/1/00000000")
	verdict, err := b.store.LaneFail(b.ctx, sub, fresh, prober, f)
	require.NoError(b, err)
	assert.Equal(b, store.Verdict{Open: true, Wait: 2 * time.Hour, Attempt: 2}, verdict)
	assert.Empty(b, b.pending(), "the endpoint waits")
	state, taken = b.takeLane(fresh, newNonce(), time.Hour)
	assert.False(b, taken)
	assert.Zero(b, state.Attempt, "the probe was no failure of the lane's")
	assert.Positive(b, b.subscription().HeldTo)

	require.NoError(b, b.store.Enable(b.ctx, sub))
	assert.Equal(b, []int{0, 1, 2, 3, 4, fresh, 10}, b.pending(), "whoever put the receiver right need not wait")
	assert.Equal(b, store.SubscriptionState{}, b.subscription())
}

// A delivery that succeeds closes the breaker, also one that was under way when
// it opened.
func breakerCloses(b *bundle) {
	b.notifyLanes(20)
	under := newNonce()
	_, taken := b.takeLane(20, under, time.Hour)
	require.True(b, taken)
	b.fiveFail(waits()...)
	_, taken = b.takeLane(20, under, time.Hour)
	require.True(b, taken, "what is under way may be brought to its end")
	to, err := b.advance(20, under, "3-0", &store.Delivery{Event: "x"})
	require.NoError(b, err)
	assert.Equal(b, store.AdvancedClosed, to)
	assert.Equal(b, []int{0, 1, 2, 3, 4}, b.pending(), "at once: it was the endpoint's failure that they waited for")
	assert.Equal(b, store.SubscriptionState{}, b.subscription())
	assert.Equal(b, 2, b.failLane(0, nil).Attempt)
	assert.Equal(b, []int{1, 2, 3, 4}, b.pending(), "what fails now waits again")
}

// A failure that was under way when the breaker opened is not one of the
// endpoint's schedule.
func breakerUnderWay(b *bundle) {
	b.notifyLanes(20, 21)
	late, left := newNonce(), newNonce()
	_, taken := b.takeLane(20, late, time.Hour)
	require.True(b, taken)
	b.fiveFail(0, 10*time.Millisecond, time.Hour, time.Hour)
	verdict, err := b.store.LaneFail(b.ctx, sub, 20, late, failure("x"))
	require.NoError(b, err)
	assert.Equal(b, 1, verdict.Attempt)
	assert.True(b, verdict.Open)

	b.eventually(func() bool { _, taken := b.takeLane(21, left, time.Hour); return taken }, "a probe")
	require.NoError(b, b.store.LaneLeave(b.ctx, sub, 21, left, nil))
	assert.Len(b, b.pending(), 1, "the probe was left to whoever comes next")
	state, taken := b.takeLane(20, late, time.Hour)
	require.True(b, taken)
	again, err := b.store.LaneDone(b.ctx, sub, 20, late, state.Want, nil)
	require.NoError(b, err)
	assert.False(b, again)
	assert.Len(b, b.pending(), 1, "there was nothing to make a probe with")
	dead := newNonce()
	_, taken = b.takeLane(21, dead, 10*time.Millisecond)
	require.True(b, taken)
	b.eventually(func() bool { return len(b.pending()) == 1 }, "the lease of a probe that died")
}

// An event that the receiver takes from nobody is no reason to hold the others.
func breakerPoison(b *bundle) {
	quick := func(f *store.Failure) {
		f.Schedule = []time.Duration{0, 1, 1, 1, 1, 1, 1, 1, time.Hour}
	}
	b.notify()
	for attempt := range 7 {
		holder := newNonce()
		b.eventually(func() bool { _, taken := b.take(holder, time.Hour); return taken }, "its next delivery")
		f := failure("x")
		quick(&f)
		verdict, err := b.store.LaneFail(b.ctx, sub, lane, holder, f)
		require.NoError(b, err)
		require.Equal(b, attempt+1, verdict.Attempt)
		require.False(b, verdict.Open)
	}
	assert.Equal(b, []int{8}, b.notifyLanes(8))
	_, taken := b.takeLane(8, newNonce(), time.Hour)
	assert.True(b, taken)
}

// What a receiver asks for holds all lanes.
func breakerRetryAfter(b *bundle) {
	b.notifyLanes(1, 2, 3)
	holder := newNonce()
	_, taken := b.takeLane(3, holder, time.Hour)
	require.True(b, taken)
	verdict := b.failLane(1, func(f *store.Failure) { f.RetryAfter = 90 * time.Minute })
	assert.Equal(b, store.Verdict{Wait: 90 * time.Minute, Attempt: 1}, verdict)
	_, taken = b.takeLane(2, newNonce(), time.Hour)
	assert.False(b, taken)
	assert.Empty(b, b.pending())
	assert.Empty(b, b.notifyLanes(4))
	to, err := b.advance(3, holder, "9-0", &store.Delivery{Event: "x"})
	require.NoError(b, err)
	assert.Equal(b, store.AdvancedStop, to, "who delivers stops")
}

func (b *bundle) subscription() store.SubscriptionState {
	b.Helper()
	state, err := b.store.Subscription(b.ctx, sub)
	require.NoError(b, err)
	return state
}

// disabledEvents are the events about the subscription in the log.
func (b *bundle) notices() (list []credential.Event) {
	b.Helper()
	for shard := range b.store.Shards() {
		entries, err := b.store.Events(b.ctx, shard, "0", 100, 0)
		require.NoError(b, err)
		for _, entry := range entries {
			list = append(list, entry.Event)
		}
	}
	return list
}

// At the schedule's end the subscription is disabled, its cursors stay, and the
// event log tells of it once, however many replicas look.
func lanesDisabled(b *bundle) {
	b.notify()
	holder := newNonce()
	_, taken := b.take(holder, time.Hour)
	require.True(b, taken)
	f := failure("alice/7/12345678")
	f.Gone, f.Cursors = true, []string{"8-0"}
	verdict, err := b.store.LaneFail(b.ctx, sub, lane, holder, f)
	require.NoError(b, err)
	assert.True(b, verdict.Disabled)
	verdict, err = b.store.LaneFail(b.ctx, sub, lane, holder, f)
	require.NoError(b, err)
	assert.True(b, verdict.Disabled, "said twice")
	state := b.subscription()
	assert.GreaterOrEqual(b, state.Since, b.now)
	assert.Equal(b, store.SubscriptionState{
		Disabled: true, Reason: string(credential.ReasonGone), Why: "the receiver answered 500", Event: "alice/7/12345678", Since: state.Since,
	}, state)
	assert.False(b, b.notify())
	b.atOnce(5, func(int) error { _, err := b.store.AuditLanes(b.ctx, sub); return err })
	notices := b.notices()
	require.Len(b, notices, 1)
	assert.Equal(b, credential.Event{
		Type: credential.EventSubscriptionDisabled, InitiatedBy: credential.BySchedule, Reason: credential.ReasonGone, Nonce: f.ULID,
		Notice: credential.Notice{Subscription: sub, Since: state.Since, Oldest: f.EventAt, Event: "alice/7/12345678"},
	}, notices[0])
	found := b.audit()
	assert.Empty(b, found.Pending)
	assert.Equal(b, f.EventAt, found.Oldest, "it is still owed")
	_, taken = b.take(newNonce(), time.Hour)
	assert.False(b, taken)

	require.NoError(b, b.store.Enable(b.ctx, sub))
	require.NoError(b, b.store.Enable(b.ctx, sub), "said twice")
	assert.Equal(b, store.SubscriptionState{}, b.subscription())
	assert.Equal(b, []int{lane}, b.pending(), "at once, not after what was left of a wait")
	laneState, taken := b.take(newNonce(), time.Hour)
	assert.True(b, taken)
	assert.Equal(b, "8-0", laneState.Cursors[0], "its cursor stayed")
	assert.Equal(b, uint64(2), laneState.Want, "what came meanwhile counts")
	assert.Len(b, b.notices(), 1)
}

// A dead endpoint goes through the schedule once, not once for each lane.
func breakerEnds(b *bundle) {
	b.fiveFail(0, 1, 1, 1)
	for attempt := 2; ; attempt++ {
		var at int
		b.eventually(func() bool {
			pending := b.pending()
			if len(pending) == 1 {
				at = pending[0]
			}
			return len(pending) == 1
		}, "the next probe")
		verdict := b.failLane(at, func(f *store.Failure) { f.Schedule = []time.Duration{0, 1, 1, 1} })
		require.Equal(b, attempt, verdict.Attempt)
		if verdict.Disabled {
			break
		}
		require.Less(b, attempt, 4)
	}
	assert.Equal(b, string(credential.ReasonUndeliverable), b.subscription().Reason)
	b.audit()
	assert.Len(b, b.notices(), 1)
}

// A replay moves every lane, and what its holders do afterwards moves nothing.
func lanesReplay(b *bundle) {
	b.apply(b.login("alice", 0), b.login("bob", 0))
	b.notify()
	holder := newNonce()
	_, taken := b.take(holder, time.Hour)
	require.True(b, taken)
	b.notifyLanes(8)
	b.failLane(8, func(f *store.Failure) { f.Gone = true })
	b.audit() // the log tells of it
	end := make([]string, b.store.Shards())
	for shard := range end {
		var err error
		end[shard], err = b.store.LastEvent(b.ctx, shard)
		require.NoError(b, err)
	}
	reset, err := b.store.Replay(b.ctx, sub, b.positions("99999999999999-0"))
	require.NoError(b, err)
	assert.False(b, reset)
	assert.False(b, b.subscription().Disabled)
	_, err = b.advance(lane, holder, "999-0", nil)
	require.ErrorIs(b, err, store.ErrLeaseLost)
	_, err = b.store.LaneFail(b.ctx, sub, lane, holder, failure("x"))
	require.ErrorIs(b, err, store.ErrLeaseLost)
	_, err = b.store.LaneDone(b.ctx, sub, lane, holder, 1, nil)
	require.ErrorIs(b, err, store.ErrLeaseLost)
	require.ErrorIs(b, b.store.LaneLeave(b.ctx, sub, lane, holder, nil), store.ErrLeaseLost)
	assert.Len(b, b.pending(), store.Lanes)
	state, taken := b.takeLane(8, newNonce(), time.Hour)
	assert.True(b, taken)
	assert.Zero(b, state.Attempt)
	assert.Equal(b, end, state.Cursors, "what is to come is not passed")

	_, err = b.store.TrimEvents(b.ctx, b.clock().Add(time.Hour))
	require.NoError(b, err)
	reset, err = b.store.Replay(b.ctx, sub, b.positions("0"))
	require.NoError(b, err)
	assert.True(b, reset)
	state, _ = b.takeLane(8, newNonce(), time.Hour)
	assert.Equal(b, end, state.Cursors, "from the oldest that is left")
	for _, bad := range [][]string{nil, b.positions("x"), b.positions("$"), b.positions("1-x")} {
		_, err := b.store.Replay(b.ctx, sub, bad)
		require.Error(b, err, fmt.Sprint(bad))
	}
}

// That a subscription lags is noted once, and again after it has caught up.
func lanesLag(b *bundle) {
	for round := range 2 {
		id := newNonce()
		noted, err := b.store.SetLagging(b.ctx, sub, 123, id)
		require.NoError(b, err)
		assert.True(b, noted)
		noted, err = b.store.SetLagging(b.ctx, sub, 123, newNonce())
		require.NoError(b, err)
		assert.False(b, noted)
		assert.True(b, b.audit().Lagging)
		notices := b.notices()
		require.Len(b, notices, round+1)
		assert.Equal(b, credential.EventSubscriptionLagging, notices[round].Type)
		assert.Equal(b, id, notices[round].Nonce)
		assert.EqualValues(b, 123, notices[round].Notice.Oldest)
		require.NoError(b, b.store.ClearLagging(b.ctx, sub))
		assert.False(b, b.audit().Lagging)
	}
}
