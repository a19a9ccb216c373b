package storetest

import (
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

const (
	sub  = "ui"
	lane = 7
)

// waits is a schedule of deliveries that no test waits for.
func waits() []time.Duration {
	return []time.Duration{0, time.Hour, 2 * time.Hour, 3 * time.Hour}
}

// notifyLanes tells lanes of news that may stand anywhere in the log.
func (b *bundle) notifyLanes(lanes ...int) []int {
	b.Helper()
	from := b.positions("0")
	enqueue, err := b.store.LanesNotify(b.ctx, sub, lanes, from, from)
	require.NoError(b, err)
	return enqueue
}

func (b *bundle) notify() bool { b.Helper(); return len(b.notifyLanes(lane)) == 1 }

// positions is one position for every shard.
func (b *bundle) positions(at string) []string {
	list := make([]string, b.store.Shards())
	for i := range list {
		list[i] = at
	}
	return list
}

func (b *bundle) take(holder credential.Nonce, lease time.Duration) (store.LaneState, bool) {
	b.Helper()
	return b.takeLane(lane, holder, lease)
}

func (b *bundle) takeLane(lane int, holder credential.Nonce, lease time.Duration) (store.LaneState, bool) {
	b.Helper()
	state, taken, err := b.store.LaneTake(b.ctx, sub, lane, holder, lease)
	require.NoError(b, err)
	return state, taken
}

func (b *bundle) audit() store.Audit {
	b.Helper()
	found, err := b.store.AuditLanes(b.ctx, sub)
	require.NoError(b, err)
	return found
}

func (b *bundle) pending() []int { b.Helper(); return b.audit().Pending }

func (b *bundle) advance(lane int, holder credential.Nonce, cursor string, done *store.Delivery) (store.Advanced, error) {
	return b.store.LaneAdvance(b.ctx, sub, lane, holder, []string{cursor}, done, b.now)
}

func failure(event string) store.Failure {
	return store.Failure{
		Delivery: store.Delivery{Event: event, Type: "credential.refreshed", Credential: "alice", Lane: lane, Attempt: 1, Result: "refused", Status: 500, Error: "the receiver answered 500"},
		Schedule: waits(), ULID: newNonce(), EventAt: 1_800_000_000_000,
	}
}

// failLane takes a lane and has a delivery of it fail.
func (b *bundle) failLane(lane int, change func(*store.Failure)) store.Verdict {
	b.Helper()
	holder := newNonce()
	_, taken := b.takeLane(lane, holder, time.Hour)
	require.True(b, taken, "lane %d", lane)
	f := failure("alice/1/00000000")
	if change != nil {
		change(&f)
	}
	verdict, err := b.store.LaneFail(b.ctx, sub, lane, holder, f)
	require.NoError(b, err)
	return verdict
}

func lanesLife(b *bundle) {
	assert.Empty(b, b.pending())
	assert.True(b, b.notify())
	assert.Equal(b, []int{lane}, b.pending(), "its task may be lost")
	assert.GreaterOrEqual(b, b.audit().Oldest, b.now)
	holder := newNonce()
	state, taken := b.take(holder, time.Hour)
	require.True(b, taken)
	assert.Equal(b, uint64(1), state.Want)
	assert.Zero(b, state.Attempt)
	assert.Equal(b, b.positions("0"), state.Cursors)
	assert.Empty(b, b.pending())
	to, err := b.advance(lane, holder, "12-3", nil)
	require.NoError(b, err)
	assert.Equal(b, store.AdvancedOn, to)
	again, err := b.store.LaneDone(b.ctx, sub, lane, holder, state.Want, []string{"13-0"})
	require.NoError(b, err)
	assert.False(b, again)
	again, err = b.store.LaneDone(b.ctx, sub, lane, holder, state.Want, nil)
	require.NoError(b, err)
	assert.False(b, again, "said twice")
	_, err = b.advance(lane, holder, "14-0", nil)
	require.ErrorIs(b, err, store.ErrLeaseLost, "it was given back")
	assert.Empty(b, b.pending())
	assert.Zero(b, b.audit().Oldest)
	holder = newNonce()
	state, taken = b.take(holder, time.Hour)
	assert.True(b, taken)
	assert.Equal(b, "13-0", state.Cursors[0])
	require.NoError(b, b.store.LaneLeave(b.ctx, sub, lane, holder, []string{"14-0"}))
	state, taken = b.take(newNonce(), time.Hour)
	assert.True(b, taken, "left")
	assert.Equal(b, "14-0", state.Cursors[0])
	for _, bad := range []int{-1, store.Lanes} {
		_, err := b.store.LanesNotify(b.ctx, sub, []int{bad}, b.positions("0"), b.positions("0"))
		require.Error(b, err)
		_, _, err = b.store.LaneTake(b.ctx, sub, bad, holder, time.Hour)
		require.Error(b, err)
	}
}

// A lane that is owed nothing begins behind what was looked through; one that
// is, where it stands. How far was looked only grows.
func lanesNews(b *bundle) {
	last := b.store.Shards() - 1
	tell := func(from, upto string) {
		_, err := b.store.LanesNotify(b.ctx, sub, []int{lane}, b.positions(from), b.positions(upto))
		require.NoError(b, err)
	}
	_, err := b.store.LanesNotify(b.ctx, sub, nil, b.positions("0"), b.positions("5-9")) // nothing that is wanted
	require.NoError(b, err)
	_, err = b.store.LanesNotify(b.ctx, sub, []int{lane}, b.positions("5-10"), b.positions("10-2"))
	require.ErrorIs(b, err, store.ErrToldLess, "what was told in between is not known any more")
	assert.Empty(b, b.pending(), "and nothing was noted")
	tell("5-9", "10-2")
	holder := newNonce()
	state, _ := b.take(holder, time.Hour)
	assert.Equal(b, "5-9", state.Cursors[last])
	assert.Equal(b, "10-2", state.Notified[last])
	tell("5-10", "9-0")
	require.NoError(b, b.store.LaneLeave(b.ctx, sub, lane, holder, nil))
	state, _ = b.take(holder, time.Hour)
	assert.Equal(b, "5-9", state.Cursors[last], "it is still owed what stands behind it")
	assert.Equal(b, "10-2", state.Notified[last])
	again, err := b.store.LaneDone(b.ctx, sub, lane, holder, state.Want, b.positions("10-2"))
	require.NoError(b, err)
	require.False(b, again)
	tell("9-0", "12-0")
	state, _ = b.take(holder, time.Hour)
	assert.Equal(b, "10-2", state.Cursors[last], "and never back")
	notified, err := b.store.StartSubscription(b.ctx, sub, b.positions("77-0"))
	require.NoError(b, err)
	assert.Equal(b, b.positions("12-0"), notified)
	_, err = b.store.LanesNotify(b.ctx, sub, nil, nil, nil)
	require.Error(b, err)
}

func lanesOneHolder(b *bundle) {
	b.notify()
	var taken atomic.Int32
	b.atOnce(20, func(int) error {
		_, ok, err := b.store.LaneTake(b.ctx, sub, lane, newNonce(), time.Hour)
		if ok {
			taken.Add(1)
		}
		return err
	})
	assert.Equal(b, int32(1), taken.Load())
	assert.False(b, b.notify(), "its holder will see it")
	stranger := newNonce()
	_, err := b.advance(lane, stranger, "1-0", nil)
	require.ErrorIs(b, err, store.ErrLeaseLost)
	_, err = b.store.LaneFail(b.ctx, sub, lane, stranger, failure("x"))
	require.ErrorIs(b, err, store.ErrLeaseLost)
	require.ErrorIs(b, b.store.LaneLeave(b.ctx, sub, lane, stranger, nil), store.ErrLeaseLost)
	_, err = b.store.LaneDone(b.ctx, sub, lane, stranger, 1, nil)
	require.ErrorIs(b, err, store.ErrLeaseLost)
}

func lanesFail(b *bundle) {
	b.notify()
	holder := newNonce()
	_, taken := b.take(holder, time.Hour)
	require.True(b, taken)
	earliest := b.clock().Add(time.Hour)
	first := failure("alice/1/00000000")
	verdict, err := b.store.LaneFail(b.ctx, sub, lane, holder, first)
	require.NoError(b, err)
	assert.Equal(b, store.Verdict{Wait: time.Hour, Attempt: 1}, verdict)
	verdict, err = b.store.LaneFail(b.ctx, sub, lane, holder, first)
	require.NoError(b, err, "said twice")
	assert.Equal(b, 1, verdict.Attempt, "and counted once")
	latest := b.clock().Add(time.Hour)
	assert.False(b, b.notify(), "it waits")
	found := b.audit()
	assert.Empty(b, found.Pending)
	assert.Equal(b, first.EventAt, found.Oldest)
	state, taken := b.take(newNonce(), time.Hour)
	assert.False(b, taken)
	assert.Equal(b, 1, state.Attempt)
	assert.GreaterOrEqual(b, state.NextAt, earliest, "by the store's clock")
	assert.LessOrEqual(b, state.NextAt, latest)

	other := lane + 1
	b.notifyLanes(other)
	quick := func(f *store.Failure) { f.Schedule = []time.Duration{0, 10 * time.Millisecond, time.Hour} }
	assert.Equal(b, 1, b.failLane(other, quick).Attempt)
	holder = newNonce()
	b.eventually(func() bool {
		_, taken := b.takeLane(other, holder, time.Hour)
		return taken
	}, "its next delivery")
	done := store.Delivery{Event: "alice/1/00000000", Type: "credential.refreshed", Credential: "alice", Lane: other, Attempt: 2, Took: time.Millisecond, Result: "delivered", Status: 204}
	_, err = b.advance(other, holder, "5-0", &done)
	require.NoError(b, err)
	state, _ = b.takeLane(other, holder, time.Hour)
	assert.Zero(b, state.Attempt, "a success forgets the failures")

	list, err := b.store.Deliveries(b.ctx, sub, 10)
	require.NoError(b, err)
	require.Len(b, list, 3)
	assert.GreaterOrEqual(b, list[0].At, b.now)
	done.At = list[0].At
	assert.Equal(b, done, list[0], "the newest first")
	first.Delivery.At = list[2].At
	assert.Equal(b, first.Delivery, list[2])
	list, err = b.store.Deliveries(b.ctx, sub, 1)
	require.NoError(b, err)
	assert.Len(b, list, 1)
	for range 110 {
		_, err = b.advance(other, holder, "", &done)
		require.NoError(b, err)
	}
	list, err = b.store.Deliveries(b.ctx, sub, 1000)
	require.NoError(b, err)
	assert.Len(b, list, 100)
}

func lanesLease(b *bundle) {
	b.notify()
	dead, next := newNonce(), newNonce()
	_, taken := b.take(dead, 10*time.Millisecond)
	require.True(b, taken)
	b.eventually(func() bool { return len(b.pending()) == 1 }, "the lane of a holder that died")
	_, err := b.advance(lane, dead, "4-0", nil)
	require.NoError(b, err, "nobody else took it")
	b.eventually(func() bool {
		_, taken := b.take(next, time.Hour)
		return taken
	}, "the lease ends")
	_, err = b.advance(lane, dead, "9-0", nil)
	require.ErrorIs(b, err, store.ErrLeaseLost)
	state, taken := b.take(next, time.Hour)
	assert.True(b, taken, "its holder may take it again")
	assert.Equal(b, "4-0", state.Cursors[0])
}

func lanesAgain(b *bundle) {
	b.notify()
	holder := newNonce()
	state, _ := b.take(holder, time.Hour)
	assert.False(b, b.notify())
	again, err := b.store.LaneDone(b.ctx, sub, lane, holder, state.Want, nil)
	require.NoError(b, err)
	assert.True(b, again, "something came meanwhile")
	state, taken := b.take(holder, time.Hour)
	require.True(b, taken)
	again, err = b.store.LaneDone(b.ctx, sub, lane, holder, state.Want, nil)
	require.NoError(b, err)
	assert.False(b, again)
	assert.True(b, b.notify(), "it needs a task again")
}

func lanesStart(b *bundle) {
	notified, err := b.store.StartSubscription(b.ctx, sub, b.positions("77-0"))
	require.NoError(b, err)
	assert.Equal(b, b.positions("77-0"), notified)
	notified, err = b.store.StartSubscription(b.ctx, sub, b.positions("99-0"))
	require.NoError(b, err)
	assert.Equal(b, b.positions("77-0"), notified, "it is known")
	state, _ := b.take(newNonce(), time.Hour)
	assert.Equal(b, b.positions("77-0"), state.Cursors)
	_, err = b.store.StartSubscription(b.ctx, sub, nil)
	require.Error(b, err)
}
