package journal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// told is what a journal has told of itself.
type told struct {
	mu   sync.Mutex
	down []error
	up   []error
}

func (o *told) options(opts Options) Options {
	opts.OnBroken = func(err error) { o.note(&o.down, err) }
	opts.OnHealed = func(damage error) { o.note(&o.up, damage) }
	return opts
}

func (o *told) note(list *[]error, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	*list = append(*list, err)
}

func (o *told) broken() []error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.down)
}

func (o *told) healed() []error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.up)
}

// failing fails a step, as often as it is taken, until it is called off.
func failing(s step, failure error) (hook func(step, string) error, off func()) {
	var over atomic.Bool
	return func(taken step, _ string) error {
		if taken == s && !over.Load() {
			return failure
		}
		return nil
	}, func() { over.Store(true) }
}

// spoil breaks the journal with an intent that its caller is told has failed,
// and a drop that is lost with it.
func spoil(t *testing.T, j *Journal, d *memDisk, s step) {
	t.Helper()
	d.setHook(once(s, 1, errDisk))
	j.Drop(nonce(900))
	err := j.Intent(t.Context(), []Intent{intent(901)})
	require.ErrorIs(t, err, ErrBroken)
	require.ErrorIs(t, err, errDisk)
	require.ErrorContains(t, err, "/journal/owner-1.wal")
}

// TestBrokenJournalHeals has both kinds of failures: before it took effect, and
// after.
func TestBrokenJournalHeals(t *testing.T) {
	t.Parallel()
	for _, s := range []step{stepWrite, stepSync} {
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				d, heard := newMemDisk(), told{}
				d.failAfter = after
				j := onDisk(t, d, heard.options(Options{}))
				require.NoError(t, j.Keep(keep(1, "reply")))
				require.NoError(t, j.Keep(keep(2, "dropped while broken")))
				require.NoError(t, j.Intent(t.Context(), []Intent{intent(3)}))
				require.NoError(t, j.Change(t.Context(), change(4, "change")))
				require.NoError(t, j.Keep(keep(900, "dropped as it breaks")))
				spoil(t, j, d, s)

				require.ErrorIs(t, j.Intent(t.Context(), []Intent{intent(902)}), ErrBroken)
				require.ErrorIs(t, j.Change(t.Context(), change(4, "another")), ErrBroken)
				j.Drop(nonce(2), nonce(903))
				want := Records{Intents: []Intent{intent(3)}, Keeps: []Keep{keep(1, "reply")}, Changes: []Change{change(4, "change")}}
				synctest.Wait()
				require.Len(t, heard.broken(), 1)
				require.ErrorIs(t, heard.broken()[0], errDisk)
				require.Empty(t, heard.healed())

				pass(firstPause)
				synctest.Wait()
				require.Equal(t, []error{nil}, heard.healed())
				require.Equal(t, want, afterCrash(t, d, 1))
				j.Drop(nonce(1), nonce(4))
				require.NoError(t, j.Intent(t.Context(), []Intent{intent(901)}), "a nonce that failed may be used")
				require.NoError(t, j.Keep(keep(3, "received")))
				require.NoError(t, j.Close())
				require.Equal(t, Records{Intents: []Intent{intent(901)}, Keeps: []Keep{keep(3, "received")}}, none(afterCrash(t, d, 1)))
				assert.Len(t, d.listed(), 1)
				require.Len(t, heard.broken(), 1)
			})
		}
	}
}

// TestHealFails fails each step of it for a while, and always once more than
// once.
func TestHealFails(t *testing.T) {
	t.Parallel()
	for _, s := range []step{stepCreate, stepAllocate, stepRead, stepWrite, stepSync, stepReplace, stepRemove, stepSyncDir} {
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				d, heard := newMemDisk(), told{}
				j := onDisk(t, d, heard.options(Options{}))
				require.NoError(t, j.Keep(keep(1, "reply")))
				require.NoError(t, j.Intent(t.Context(), []Intent{intent(2)}))
				spoil(t, j, d, stepSync)
				d.setAfter(after)
				hook, off := failing(s, unix.EIO)
				if s == stepRemove { // which is taken only where a rename has failed
					hook = func(taken step, _ string) error {
						if taken == stepRemove || taken == stepReplace {
							return unix.EIO
						}
						return nil
					}
					off = func() { d.setHook(once(stepRead, 0, nil)) }
				}
				d.setHook(hook)
				pass(2 * firstPause) // two attempts at most: a read that fails is not yet taken for damage
				require.ErrorContains(t, j.Change(t.Context(), change(3, "change")), unix.EIO.Error(), "%s", s)
				require.Empty(t, heard.healed(), s)
				require.Len(t, heard.broken(), 1, s)
				require.True(t, d.locked("owner-1.wal"), "whichever has the name is locked: %s", s)

				synctest.Wait()
				off()
				d.setAfter(false)
				pass(lastPause)
				synctest.Wait()
				require.Equal(t, []error{nil}, heard.healed(), "%s", s)
				want := Records{Intents: []Intent{intent(2)}, Keeps: []Keep{keep(1, "reply")}}
				for seed := range uint64(8) {
					require.Equal(t, want, none(afterCrash(t, d, seed)), s)
				}
				require.NoError(t, j.Keep(keep(2, "received")))
				require.Len(t, afterCrash(t, d, 1).Keeps, 2)
				require.NoError(t, j.Close())
				if !after || s != stepCreate && s != stepClose { // that disk has forgotten to whom it gave the file
					require.Zero(t, d.opened(), "%s", s)
				}
			})
		}
	}
}

// TestHealWaitsForRoom has no room for what the replies in the air need.
func TestHealWaitsForRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const maxReply, inTheAir = 4096, 40
		d, heard := newMemDisk(), told{}
		j := onDisk(t, d, heard.options(Options{MaxReply: maxReply, SegmentSize: 8 << 10}))
		intents := make([]Intent, inTheAir)
		for i := range intents {
			intents[i] = intent(uint64(i) + 1)
		}
		require.NoError(t, j.Intent(t.Context(), intents))
		spoil(t, j, d, stepWrite)
		setLimit := func(factor float64) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.limit = int64(factor * float64(d.used()))
		}
		setLimit(1.9)
		pass(time.Minute)
		require.ErrorContains(t, j.Change(t.Context(), change(1000, "change")), ErrNoRoom.Error())
		require.Empty(t, heard.healed())

		setLimit(2)
		pass(lastPause)
		synctest.Wait()
		require.Equal(t, []error{nil}, heard.healed())
		setLimit(1)
		for i := range intents {
			require.NoError(t, j.Keep(keep(intents[i].Generation, strings.Repeat("x", maxReply))), "room was set aside")
		}
		require.Len(t, afterCrash(t, d, 1).Keeps, inTheAir)
		for i := range intents {
			j.Drop(intents[i].Nonce)
		}
		require.NoError(t, j.Close())
		assert.Empty(t, d.listed())
	})
}

// TestReplyWaitsForTheHeal has replies that broke the journal, and that came
// while it was broken.
func TestReplyWaitsForTheHeal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		j := onDisk(t, d, Options{})
		require.NoError(t, j.Intent(t.Context(), []Intent{intent(1), intent(2), intent(3)}))
		d.setHook(once(stepSync, 1, errDisk))
		begun := time.Now()
		require.NoError(t, j.Keep(keep(1, "broke it")))
		assert.Zero(t, time.Since(begun), "it is nowhere else: the first attempt is made at once")
		require.Contains(t, afterCrash(t, d, 1).Keeps, keep(1, "broke it"))

		hook, off := failing(stepSync, errDisk)
		d.setHook(hook)
		require.ErrorIs(t, j.Intent(t.Context(), []Intent{intent(4)}), ErrBroken)
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, j.Keep(keep(2, "came while it was"))) })
		pass(2 * firstPause)
		off()
		wg.Wait()
		require.Contains(t, afterCrash(t, d, 1).Keeps, keep(2, "came while it was"))
		require.NoError(t, j.Close())
		require.Equal(t, []Intent{intent(3)}, afterCrash(t, d, 1).Intents)
	})
}

// TestReplyHastensTheHeal comes when the pauses between attempts are long.
func TestReplyHastensTheHeal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		j := onDisk(t, d, Options{})
		hook, off := failing(stepSync, errDisk)
		d.setHook(hook)
		require.ErrorIs(t, j.Intent(t.Context(), []Intent{intent(1)}), ErrBroken)
		pass(15*time.Second + firstPause/2) // the next attempt would be after 25 s
		synctest.Wait()
		off()
		begun := time.Now()
		require.NoError(t, j.Keep(keep(2, "reply")))
		assert.Equal(t, firstPause/2, time.Since(begun))
		require.Equal(t, Records{Keeps: []Keep{keep(2, "reply")}}, none(afterCrash(t, d, 1)))
	})
}

// TestReplyDoesNotWaitForEver leaves out a reply whose caller was told that it
// is not kept, and has the room for its reply all the same.
func TestReplyDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		j := onDisk(t, d, Options{})
		require.NoError(t, j.Intent(t.Context(), []Intent{intent(1)}))
		reserved := reservedOf(j)
		hook, off := failing(stepSync, errDisk)
		d.setHook(hook)
		begun := time.Now()
		require.ErrorIs(t, j.Keep(keep(1, "reply")), ErrBroken)
		assert.Equal(t, keepPatience, time.Since(begun))
		off()
		pass(lastPause)
		synctest.Wait()
		assert.Equal(t, reserved, reservedOf(j))
		require.Equal(t, Records{Intents: []Intent{intent(1)}}, none(afterCrash(t, d, 1)))
		require.NoError(t, j.Keep(keep(1, "reply")))
	})
}

func reservedOf(j *Journal) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.reserved
}

// none has no lists where they are empty.
func none(r Records) Records {
	if len(r.Intents) == 0 {
		r.Intents = nil
	}
	if len(r.Keeps) == 0 {
		r.Keeps = nil
	}
	if len(r.Changes) == 0 {
		r.Changes = nil
	}
	return r
}

// TestHealPauses counts the attempts on a disk that stays as it is, and on one
// that fails again at the first write.
func TestHealPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		j := onDisk(t, d, Options{})
		require.NoError(t, j.Keep(keep(1, "reply")))
		spoil(t, j, d, stepWrite)
		begun := time.Now()
		var at []time.Duration
		d.setHook(func(s step, _ string) error {
			if s == stepCreate {
				at = append(at, time.Since(begun))
				return unix.ENOSPC
			}
			return nil
		})
		pass(36 * time.Second)
		synctest.Wait()
		assert.Equal(t, []time.Duration{1 * time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second, 25 * time.Second, 35 * time.Second}, at)
		assert.Len(t, d.listed(), 1, "no temporary file is left")
	})
}

// TestDamagedRecord has a record that cannot be read back when the journal
// heals: because it is spoiled, or because the disk does not read it.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	for _, unreadable := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d, heard := newMemDisk(), told{}
			j := onDisk(t, d, heard.options(Options{SegmentSize: 4096, MaxReply: 256}))
			require.NoError(t, j.Keep(keep(1, "sound")))
			require.NoError(t, j.Keep(keep(2, "spoiled")))
			spoil(t, j, d, stepWrite)
			first, lost := d.named("owner-1.wal"), 1
			if unreadable {
				lost = 2
				d.setHook(func(s step, name string) error {
					if s == stepRead && name == first.name {
						return unix.EIO
					}
					return nil
				})
			} else {
				d.mu.Lock()
				first.content[bytes.Index(first.content, []byte("spoiled"))] ^= 1
				d.mu.Unlock()
			}
			pass(time.Minute)
			synctest.Wait()
			require.Len(t, heard.healed(), 1)
			damage, ok := errors.AsType[*CorruptError](heard.healed()[0])
			require.True(t, ok)
			assert.Equal(t, "/journal/owner-1.wal", damage.Path)
			assert.Equal(t, lost, strings.Count(heard.healed()[0].Error(), "skipped:"))
			var kept string
			for _, name := range slices.Collect(maps.Keys(d.listed())) {
				if strings.HasSuffix(name, ".damaged") {
					kept = name
				}
			}
			assert.True(t, strings.HasPrefix(kept, "owner-1."), kept)
			assert.Contains(t, heard.healed()[0].Error(), "/journal/"+kept)
			assert.Same(t, first, d.listed()[kept])
			assert.Len(t, d.listed(), 2)

			check := func(broken int) {
				file := d.named("owner-1.wal")
				g, err := replay(file, int64(len(file.content)), "owner-1", "owner-1.wal")
				require.NoError(t, err)
				require.Len(t, g.corrupt, broken, "whoever adopts it knows that something is missing")
				require.Len(t, withoutFill(g.records()).Keeps, 2-lost)
			}
			check(1) // stretch: holes beside each other are one
			fill(t, j)
			synctest.Wait()
			check(1)
			spoil(t, j, d, stepWrite)
			pass(time.Minute)
			synctest.Wait()
			check(1)
			require.Len(t, heard.healed(), 2)
			require.NoError(t, heard.healed()[1], "it is told of once")
			assert.Len(t, d.listed(), 2)

			j.Drop(nonce(1), nonce(2))
			fill(t, j)
			synctest.Wait()
			lost = 2
			check(0) // once the store holds it, nothing is missing
			require.NoError(t, j.Close())
		})
	}
}

// TestCloseOfABrokenJournal makes a last attempt, for a reply that waits too.
func TestCloseOfABrokenJournal(t *testing.T) {
	t.Parallel()
	for _, healthy := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			d := newMemDisk()
			j := onDisk(t, d, Options{})
			require.NoError(t, j.Intent(t.Context(), []Intent{intent(1)}))
			spoil(t, j, d, stepSync)
			if !healthy {
				hook, _ := failing(stepSync, errDisk)
				d.setHook(hook)
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				err := j.Keep(keep(1, "reply"))
				if healthy {
					assert.NoError(t, err)
				} else {
					assert.ErrorIs(t, err, ErrBroken)
				}
			})
			synctest.Wait()
			begun := time.Now()
			err := j.Close()
			wg.Wait()
			assert.Zero(t, time.Since(begun), "nothing waits for the next attempt")
			require.ErrorIs(t, j.Keep(keep(2, "reply")), ErrClosed)
			if healthy {
				require.NoError(t, err)
				require.Equal(t, Records{Keeps: []Keep{keep(1, "reply")}}, none(afterCrash(t, d, 1)))
			} else {
				require.ErrorIs(t, err, ErrBroken)
				require.Contains(t, afterCrash(t, d, 1).Intents, intent(1))
			}
		})
	}
}

// TestCallersThroughFaults lets many callers go through refreshes on a disk
// that fails again and again: at the end the journal holds what they were told
// it holds.
func TestCallersThroughFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		// However well the callers' records come together, each round takes two
		// steps for its intents and two for its replies.
		const callers, rounds, every = 16, 24, 11
		var taken atomic.Int64
		j := onDisk(t, d, Options{MaxReply: 256, SegmentSize: 8 << 10})
		d.setHook(func(s step, _ string) error {
			if (s == stepWrite || s == stepSync) && taken.Add(1)%every == 0 {
				return fmt.Errorf("%s: %w", s, unix.EIO)
			}
			return nil
		})
		var mu sync.Mutex
		intents, keeps := map[uint64]bool{}, map[uint64]bool{}
		var wg sync.WaitGroup
		for caller := range uint64(callers) {
			wg.Go(func() {
				for round := range uint64(rounds) {
					n := 1 + caller*rounds + round
					for j.Intent(t.Context(), []Intent{intent(n)}) != nil {
						if n%5 == 0 {
							break // it is not sent
						}
						pass(100 * time.Millisecond)
					}
					j.mu.Lock()
					_, there := j.rooms[nonce(n)]
					j.mu.Unlock()
					mu.Lock()
					intents[n] = there
					mu.Unlock()
					if !there || n%3 == 0 {
						continue
					}
					err := j.Keep(keep(n, strings.Repeat("r", 200)))
					mu.Lock()
					intents[n], keeps[n] = err != nil, err == nil
					mu.Unlock()
					if err == nil && n%2 == 0 {
						j.Drop(nonce(n))
						mu.Lock()
						delete(keeps, n)
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		d.setHook(once(stepRead, 0, nil))
		pass(time.Minute)
		require.NoError(t, j.Close())
		require.Greater(t, taken.Load(), int64(3*every), "three faults and more")
		records := afterCrash(t, d, 1)
		for _, i := range records.Intents {
			assert.True(t, intents[i.Generation], "the intent %d was not acknowledged, or was kept", i.Generation)
			delete(intents, i.Generation)
		}
		for _, k := range records.Keeps {
			assert.True(t, keeps[k.Generation], "the reply %d was not acknowledged, or was dropped", k.Generation)
			delete(keeps, k.Generation)
		}
		for n, there := range intents {
			assert.False(t, there, "the intent %d is missing", n)
		}
		for n, there := range keeps {
			assert.False(t, there, "the reply %d is missing", n)
		}
	})
}

// TestCreateWithLittleRoom begins with less than a segment, and grows by whole
// ones when there is room.
func TestCreateWithLittleRoom(t *testing.T) {
	t.Parallel()
	const segment, maxReply = 1 << 20, 4096
	d := newMemDisk()
	d.limit = 24 << 10
	j := onDisk(t, d, Options{SegmentSize: segment, MaxReply: maxReply})
	j.mu.Lock()
	assert.Less(t, j.allocated, int64(24<<10))
	j.mu.Unlock()
	first := make([]Intent, firstReplies)
	for i := range first {
		first[i] = intent(uint64(i) + 1)
	}
	require.NoError(t, j.Intent(t.Context(), first), "a few replies have room")
	second := intent(100)
	require.ErrorIs(t, j.Intent(t.Context(), []Intent{second, intent(101), intent(102)}), ErrNoRoom)
	d.mu.Lock()
	d.limit = 0
	d.mu.Unlock()
	require.NoError(t, j.Intent(t.Context(), []Intent{second, intent(101), intent(102)}))
	j.mu.Lock()
	assert.EqualValues(t, segment, j.allocated)
	j.mu.Unlock()
	for i := range first {
		require.NoError(t, j.Keep(keep(first[i].Generation, strings.Repeat("x", maxReply))))
	}
	require.NoError(t, j.Close())
}
