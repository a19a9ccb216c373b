package refresh

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/journal"
)

// hide takes a dead process's journal away and puts something unreadable in its place.
func (b *bundle) hide(n *node, instead func(path string) error) (path string, giveBack func()) {
	b.t.Helper()
	path = filepath.Join(n.journal.dir, n.owner+".wal")
	away := filepath.Join(b.t.TempDir(), "journal")
	require.NoError(b.t, os.Rename(path, away))
	require.NoError(b.t, instead(path))
	return path, func() {
		b.t.Helper()
		require.NoError(b.t, os.Remove(path))
		require.NoError(b.t, os.Rename(away, path))
	}
}

// seconds lets time pass, a second at a time, with a look of everyone in each.
func (b *bundle) seconds(n int, nodes ...*node) {
	b.t.Helper()
	for range n {
		b.clock.advance(time.Second)
		for _, one := range nodes {
			require.NoError(b.t, one.tick(b.t.Context()))
		}
	}
}

// After the store has fallen back, a dead process's journal that cannot be read keeps
// nobody from putting back what he knows, nor owners from being answered, on any
// machine. What it holds may be newer than the store: nothing is begun until it was
// read, or the quarantine is over.
func TestAJournalThatCannotBeReadHoldsUpNoMore(t *testing.T) {
	t.Parallel()
	const quarantine = time.Minute
	for name, instead := range map[string]func(path string) error{ // by anybody, root too
		"cannot be opened":       func(path string) error { return os.Symlink(path, path) },
		"has nothing to be read": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		for name2, given := range map[string]bool{", and is given back": true, ", and is not given back in time": false} {
			t.Run(name+name2, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				patient := func(o *Options) { o.Quarantine = quarantine }
				lost, near := b.node("lost", lossy, patient), b.node("near", lossy, patient)
				far := b.node("far", lossy, patient, b.elsewhere())
				b.settle(lost, near, far)
				b.put(lost, "alice")
				b.settle(lost, near, far)
				before := b.snapshot()
				b.put(far, "bob")
				_, err := lost.Logout(t.Context(), "alice", Expect{})
				require.NoError(t, err)
				seen := b.eventIDs(near, "alice")
				lost.die()
				path, giveBack := b.hide(lost, instead)

				b.fallBack(before)
				b.seconds(int(near.opts.Silence.Seconds())+2, near, far)
				for _, n := range []*node{near, far} {
					require.Equal(t, passWrites, n.barrier.passes(), n.owner)
					assert.Equal(t, []string{"lost"}, n.WaitsFor())
				}
				assert.Len(t, b.events(near, "bob"), 1, "what others know is back")
				b.put(near, "carol")
				assert.Contains(t, near.Unread(), path)
				assert.Empty(t, far.Unread())
				assert.Contains(t, b.log.String(), path)

				if given {
					giveBack()
					b.seconds(3, near, far)
				} else {
					b.seconds(int(quarantine.Seconds())-3, near, far)
					require.Equal(t, passWrites, near.barrier.passes())
					require.Equal(t, passWrites, far.barrier.passes())
					b.seconds(5, near, far)
				}
				require.Equal(t, passAll, near.barrier.passes())
				require.Equal(t, passAll, far.barrier.passes())
				if !given {
					assert.Equal(t, credential.StateActive, b.held(near, "alice").Record.State)
					assert.Contains(t, near.Unread(), path, "it is told as long as that is so")
					giveBack()
					b.seconds(1, near, far)
				}
				assert.Equal(t, credential.StateLoggedOut, b.held(near, "alice").Record.State)
				assert.Equal(t, seen, b.eventIDs(near, "alice"))
				assert.Empty(t, near.Unread())
			})
		}
	}
}

// A folder that cannot be looked through keeps nobody from putting back what he knows
// either. Somebody who is on no roster may have left a journal in it: where nobody else
// notes that everything is back, nothing is begun before the quarantine is over.
func TestAFolderThatCannotBeReadHoldsUpNoMore(t *testing.T) {
	t.Parallel()
	const quarantine = time.Minute
	for _, alone := range []bool{false, true} {
		b := setup(t)
		blind := new(atomic.Bool)
		patient := func(o *Options) { o.Quarantine = quarantine }
		near := b.node("near", lossy, patient, func(o *Options) { o.Folder = journals{dir: b.dir, place: b.dir, blind: blind} })
		nodes := []*node{near}
		if !alone {
			nodes = append(nodes, b.node("far", lossy, patient, b.elsewhere()))
		}
		b.settle(nodes...)
		before := b.snapshot()
		b.put(near, "alice")
		blind.Store(true)
		near.journal.set(func(j *testJournal) { j.adopt = errSpoil })

		b.fallBack(before)
		b.seconds(int(near.opts.Silence.Seconds())+2, nodes...)
		assert.Len(t, b.events(near, "alice"), 1)
		b.put(near, "bob")
		assert.Equal(t, errSpoil.Error(), near.Unread())
		if alone {
			require.Equal(t, passWrites, near.barrier.passes())
			b.seconds(int(quarantine.Seconds()), nodes...)
		}
		for _, n := range nodes {
			assert.Equal(t, passAll, n.barrier.passes(), n.owner)
		}
	}
}

// What one process finds unreadable it finds so while another one tries.
func TestAJournalThatAnotherOneTriesStaysUnread(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n, lost := b.node("one"), b.node("lost", lossy)
	b.put(lost, "alice")
	lost.die()
	found, err := journal.Adopt(b.dir, "other")
	require.NoError(t, err)
	require.Len(t, found, 1)
	n.journal.set(func(j *testJournal) { j.adopt = unreadJournalsError{"lost": errSpoil} })
	require.NoError(t, n.tick(t.Context()))
	n.journal.set(func(j *testJournal) { j.adopt = nil })
	require.NoError(t, n.tick(t.Context()))
	assert.Equal(t, errSpoil.Error(), n.Unread())
	require.NoError(t, found[0].Release())
	require.NoError(t, n.tick(t.Context()))
	assert.Empty(t, n.Unread(), "it could be taken up at last")
	assert.Equal(t, 1, strings.Count(b.log.String(), "cannot be taken up"))
}

// unreadJournalsError is an error of the journal about those owners.
type unreadJournalsError map[string]error

func (u unreadJournalsError) Error() string            { return "journals that cannot be read" }
func (u unreadJournalsError) Unread() map[string]error { return u }

// Who was given up, elsewhere and with nothing open, is on the roster no more: nobody
// waits for him at the next restart of the store. If he comes back, he is.
func TestWhoWasGivenUpIsNotWaitedForAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	patient := func(o *Options) { o.Quarantine = time.Minute }
	away, near := b.node("away", lossy, patient, b.elsewhere()), b.node("near", lossy, patient)
	b.settle(away, near)
	listed := func() bool { return b.client.HExists(t.Context(), "rd:members", "away").Val() }
	b.seconds(int((near.opts.Silence+near.opts.Quarantine).Seconds())-2, near)
	require.True(t, listed())
	b.seconds(4, near)
	require.False(t, listed())
	b.fallBack(b.snapshot())
	b.settle(near)
	require.Equal(t, passAll, near.barrier.passes())

	b.settle(away, near)
	assert.True(t, listed())
	assert.Equal(t, passAll, away.barrier.passes())
}
