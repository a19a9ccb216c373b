package journal

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// onDisk makes a journal on a disk in memory.
func onDisk(t testing.TB, d *memDisk, opts Options) *Journal {
	t.Helper()
	if opts.SegmentSize == 0 {
		opts.SegmentSize = 128 << 10 // the disk copies a file at each sync
	}
	j, err := create(d, "/journal", "owner-1", opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close() }) // whoever cares about the result has closed it before
	return j
}

// afterCrash replays what a power cut leaves.
func afterCrash(t require.TestingT, d *memDisk, seed uint64) Records {
	content, found := d.crash("owner-1.wal", rand.New(rand.NewPCG(seed, 0)))
	require.True(t, found)
	g, err := replay(bytes.NewReader(content), int64(len(content)), "owner-1", "owner-1.wal")
	require.NoError(t, err)
	return g.records()
}

// once fails the nth time that a step is taken.
func once(s step, nth int64, failure error) func(step, string) error {
	var n atomic.Int64
	return func(taken step, _ string) error {
		if taken == s && n.Add(1) == nth {
			return failure
		}
		return nil
	}
}

var errDisk = errors.New("the disk has failed")

func TestFailuresOfCreate(t *testing.T) {
	t.Parallel()
	for _, s := range []step{stepCreate, stepAllocate, stepWrite, stepSync, stepLink, stepRemove, stepSyncDir} {
		d := newMemDisk()
		d.hook = once(s, 1, errDisk)
		_, err := create(d, "/journal", "owner-1", Options{SegmentSize: 4096})
		require.ErrorIs(t, err, errDisk, s)
		switch s {
		case stepSyncDir: // it has its name, and an adopter finds it empty
			assert.Len(t, d.names, 1, s)
		case stepRemove: // and the next one to clean the folder removes the other
			assert.Len(t, d.names, 2, s)
		default:
			assert.Empty(t, d.names, s)
		}
		for f := range d.files {
			assert.False(t, f.open, s)
		}
	}
	d := newMemDisk()
	d.limit = 1000
	_, err := create(d, "/journal", "owner-1", Options{})
	require.ErrorIs(t, err, ErrNoRoom)
}

func TestNoRoomIsNotFinal(t *testing.T) {
	t.Parallel()
	const maxReply = 1000
	d := newMemDisk()
	d.limit = 16 << 10
	j := onDisk(t, d, Options{MaxReply: maxReply, SegmentSize: 8 << 10})
	var open []uint64
	for n := uint64(1); ; n++ {
		err := j.Intent(t.Context(), []Intent{intent(n)})
		if err != nil {
			require.ErrorIs(t, err, ErrNoRoom)
			require.ErrorIs(t, err, unix.ENOSPC)
			break
		}
		open = append(open, n)
	}
	require.Greater(t, len(open), 5)
	require.ErrorIs(t, j.Keep(keep(1, strings.Repeat("x", 2*maxReply))), ErrNoRoom, "more than was set aside")
	require.ErrorIs(t, j.Change(t.Context(), change(1000, strings.Repeat("x", 2*maxReply))), ErrNoRoom)
	for _, n := range open {
		require.NoError(t, j.Keep(keep(n, strings.Repeat("x", maxReply))), "room was set aside")
	}
	require.Len(t, afterCrash(t, d, 1).Keeps, len(open))
	for _, n := range open {
		j.Drop(nonce(n))
	}
	require.NoError(t, j.Close())
	assert.Empty(t, d.names)
}

// TestDropsAlwaysHaveRoom fills the disk with changes and drops them all.
func TestDropsAlwaysHaveRoom(t *testing.T) {
	t.Parallel()
	d := newMemDisk()
	d.limit = 20 << 10
	j := onDisk(t, d, Options{SegmentSize: 16 << 10})
	n := uint64(0)
	for err := error(nil); err == nil; n++ {
		if err = j.Change(t.Context(), change(n+1, "")); err != nil {
			require.ErrorIs(t, err, ErrNoRoom)
		}
	}
	for i := range n {
		j.Drop(nonce(i + 1))
	}
	require.NoError(t, j.Close())
	assert.Empty(t, d.names)
}

// TestRoomComesBack fails to find room for one of two intents of a call, and
// then does without it.
func TestRoomComesBack(t *testing.T) {
	t.Parallel()
	d := newMemDisk()
	d.limit = 12 << 10
	j := onDisk(t, d, Options{MaxReply: 2000, SegmentSize: 4 << 10})
	require.NoError(t, j.Intent(t.Context(), []Intent{intent(1)}))
	require.NoError(t, j.Intent(t.Context(), []Intent{intent(2)}))
	reserved := j.reserved
	require.ErrorIs(t, j.Intent(t.Context(), []Intent{intent(3), intent(4), intent(5)}), ErrNoRoom)
	assert.Equal(t, reserved, j.reserved, "a refused call sets nothing aside")
	j.Drop(nonce(1), nonce(2))
	require.NoError(t, j.Intent(t.Context(), []Intent{intent(3), intent(4)}), "a nonce that was refused may be used")
}

// TestCallersShareASync lets many callers wait for a disk that is slow once.
func TestCallersShareASync(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		j := onDisk(t, d, Options{MaxReply: 100})
		gate, syncs := make(chan struct{}), atomic.Int64{}
		d.hook = func(s step, _ string) error {
			if s == stepSync {
				<-gate
				syncs.Add(1)
			}
			return nil
		}
		var wg sync.WaitGroup
		for n := range uint64(1000) {
			wg.Go(func() {
				if err := j.Intent(t.Context(), []Intent{intent(n + 1)}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // some are being synced, all others wait
		close(gate)
		wg.Wait()
		assert.LessOrEqual(t, syncs.Load(), int64(2)) // all may have come before the first
		require.Len(t, afterCrash(t, d, 1).Intents, 1000)
		require.NoError(t, j.Close())
	})
}

// TestCallerThatDoesNotWait ends its context while the disk is slow: it acts
// as if its records did not exist, and so does the journal.
func TestCallerThatDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		j := onDisk(t, d, Options{})
		gate := make(chan struct{})
		d.hook = func(s step, _ string) error {
			if s == stepSync {
				<-gate
			}
			return nil
		}
		reason := errors.New("the caller has gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { assert.ErrorIs(t, j.Intent(ctx, []Intent{intent(1), intent(2)}), reason) })
		wg.Go(func() { assert.ErrorIs(t, j.Change(ctx, change(3, "change")), reason) })
		wg.Go(func() { assert.NoError(t, j.Keep(keep(4, "reply"))) })
		synctest.Wait()
		cancel(reason)
		synctest.Wait()
		close(gate)
		wg.Wait()
		require.NoError(t, j.Close())
		records := afterCrash(t, d, 1)
		assert.Equal(t, []Keep{keep(4, "reply")}, records.Keeps)
		live := j.live
		assert.Len(t, live, 1)
		assert.Contains(t, live, nonce(4))
	})
}

// TestCloseWaitsForCallers closes the journal while the disk is slow.
func TestCloseWaitsForCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		j := onDisk(t, d, Options{})
		gate := make(chan struct{})
		d.hook = func(s step, _ string) error {
			if s == stepSync {
				<-gate
			}
			return nil
		}
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, j.Keep(keep(1, "reply"))) })
		synctest.Wait()
		wg.Go(func() { assert.NoError(t, j.Keep(keep(2, "reply"))) })
		synctest.Wait()
		wg.Go(func() { assert.NoError(t, j.Close()) })
		synctest.Wait()
		require.ErrorIs(t, j.Keep(keep(3, "reply")), ErrClosed)
		close(gate)
		wg.Wait()
		assert.Len(t, afterCrash(t, d, 1).Keeps, 2)
	})
}
