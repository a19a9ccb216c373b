package journal

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A journal that has its small disk for itself never comes to a stand: what is of
// the past gives its room back.
func TestJournalOnASmallDiskGoesOn(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int64{
		"a segment and a bit": 144 << 10, "less than a segment": 48 << 10, "a few replies": 16 << 10,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newMemDisk()
				d.limit = limit
				j := onDisk(t, d, Options{MaxReply: 500, SegmentSize: 128 << 10})
				require.NoError(t, j.Keep(keep(1_000_000, "stays")))
				var refused int
				for n := range uint64(3000) {
					err := j.Intent(t.Context(), []Intent{intent(n + 1)})
					if errors.Is(err, ErrNoRoom) {
						refused++
						pass(2 * rewritePause)
						synctest.Wait()
						err = j.Intent(t.Context(), []Intent{intent(n + 1)})
					}
					require.NoError(t, err, n)
					require.NoError(t, j.Keep(keep(n+1, strings.Repeat("x", 400))))
					j.Drop(nonce(n + 1))
				}
				assert.Less(t, refused, 300, "it is written anew before anybody is refused, as a rule")
				require.Equal(t, []Keep{keep(1_000_000, "stays")}, afterCrash(t, d, 1).Keeps[:1])
				require.NoError(t, j.Trouble())
				require.NoError(t, j.Close())
				require.Len(t, d.listed(), 1)
			})
		})
	}
}

// A file that has taken the whole disk is written anew once what was in it is of the
// past, and nothing that is not: nobody has to give the disk any room.
func TestFullDiskOfThePastGivesRoom(t *testing.T) {
	t.Parallel()
	for _, limit := range []int64{16 << 10, 48 << 10, 144 << 10} {
		synctest.Test(t, func(t *testing.T) {
			d := newMemDisk()
			d.limit = limit
			j := onDisk(t, d, Options{MaxReply: 500, SegmentSize: 128 << 10})
			n := uint64(1)
			for ; ; n++ {
				if err := j.Change(t.Context(), change(n, "")); err != nil {
					require.ErrorIs(t, err, ErrNoRoom)
					break
				}
			}
			require.ErrorIs(t, j.Trouble(), ErrNoRoom, "it is full of what is needed")
			pass(2 * rewritePause)
			synctest.Wait()
			require.Equal(t, 1, d.made, "which would need as much room elsewhere")
			for i := range n - 2 {
				j.Drop(nonce(i + 1))
			}
			if err := j.Change(t.Context(), change(n, strings.Repeat("x", 4000))); err != nil { // it came before the room did
				require.ErrorIs(t, err, ErrNoRoom)
				pass(2 * rewritePause)
				synctest.Wait()
				require.NoError(t, j.Trouble())
				require.NoError(t, j.Change(t.Context(), change(n, strings.Repeat("x", 4000))))
			}
			left := afterCrash(t, d, 1).Changes
			require.Len(t, left, 2)
			require.Equal(t, [2]uint64{n - 1, n}, [2]uint64{left[0].Version, left[1].Version})
			require.NoError(t, j.Close())
		})
	}
}

// Where even the file that would give room has none, what is there stays: all that
// was acknowledged, and the room that was set aside.
func TestNoRoomForAnotherFileTakesNothingAway(t *testing.T) {
	t.Parallel()
	for _, s := range []step{stepCreate, stepAllocate, stepTruncate, stepWrite, stepSync} {
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				d := newMemDisk()
				d.limit = 64 << 10
				j := onDisk(t, d, Options{MaxReply: 500, SegmentSize: 64 << 10})
				first := current(j)
				d.setAfter(after)
				d.setHook(func(taken step, name string) error {
					if taken == s && (name != fileName(first) || s == stepTruncate) {
						return unix.ENOSPC
					}
					return nil
				})
				var open []uint64
				for n := uint64(1); ; n++ {
					if n%4 == 0 { // some of it is of the past
						require.NoError(t, j.Keep(keep(open[0], strings.Repeat("x", 500))))
						j.Drop(nonce(open[0]))
						open = open[1:]
					}
					if err := j.Intent(t.Context(), []Intent{intent(n)}); err != nil {
						require.ErrorIs(t, err, ErrNoRoom)
						break
					}
					open = append(open, n)
				}
				for range 3 {
					pass(2 * rewritePause)
					synctest.Wait()
				}
				d.mu.Lock()
				d.limit = d.used() // somebody else has taken what was given back
				d.mu.Unlock()
				for _, n := range open {
					require.NoError(t, j.Keep(keep(n, strings.Repeat("x", 500))), "room was set aside: %s", s)
				}
				require.Len(t, afterCrash(t, d, 1).Keeps, len(open), s)

				d.mu.Lock()
				d.limit = 64 << 10
				d.mu.Unlock()
				d.setAfter(false)
				d.setHook(func(step, string) error { return nil })
				for _, n := range open {
					j.Drop(nonce(n))
				}
				pass(2 * rewritePause)
				synctest.Wait()
				require.NoError(t, j.Intent(t.Context(), []Intent{intent(1_000_000)}), s)
				require.NoError(t, j.Trouble())
				require.NoError(t, j.Close())
				if !after { // what was made by a step that failed is nobody's to close here
					require.Zero(t, d.opened(), s)
				}
			})
		}
	}
}

// That nothing can be begun is known from the first who is refused until there is
// room, whether anybody asks for some or not.
func TestTroubleEnds(t *testing.T) {
	t.Parallel()
	d := newMemDisk()
	d.limit = 16 << 10
	j := onDisk(t, d, Options{MaxReply: 2000, SegmentSize: 4 << 10})
	require.NoError(t, j.Trouble())
	for n := uint64(1); ; n++ {
		if err := j.Intent(t.Context(), []Intent{intent(n)}); err != nil {
			require.ErrorIs(t, err, ErrNoRoom)
			break
		}
		require.NoError(t, j.Trouble(), "nobody has asked for more")
	}
	require.ErrorContains(t, j.Trouble(), "journal /journal/owner-1.wal: no room for the journal")
	d.mu.Lock()
	d.limit = 64 << 10
	d.mu.Unlock()
	require.NoError(t, j.Trouble(), "somebody has made room, and nobody has asked since")
	require.NoError(t, j.Close())
	require.ErrorIs(t, j.Trouble(), ErrClosed)
}

// A journal that is made on a disk which the dead have filled has no room for
// replies at first, and gets it from what they give back.
func TestBareJournal(t *testing.T) {
	t.Parallel()
	d := newMemDisk()
	d.limit = 8 << 10
	_, err := create(d, "/journal", "owner-1", Options{MaxReply: 4000})
	require.ErrorIs(t, err, ErrNoRoom)
	j, err := create(d, "/journal", "owner-1", Options{MaxReply: 4000, bare: true})
	require.NoError(t, err)
	require.ErrorIs(t, j.Intent(t.Context(), []Intent{intent(1)}), ErrNoRoom)
	d.mu.Lock()
	d.limit = 64 << 10
	d.mu.Unlock()
	require.NoError(t, j.Intent(t.Context(), []Intent{intent(1)}))
	j.Drop(nonce(1))
	require.NoError(t, j.Close())
}
