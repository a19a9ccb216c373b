package journal

import (
	"bytes"
	"errors"
	"sync"
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
