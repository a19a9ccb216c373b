package refresh

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// told has the journal of n tell of many logins, and as many tokens, that the store
// has.
func (b *bundle) told(n *node, many int) {
	b.t.Helper()
	ids := make([]credential.ID, many)
	for i := range ids {
		ids[i] = credential.ID(fmt.Sprintf("known-%03d", i))
		b.put(n, ids[i])
	}
	b.due()
	b.batch(n, ids...)
	for range ids {
		<-b.provider.entered
	}
	found := n.inJournal()
	require.Len(b.t, found.Keeps, many)
	require.GreaterOrEqual(b.t, len(found.Changes), many)
}

// takeUp has n, which is not started, take up what the dead have left.
func (n *node) takeUp() {
	n.t.Helper()
	require.NoError(n.t, n.barrier.pass(n.t.Context()))
	n.commits.start(&n.loops)
	n.touches.start(&n.loops)
}

// elsewhere is a machine of its own, with a folder of its own.
func (b *bundle) elsewhere() func(*Options) {
	dir := b.t.TempDir()
	return func(o *Options) { o.Folder = journals{dir: dir, place: "elsewhere"} }
}

// What a dead process left open is taken up before what others left that have
// nothing open, whatever their names, and what the store knows costs no round
// trip of its own.
func TestWhatIsOpenIsAdoptedFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	long, one, late := b.node("a-long-one", lossy), b.node("one"), b.unstarted("heir")
	b.settle(long, one)
	b.told(long, 250)
	b.diesAfterReply(one)
	long.die()
	var first int
	late.store.set(func(s *faultyStore) {
		s.applied = func(w credential.Write) {
			if w.Record.ID == "alice" && first == 0 {
				late.store.set(func(s *faultyStore) { first = s.loads })
			}
		}
	})
	late.takeUp()
	h := b.held(late, "alice")
	assert.EqualValues(t, 2, h.Record.Generation)
	assert.Nil(t, h.Attempt)
	assert.Positive(t, first)
	assert.LessOrEqual(t, first, 5, "reads before the one token that was news was stored")
	late.store.set(func(s *faultyStore) {
		assert.LessOrEqual(t, s.loads, 15, "reads for more than 500 records that were known")
	})
	assert.Equal(t, 251, b.provider.calls())
	assert.Len(t, late.adopted, 2)
}

// Of what has nothing open, the journal that was written last comes first.
func TestTheNewestJournalIsAdoptedFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dead := []*node{b.node("b-oldest", lossy), b.node("c-middle", lossy), b.node("a-newest", lossy)}
	b.settle(dead...)
	heir := b.unstarted("heir")
	for _, n := range dead {
		b.put(n, credential.ID(n.owner))
		b.clock.advance(time.Second)
	}
	for _, n := range dead {
		n.die()
	}
	heir.takeUp()
	var order []string
	for _, a := range heir.adopted {
		order = append(order, a.dead.Owner)
	}
	assert.Equal(t, []string{"a-newest", "c-middle", "b-oldest"}, order)
}

// A process elsewhere that was killed is not given up while a neighbour of it
// lives: that one is going to read its journal.
func TestANeighbourWillReadTheJournal(t *testing.T) {
	t.Parallel()
	b := setup(t)
	far, near := b.node("far", b.elsewhere()), b.node("near")
	b.killedAfterReply()
	pass := func(d time.Duration, living ...*node) {
		for ; d > 0; d -= time.Second {
			b.clock.advance(time.Second)
			for _, n := range living {
				require.NoError(t, n.registry.Beat(t.Context(), "first run", 0, ""))
			}
			require.NoError(t, far.tick(t.Context()))
		}
	}
	require.NoError(t, far.tick(t.Context()))
	pass(2*10*time.Minute, near)
	h := b.held(far, "alice")
	require.NotNil(t, h.Attempt)
	assert.False(t, h.Attempt.Doubt, "its journal can be read, and a neighbour lives who will")
	assert.Equal(t, 1, b.provider.calls())

	require.NoError(t, near.tick(t.Context()))
	h = b.held(far, "alice")
	assert.Nil(t, h.Attempt)
	assert.EqualValues(t, 2, h.Record.Generation)
}

// A quarantine ends all the same: once the last neighbour is silent for as long,
// or after three of them.
func TestANeighbourIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		heard, inQuarantine time.Duration // the neighbour, the dead one's attempt
	}{
		"the neighbour dies":                        {5 * time.Minute, 15 * time.Minute},
		"the neighbour does not read it, or cannot": {31 * time.Minute, 30 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			far, near := b.node("far", b.elsewhere()), b.node("near")
			b.killedAfterReply()
			require.NoError(t, far.tick(t.Context()))
			var at time.Duration
			for ; at < 40*time.Minute; at += time.Second {
				if b.held(far, "alice").Attempt.Doubt {
					break
				}
				b.clock.advance(time.Second)
				if at < c.heard {
					require.NoError(t, near.registry.Beat(t.Context(), "first run", 0, ""))
				}
				require.NoError(t, far.tick(t.Context()))
			}
			assert.InDelta(t, (c.inQuarantine + far.opts.Silence).Seconds(), at.Seconds(), 2)
		})
	}
}

// Who reads a long journal is heard meanwhile.
func TestAnHeirIsHeard(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.killedAfterReply()
	heir := b.unstarted("heir")
	heard := make(chan struct{}, 100)
	heir.store.set(func(s *faultyStore) {
		s.beaten = func() { heard <- struct{}{} }
		s.applied = func(credential.Write) {
			for len(heard) > 0 {
				<-heard
			}
			soon(t, heard, "a heartbeat amid the adoption")
			soon(t, heard, "a second one")
		}
	})
	heir.takeUp()
	assert.EqualValues(t, 2, b.held(heir, "alice").Record.Generation)
}

// What was read ahead may be another record by the time its turn comes, by a
// neighbour's write or by the adopter's own.
func TestWhatWasReadAheadIsReadAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	heir := b.node("heir")
	b.killedAfterReply()
	found, err := heir.journal.Adopt(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Len(t, found[0].Kept, 1)
	r := heir.reader()
	require.NoError(t, r.ahead(t.Context(), []credential.ID{"alice", "nobody", "alice"}))
	assert.Len(t, r.read, 2)
	b.put(heir, "alice")
	again := b.held(heir, "alice")
	asked := make(chan struct{}, 1)
	b.provider.set(func(p *fakeProvider) { p.asked = asked })
	require.NoError(t, heir.replayKept(t.Context(), r, found[0].Kept[0]))
	h := b.held(heir, "alice")
	assert.Equal(t, again.Record, h.Record, "what came for an earlier login is not stored")
	assert.Empty(t, h.Alternates)
	soon(t, asked, "its revocation")

	logout := Change{Nonce: newNonce(), ID: "alice", Kind: ChangeLogout, Grant: h.Record.Grant + 1}
	require.NoError(t, r.ahead(t.Context(), []credential.ID{"alice"}))
	require.NoError(t, heir.replayChange(t.Context(), r, logout))
	h = b.held(heir, "alice")
	assert.Equal(t, credential.StateLoggedOut, h.Record.State)
	require.NoError(t, heir.replayChange(t.Context(), r, logout))
	assert.Equal(t, h.Record, b.held(heir, "alice").Record, "once")
	require.NoError(t, found[0].Release())
}
