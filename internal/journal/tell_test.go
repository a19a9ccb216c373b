package journal

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// afterKill is what a process leaves that was killed and not its machine: all
// that the kernel has.
func afterKill(t *testing.T, d *memDisk) Records {
	t.Helper()
	f := d.named("owner-1.wal")
	d.mu.Lock()
	content := bytes.Clone(f.content)
	d.mu.Unlock()
	g, err := replay(bytes.NewReader(content), int64(len(content)), "owner-1", "owner-1.wal")
	require.NoError(t, err)
	require.Empty(t, g.corrupt)
	return g.records()
}

// A reply that comes while the disk syncs an earlier one is the kernel's at
// once, and survives a kill; nobody is told so before it is synced as well. What
// is not in doubt without it does not get there for that.
func TestRepliesDoNotWaitForASync(t *testing.T) {
	t.Parallel()
	for name, failing := range map[string]bool{"the sync ends": false, "the sync fails": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newMemDisk()
				j := onDisk(t, d, Options{MaxReply: 256})
				require.NoError(t, j.Intent(t.Context(), []Intent{intent(1), intent(2), intent(3)}))
				gate := make(chan error)
				d.setHook(func(s step, _ string) error {
					if s == stepSync {
						return <-gate
					}
					return nil
				})
				var mu sync.Mutex
				kept := map[uint64]error{}
				var wg sync.WaitGroup
				reply := func(n uint64) {
					wg.Go(func() {
						err := j.Keep(keep(n, "reply"))
						mu.Lock()
						defer mu.Unlock()
						kept[n] = err
					})
					synctest.Wait()
				}
				reply(1)
				wg.Go(func() { _ = j.Intent(t.Context(), []Intent{intent(4)}) })
				synctest.Wait()
				require.Equal(t, Records{Intents: []Intent{intent(2), intent(3)}, Keeps: []Keep{keep(1, "reply")}}, afterKill(t, d),
					"an intent that nobody was told of is not there")
				reply(2)
				reply(3)
				require.Equal(t, Records{
					Intents: []Intent{intent(4)}, Keeps: []Keep{keep(1, "reply"), keep(2, "reply"), keep(3, "reply")},
				}, afterKill(t, d))
				mu.Lock()
				require.Empty(t, kept, "nobody is told before it is durable")
				mu.Unlock()

				if failing {
					gate <- errors.New("the disk has died")
				}
				d.setHook(once(stepRead, 0, nil))
				close(gate)
				wg.Wait()
				for n := range uint64(3) {
					require.NoError(t, kept[n+1], "from a new file where need be")
				}
				assert.Len(t, none(afterCrash(t, d, 1)).Keeps, 3)
				require.NoError(t, j.Close())
			})
		})
	}
}

// A reply that comes while the writer has a batch in hand that is not yet written
// is the kernel's at once too, and nothing before it is missing.
func TestRepliesAreToldBehindABatchInHand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		j := onDisk(t, d, Options{MaxReply: 256})
		require.NoError(t, j.Intent(t.Context(), []Intent{intent(1), intent(2), intent(3)}))
		gate := make(chan struct{})
		open := sync.OnceFunc(func() { close(gate) })
		defer open()
		var writes atomic.Int64
		d.setHook(func(s step, _ string) error {
			if s == stepWrite && writes.Add(1) == 1 {
				<-gate // the writer, who has lost the processor
			}
			return nil
		})
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, j.Intent(t.Context(), []Intent{intent(4), intent(5)})) })
		synctest.Wait()
		require.EqualValues(t, 1, writes.Load())
		require.Len(t, afterKill(t, d).Intents, 3)

		first := j.Hand(keep(1, "reply"))
		require.Equal(t, Records{
			Intents: []Intent{intent(2), intent(3), intent(4), intent(5)}, Keeps: []Keep{keep(1, "reply")},
		}, afterKill(t, d))
		second := j.Hand(keep(2, "another"))
		told := Records{
			Intents: []Intent{intent(3), intent(4), intent(5)}, Keeps: []Keep{keep(1, "reply"), keep(2, "another")},
		}
		require.Equal(t, told, afterKill(t, d))

		open()
		wg.Wait()
		require.NoError(t, first())
		require.NoError(t, second())
		assert.Equal(t, told, none(afterCrash(t, d, 1)))
		assert.Equal(t, told, afterKill(t, d))
		require.NoError(t, j.Close())
	})
}

// Of a batch in hand the kernel may have a part.
func TestRepliesAreToldBehindAPartOfABatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		j := onDisk(t, d, Options{MaxReply: 256})
		require.NoError(t, j.Intent(t.Context(), []Intent{intent(1), intent(2)}))
		syncs, writing := make(chan struct{}), make(chan struct{})
		synced, open := sync.OnceFunc(func() { close(syncs) }), sync.OnceFunc(func() { close(writing) })
		defer open()
		defer synced()
		var writes atomic.Int64
		d.setHook(func(s step, _ string) error {
			switch {
			case s == stepSync:
				<-syncs
			case s == stepWrite && writes.Add(1) == 3: // the first is the writer's too, the second is told
				<-writing
			}
			return nil
		})
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, j.Intent(t.Context(), []Intent{intent(3)})) })
		synctest.Wait()
		first := j.Hand(keep(1, "reply"))
		wg.Go(func() { assert.NoError(t, j.Intent(t.Context(), []Intent{intent(4)})) })
		synctest.Wait()
		synced()
		synctest.Wait()
		require.EqualValues(t, 3, writes.Load())
		require.Equal(t, []Intent{intent(2), intent(3)}, afterKill(t, d).Intents, "the writer is not there yet")
		second := j.Hand(keep(2, "another"))
		require.Equal(t, Records{
			Intents: []Intent{intent(3), intent(4)}, Keeps: []Keep{keep(1, "reply"), keep(2, "another")},
		}, afterKill(t, d))
		open()
		wg.Wait()
		require.NoError(t, first())
		require.NoError(t, second())
		require.NoError(t, j.Close())
	})
}

// A batch in hand that fails is not in the file that the journal moves to,
// whatever was told of it; a reply behind it is, and later ones.
func TestABatchInHandThatFails(t *testing.T) {
	t.Parallel()
	for name, told := range map[string]bool{"it was told": true, "nothing was told": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newMemDisk()
				j := onDisk(t, d, Options{MaxReply: 256})
				require.NoError(t, j.Intent(t.Context(), []Intent{intent(1)}))
				gate := make(chan struct{})
				open := sync.OnceFunc(func() { close(gate) })
				defer open()
				var writes atomic.Int64
				d.setHook(func(s step, _ string) error {
					if s == stepWrite && writes.Add(1) == 1 {
						<-gate
						return errDisk
					}
					return nil
				})
				var wg sync.WaitGroup
				wg.Go(func() { assert.ErrorIs(t, j.Intent(t.Context(), []Intent{intent(4), intent(5)}), ErrBroken) })
				synctest.Wait()
				if told {
					durable := j.Hand(keep(1, "reply"))
					require.Equal(t, Records{Intents: []Intent{intent(4), intent(5)}, Keeps: []Keep{keep(1, "reply")}}, afterKill(t, d))
					open()
					require.NoError(t, durable())
				} else {
					open()
					synctest.Wait()
					pass(firstPause)
					synctest.Wait() // it has moved
					durable := j.Hand(keep(1, "reply"))
					require.Equal(t, Records{Keeps: []Keep{keep(1, "reply")}}, none(afterKill(t, d)))
					require.NoError(t, durable())
				}
				wg.Wait()
				require.Equal(t, Records{Keeps: []Keep{keep(1, "reply")}}, none(afterKill(t, d)))
				durable := j.Hand(keep(2, "another"))
				assert.Equal(t, Records{Keeps: []Keep{keep(1, "reply"), keep(2, "another")}}, none(afterKill(t, d)))
				require.NoError(t, durable())
				assert.Equal(t, Records{Keeps: []Keep{keep(1, "reply"), keep(2, "another")}}, none(afterKill(t, d)))
				require.NoError(t, j.Close())
			})
		})
	}
}
