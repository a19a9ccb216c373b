package storetest

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/store"
)

const task = "fetch:acme"

func (b *bundle) startSlot(slot int64, owner string, lease time.Duration) (store.SlotState, bool) {
	b.Helper()
	state, ok, err := b.store.StartSlot(b.ctx, task, slot, owner, lease)
	require.NoError(b, err)
	return state, ok
}

func slotsOnce(b *bundle) {
	state, err := b.store.Slot(b.ctx, task)
	require.NoError(b, err)
	assert.Equal(b, store.SlotState{}, state)
	var started atomic.Int32
	b.atOnce(10, func(i int) error {
		_, ok, err := b.store.StartSlot(b.ctx, task, 41, fmt.Sprint("owner-", i), time.Hour)
		if ok {
			started.Add(1)
		}
		return err
	})
	assert.Equal(b, int32(1), started.Load())
	state, err = b.store.Slot(b.ctx, task)
	require.NoError(b, err)
	assert.Equal(b, int64(41), state.Running)
	assert.GreaterOrEqual(b, state.StartedAt, b.now)
	runner := state.Owner
	_, ok := b.startSlot(41, runner, time.Hour)
	assert.True(b, ok, "the start repeated")
	state, _ = b.startSlot(42, "late", time.Hour)
	assert.Equal(b, int64(41), state.Running, "an earlier one still runs")

	progress := store.SlotProgress{Cursor: "0:17", Counts: map[string]int64{"seen": 3}}
	require.NoError(b, b.store.SaveSlot(b.ctx, task, 41, runner, progress, time.Hour))
	require.ErrorIs(b, b.store.SaveSlot(b.ctx, task, 41, "other", progress, time.Hour), store.ErrLeaseLost)
	require.ErrorIs(b, b.store.SaveSlot(b.ctx, task, 40, runner, progress, time.Hour), store.ErrLeaseLost)
	state, err = b.store.Slot(b.ctx, task)
	require.NoError(b, err)
	assert.Equal(b, progress, state.SlotProgress)

	counts := map[string]int64{"seen": 9}
	require.NoError(b, b.store.FinishSlot(b.ctx, task, 41, runner, counts, "ok"))
	require.NoError(b, b.store.FinishSlot(b.ctx, task, 41, runner, counts, "ok"), "said twice")
	require.ErrorIs(b, b.store.SaveSlot(b.ctx, task, 41, runner, progress, time.Hour), store.ErrLeaseLost)
	state, err = b.store.Slot(b.ctx, task)
	require.NoError(b, err)
	assert.Equal(b, int64(41), state.Done)
	assert.Zero(b, state.Running)
	assert.Zero(b, state.Resumes)
	assert.Equal(b, counts, state.Counts)
	assert.Equal(b, "ok", state.Outcome)
	assert.GreaterOrEqual(b, state.FinishedAt, state.StartedAt)
	_, ok = b.startSlot(41, runner, time.Hour)
	assert.False(b, ok, "it was done")
}

func slotsResume(b *bundle) {
	_, ok := b.startSlot(5, "dead", 10*time.Millisecond)
	require.True(b, ok)
	progress := store.SlotProgress{Cursor: "3:99", Counts: map[string]int64{"seen": 100}}
	require.NoError(b, b.store.SaveSlot(b.ctx, task, 5, "dead", progress, 10*time.Millisecond))
	var state store.SlotState
	b.eventually(func() bool {
		state, ok = b.startSlot(5, "heir", time.Hour)
		return ok
	}, "the owner's lease ends")
	assert.Equal(b, progress, state.SlotProgress)
	assert.Equal(b, 1, state.Resumes)
	assert.Equal(b, "heir", state.Owner)
	require.ErrorIs(b, b.store.SaveSlot(b.ctx, task, 5, "dead", progress, time.Hour), store.ErrLeaseLost)
	require.ErrorIs(b, b.store.FinishSlot(b.ctx, task, 5, "dead", nil, "ok"), store.ErrLeaseLost)
}

func slotsBack(b *bundle) {
	_, ok := b.startSlot(5, "dead", time.Millisecond)
	require.True(b, ok)
	var state store.SlotState
	b.eventually(func() bool {
		state, ok = b.startSlot(6, "next", time.Hour)
		return ok
	}, "a dead owner's slot does not hold up the next")
	assert.Empty(b, state.Cursor)
	assert.Equal(b, int64(6), state.Running)
	_, ok = b.startSlot(5, "next", time.Hour)
	assert.False(b, ok, "a later one runs")
	require.NoError(b, b.store.FinishSlot(b.ctx, task, 6, "next", nil, "ok"))
	_, ok = b.startSlot(5, "next", time.Hour)
	assert.False(b, ok, "a later one was done")
}
