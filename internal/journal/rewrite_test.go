package journal

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fill lets the past of a journal grow until it is being written anew.
func fill(t *testing.T, j *Journal) {
	t.Helper()
	j.mu.Lock()
	at, end := j.triedAt, j.end
	j.mu.Unlock()
	for n := uint64(1_000_000); ; n++ {
		require.NoError(t, j.Keep(keep(n, strings.Repeat("x", 200))))
		j.Drop(nonce(n))
		j.mu.Lock()
		begun, finished := j.triedAt != at, j.end < end
		end = j.end
		j.mu.Unlock()
		if begun || finished {
			return
		}
	}
}

// current is the file that a journal uses now.
func current(j *Journal) file {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file
}

// fileName tells the files of a disk in memory apart.
func fileName(f file) string {
	if m, ok := f.(*memFile); ok {
		return m.name
	}
	return ""
}

// TestRewriteDoesNotStopTheWriter holds up the copying of the live records:
// callers go on meanwhile, and what they did is in the new file.
func TestRewriteDoesNotStopTheWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		j := onDisk(t, d, Options{SegmentSize: 4096, MaxReply: 256})
		first, gate := current(j), make(chan struct{})
		var held atomic.Bool
		d.hook = func(s step, name string) error {
			if s == stepSync && name != fileName(first) {
				held.Store(true)
				<-gate
			}
			return nil
		}
		require.NoError(t, j.Intent(t.Context(), []Intent{intent(1), intent(2)}))
		require.NoError(t, j.Keep(keep(3, "before")))
		require.NoError(t, j.Keep(keep(4, "dropped during")))
		fill(t, j)
		synctest.Wait()
		require.True(t, held.Load(), "it is being written anew")

		require.NoError(t, j.Keep(keep(1, "during")))
		j.Drop(nonce(4))
		require.NoError(t, j.Intent(t.Context(), []Intent{intent(5)})) // syncs the drop too
		want := Records{Intents: []Intent{intent(2), intent(5)}, Keeps: []Keep{keep(3, "before"), keep(1, "during")}}
		require.Equal(t, want, withoutFill(afterCrash(t, d, 1)), "the old file is the journal")

		close(gate)
		synctest.Wait()
		j.mu.Lock()
		assert.Less(t, j.end, int64(4096))
		j.mu.Unlock()
		require.Equal(t, want, withoutFill(afterCrash(t, d, 1)), "the new file is the journal")
		require.NoError(t, j.Keep(keep(6, "after")))
		want.Keeps = append(want.Keeps, keep(6, "after"))
		require.Equal(t, want, withoutFill(afterCrash(t, d, 1)))
		require.NoError(t, j.Close())
		assert.Len(t, d.listed(), 1)
	})
}

// withoutFill leaves out what fill may not have dropped durably.
func withoutFill(r Records) Records {
	kept := r.Keeps[:0]
	for _, k := range r.Keeps {
		if k.Generation < 1_000_000 {
			kept = append(kept, k)
		}
	}
	r.Keeps = kept
	return r
}

// TestRewriteKeepsPromises begins exchanges while the file is written anew: the
// new file has room for their replies, or the old one stays.
func TestRewriteKeepsPromises(t *testing.T) {
	t.Parallel()
	for name, roomForBoth := range map[string]bool{"room for both files": true, "room for the old one": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newMemDisk()
				j := onDisk(t, d, Options{SegmentSize: 4096, MaxReply: 4096})
				first, gate := current(j), make(chan struct{})
				d.hook = func(s step, name string) error {
					if s == stepSync && name != fileName(first) {
						<-gate
					}
					return nil
				}
				fill(t, j)
				synctest.Wait()
				intents := make([]Intent, 50)
				for i := range intents {
					intents[i] = intent(uint64(i) + 1)
				}
				require.NoError(t, j.Intent(t.Context(), intents))
				d.mu.Lock()
				d.limit = d.used() // nothing more
				if roomForBoth {
					d.limit = 2 * d.used()
				}
				d.mu.Unlock()
				close(gate)
				synctest.Wait()
				require.Equal(t, !roomForBoth, fileName(first) == fileName(current(j)))
				d.mu.Lock()
				d.limit = d.used()
				d.mu.Unlock()
				for i := range intents {
					require.NoError(t, j.Keep(keep(intents[i].Generation, strings.Repeat("x", 4096))))
				}
				require.Len(t, withoutFill(afterCrash(t, d, 1)).Keeps, len(intents))
			})
		})
	}
}

// TestMostlyLiveFileIsLeftAlone fills a file with what is still needed.
func TestMostlyLiveFileIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		j := onDisk(t, d, Options{SegmentSize: 4096, MaxReply: 256})
		for n := range uint64(200) {
			require.NoError(t, j.Keep(keep(n+1, strings.Repeat("x", 200))))
		}
		synctest.Wait()
		assert.Equal(t, 1, d.made)
		for n := range uint64(150) {
			j.Drop(nonce(n + 1))
		}
		synctest.Wait()
		assert.Equal(t, 2, d.made)
		require.NoError(t, j.Keep(keep(201, "is behind every drop before it")))
		require.Len(t, afterCrash(t, d, 1).Keeps, 51)
	})
}

// TestFailedRewrite fails each step of it. All but those that give the new file
// its name leave the old one in use; those break the journal until it heals.
func TestFailedRewrite(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		step   step
		nth    int64
		breaks bool
		after  bool // it took effect all the same
	}{
		{step: stepCreate, nth: 1},
		{step: stepAllocate, nth: 1},
		{step: stepWrite, nth: 1}, // of the head
		{step: stepWrite, nth: 2}, // of a live record
		{step: stepSync, nth: 1},
		{step: stepReplace, nth: 1, breaks: true},
		{step: stepReplace, nth: 1, breaks: true, after: true},
		{step: stepSyncDir, nth: 1, breaks: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newMemDisk()
			j := onDisk(t, d, Options{SegmentSize: 4096, MaxReply: 256})
			require.NoError(t, j.Keep(keep(1, "reply")))
			first, gate := current(j), make(chan struct{})
			fails := once(row.step, row.nth, unix.EIO)
			d.failAfter = row.after
			d.hook = func(s step, name string) error {
				if name == fileName(first) {
					return nil
				}
				<-gate // until it is known to have begun
				return fails(s, name)
			}
			fill(t, j)
			close(gate)
			synctest.Wait()
			require.Equal(t, []Keep{keep(1, "reply")}, withoutFill(afterCrash(t, d, 1)).Keeps, "%+v", row)
			if row.breaks {
				require.ErrorIs(t, j.Intent(t.Context(), []Intent{intent(2)}), ErrBroken)
				require.True(t, d.locked("owner-1.wal"), "whichever has the name is locked: %+v", row)
				pass(firstPause)
				synctest.Wait()
				require.NoError(t, j.Keep(keep(2, "reply")))
				require.Equal(t, []Keep{keep(1, "reply"), keep(2, "reply")}, withoutFill(afterCrash(t, d, 1)).Keeps, "%+v", row)
				require.NoError(t, j.Close())
				require.Zero(t, d.opened(), "%+v", row)
				return
			}
			require.Equal(t, fileName(first), fileName(current(j)), "%+v", row)
			require.NoError(t, j.Keep(keep(2, "reply")))
			assert.Len(t, d.listed(), 1, "the new file is removed: %+v", row)

			fill(t, j)
			synctest.Wait()
			require.NotEqual(t, fileName(first), fileName(current(j)), "it is done later: %+v", row)
			require.Equal(t, []Keep{keep(1, "reply"), keep(2, "reply")}, withoutFill(afterCrash(t, d, 1)).Keeps)
			require.NoError(t, j.Close())
		})
	}
}

// TestCloseDuringARewrite leaves no temporary file.
func TestCloseDuringARewrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		j := onDisk(t, d, Options{SegmentSize: 4096, MaxReply: 256})
		require.NoError(t, j.Keep(keep(1, "reply")))
		first, gate := current(j), make(chan struct{})
		d.hook = func(s step, name string) error {
			if s == stepAllocate && name != fileName(first) {
				<-gate
			}
			return nil
		}
		fill(t, j)
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- j.Close() }()
		synctest.Wait()
		close(gate)
		require.NoError(t, <-closed)
		assert.Len(t, d.listed(), 1)
		require.Equal(t, []Keep{keep(1, "reply")}, withoutFill(afterCrash(t, d, 1)).Keeps)
	})
}

// A reply that the kernel has stays there while the file is exchanged, and those
// that come meanwhile do not wait for the folder's sync.
func TestRepliesAreTheKernelsWhileTheFileIsExchanged(t *testing.T) {
	t.Parallel()
	for name, failing := range map[string]bool{"the folder is synced": false, "the folder's sync fails": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newMemDisk()
				j := onDisk(t, d, Options{SegmentSize: 4096, MaxReply: 256})
				require.NoError(t, j.Intent(t.Context(), []Intent{intent(1), intent(2)}))
				first := current(j)
				copied, named := make(chan struct{}), make(chan struct{})
				toCopied, toNamed := sync.OnceFunc(func() { close(copied) }), sync.OnceFunc(func() { close(named) })
				defer toNamed()
				defer toCopied()
				var syncs, folder atomic.Int64
				d.setHook(func(s step, name string) error {
					switch {
					case s == stepSync && name != fileName(first) && syncs.Add(1) == 2: // of what came since the first
						<-copied
					case s == stepSyncDir && folder.Add(1) == 1:
						<-named
						if failing {
							return errDisk
						}
					}
					return nil
				})
				fill(t, j)
				synctest.Wait()
				require.EqualValues(t, 2, syncs.Load(), "the file is about to be exchanged")
				one := j.Hand(keep(1, "before"))
				want := Records{Intents: []Intent{intent(2)}, Keeps: []Keep{keep(1, "before")}}
				require.Equal(t, want, withoutFill(afterKill(t, d)))

				toCopied()
				synctest.Wait()
				require.EqualValues(t, 1, folder.Load())
				require.NotEqual(t, fileName(first), d.listed()["owner-1.wal"].name, "it has the name")
				require.Equal(t, want, withoutFill(afterKill(t, d)))
				require.True(t, j.mu.TryLock(), "nobody waits for the folder")
				j.mu.Unlock()
				two := j.Hand(keep(2, "during"))
				want = Records{Keeps: []Keep{keep(1, "before"), keep(2, "during")}}
				require.Equal(t, want, withoutFill(none(afterKill(t, d))))

				toNamed()
				require.NoError(t, one())
				require.NoError(t, two())
				require.Equal(t, want, withoutFill(none(afterKill(t, d))))
				require.Equal(t, want, withoutFill(none(afterCrash(t, d, 1))))
				require.NoError(t, j.Close())
			})
		})
	}
}
