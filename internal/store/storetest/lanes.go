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

func (b *bundle) notify() bool {
	b.Helper()
	enqueue, err := b.store.LaneNotify(b.ctx, sub, lane)
	require.NoError(b, err)
	return enqueue
}

func (b *bundle) take(holder credential.Nonce, lease time.Duration) (store.LaneState, bool) {
	b.Helper()
	state, taken, err := b.store.LaneTake(b.ctx, sub, lane, holder, lease)
	require.NoError(b, err)
	return state, taken
}

func (b *bundle) pending() []int {
	b.Helper()
	lanes, err := b.store.LanesPending(b.ctx, sub, b.clock())
	require.NoError(b, err)
	return lanes
}

func lanesLife(b *bundle) {
	assert.Empty(b, b.pending())
	assert.True(b, b.notify())
	assert.Equal(b, []int{lane}, b.pending(), "its task may be lost")
	holder := newNonce()
	state, taken := b.take(holder, time.Hour)
	require.True(b, taken)
	assert.Equal(b, uint64(1), state.Want)
	assert.Zero(b, state.Attempt)
	for _, cursor := range state.Cursors {
		assert.Equal(b, "0", cursor)
	}
	require.Len(b, state.Cursors, b.store.Shards())
	assert.Empty(b, b.pending())
	require.NoError(b, b.store.LaneAdvance(b.ctx, sub, lane, holder, 0, "12-3"))
	again, err := b.store.LaneDone(b.ctx, sub, lane, holder, state.Want)
	require.NoError(b, err)
	assert.False(b, again)
	again, err = b.store.LaneDone(b.ctx, sub, lane, holder, state.Want)
	require.NoError(b, err)
	assert.False(b, again, "said twice")
	require.ErrorIs(b, b.store.LaneAdvance(b.ctx, sub, lane, holder, 0, "13-0"), store.ErrLeaseLost, "it was given back")
	assert.Empty(b, b.pending())
	state, taken = b.take(newNonce(), time.Hour)
	assert.True(b, taken)
	assert.Equal(b, "12-3", state.Cursors[0])
	for _, bad := range []int{-1, store.Lanes} {
		_, err := b.store.LaneNotify(b.ctx, sub, bad)
		require.Error(b, err)
	}
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
	require.ErrorIs(b, b.store.LaneAdvance(b.ctx, sub, lane, stranger, 0, "1-0"), store.ErrLeaseLost)
	require.ErrorIs(b, b.store.LaneFail(b.ctx, sub, lane, stranger, 1, 0), store.ErrLeaseLost)
	_, err := b.store.LaneDone(b.ctx, sub, lane, stranger, 1)
	require.ErrorIs(b, err, store.ErrLeaseLost)
}

func lanesFail(b *bundle) {
	b.notify()
	holder := newNonce()
	_, taken := b.take(holder, time.Hour)
	require.True(b, taken)
	earliest := b.clock().Add(time.Hour)
	require.NoError(b, b.store.LaneFail(b.ctx, sub, lane, holder, 3, time.Hour))
	require.NoError(b, b.store.LaneFail(b.ctx, sub, lane, holder, 3, time.Hour), "said twice")
	latest := b.clock().Add(time.Hour)
	assert.False(b, b.notify(), "it waits")
	assert.Empty(b, b.pending())
	lanes, err := b.store.LanesPending(b.ctx, sub, latest)
	require.NoError(b, err)
	assert.Equal(b, []int{lane}, lanes)
	state, taken := b.take(newNonce(), time.Hour)
	assert.False(b, taken)
	assert.Equal(b, 3, state.Attempt)
	assert.GreaterOrEqual(b, state.NextAt, earliest, "by the store's clock")
	assert.LessOrEqual(b, state.NextAt, latest)

	require.NoError(b, b.store.LaneFail(b.ctx, sub, lane, holder, 4, 10*time.Millisecond))
	other := newNonce()
	b.eventually(func() bool {
		_, taken := b.take(other, time.Hour)
		return taken
	}, "its next attempt")
	require.NoError(b, b.store.LaneAdvance(b.ctx, sub, lane, other, 0, "5-0"))
	state, _ = b.take(other, time.Hour)
	assert.Zero(b, state.Attempt, "a success forgets the failures")
}

func lanesLease(b *bundle) {
	b.notify()
	dead, next := newNonce(), newNonce()
	_, taken := b.take(dead, 10*time.Millisecond)
	require.True(b, taken)
	b.eventually(func() bool { return len(b.pending()) == 1 }, "the lane of a holder that died")
	require.NoError(b, b.store.LaneAdvance(b.ctx, sub, lane, dead, 0, "4-0"), "nobody else took it")
	b.eventually(func() bool {
		_, taken := b.take(next, time.Hour)
		return taken
	}, "the lease ends")
	require.ErrorIs(b, b.store.LaneAdvance(b.ctx, sub, lane, dead, 0, "9-0"), store.ErrLeaseLost)
	state, taken := b.take(next, time.Hour)
	assert.True(b, taken, "its holder may take it again")
	assert.Equal(b, "4-0", state.Cursors[0])
}

func lanesAgain(b *bundle) {
	b.notify()
	holder := newNonce()
	state, _ := b.take(holder, time.Hour)
	assert.False(b, b.notify())
	again, err := b.store.LaneDone(b.ctx, sub, lane, holder, state.Want)
	require.NoError(b, err)
	assert.True(b, again, "something came meanwhile")
	state, taken := b.take(holder, time.Hour)
	require.True(b, taken)
	again, err = b.store.LaneDone(b.ctx, sub, lane, holder, state.Want)
	require.NoError(b, err)
	assert.False(b, again)
	assert.True(b, b.notify(), "it needs a task again")
}

func lanesDisabled(b *bundle) {
	b.notify()
	holder := newNonce()
	_, taken := b.take(holder, time.Hour)
	require.True(b, taken)
	require.NoError(b, b.store.LaneAdvance(b.ctx, sub, lane, holder, 0, "8-0"))
	require.NoError(b, b.store.LaneFail(b.ctx, sub, lane, holder, 10, time.Hour))
	require.NoError(b, b.store.Disable(b.ctx, sub, "410 Gone"))
	state, err := b.store.Subscription(b.ctx, sub)
	require.NoError(b, err)
	assert.True(b, state.Disabled)
	assert.Equal(b, "410 Gone", state.Reason)
	assert.GreaterOrEqual(b, state.Since, b.now)
	assert.False(b, b.notify())
	assert.Empty(b, b.pending())
	_, taken = b.take(newNonce(), time.Hour)
	assert.False(b, taken)

	require.NoError(b, b.store.Enable(b.ctx, sub))
	require.NoError(b, b.store.Enable(b.ctx, sub), "said twice")
	state, err = b.store.Subscription(b.ctx, sub)
	require.NoError(b, err)
	assert.Equal(b, store.SubscriptionState{}, state)
	assert.Equal(b, []int{lane}, b.pending(), "at once, not after what was left of a wait")
	laneState, taken := b.take(newNonce(), time.Hour)
	assert.True(b, taken)
	assert.Equal(b, "8-0", laneState.Cursors[0], "its cursor stayed")
	assert.Equal(b, uint64(2), laneState.Want, "what came meanwhile counts")
}

func lanesStart(b *bundle) {
	from := make([]string, b.store.Shards())
	for i := range from {
		from[i] = "77-0"
	}
	created, err := b.store.StartSubscription(b.ctx, sub, from)
	require.NoError(b, err)
	assert.True(b, created)
	late := make([]string, b.store.Shards())
	for i := range late {
		late[i] = "99-0"
	}
	created, err = b.store.StartSubscription(b.ctx, sub, late)
	require.NoError(b, err)
	assert.False(b, created)
	state, _ := b.take(newNonce(), time.Hour)
	assert.Equal(b, from, state.Cursors)
	_, err = b.store.StartSubscription(b.ctx, sub, nil)
	require.Error(b, err)
}
