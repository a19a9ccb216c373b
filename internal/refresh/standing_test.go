package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// For a process that stands still on this machine, and may hold what the store has
// lost, every refresh waits, but no owner once it was silent for long enough, whatever
// those who live had under way, or a dead one has left. What it brings once it goes on
// has the versions that it had, or, where an owner was faster, the next ones.
func TestANeighbourThatStandsStillKeepsNoOwnerWaiting(t *testing.T) {
	t.Parallel()
	// refused has alice's refresh answered, and the reply kept from the store.
	refused := func(b *bundle, n *node, let func()) {
		n.store.set(func(s *faultyStore) { s.failApply = 1_000_000 })
		let()
		soon(b.t, n.store.refused, "the reply, which cannot be stored")
	}
	type ending func() // of what is under way, once everyone goes on
	for name, c := range map[string]struct {
		meanwhile func(b *bundle, stands, asks, dies *node) ending
		refreshed bool // alice
	}{
		"nothing is under way": {meanwhile: func(*bundle, *node, *node, *node) ending { return func() {} }},
		"its own call is in the air": {refreshed: true, meanwhile: func(b *bundle, stands, _, _ *node) ending {
			done, let := b.inTheAir(stands)
			b.t.Cleanup(let)
			return func() {
				let()
				require.Equal(b.t, 1, soon(b.t, done, "its batch").value.Refreshed)
			}
		}},
		"a change without an answer": {meanwhile: func(b *bundle, _, asks, _ *node) ending {
			asks.store.set(func(s *faultyStore) { s.failApply = ownersTries })
			_, err := asks.SetPaused(b.t.Context(), "alice", true, "")
			require.Error(b.t, err)
			return func() {}
		}},
		"a reply that is still to be stored": {refreshed: true, meanwhile: func(b *bundle, _, asks, _ *node) ending {
			done, let := b.inTheAir(asks)
			refused(b, asks, let)
			return func() { require.Equal(b.t, 1, soon(b.t, done, "its batch").value.Refreshed) }
		}},
		"a dead process's reply": {refreshed: true, meanwhile: func(b *bundle, _, _, dies *node) ending {
			done, let := b.inTheAir(dies)
			refused(b, dies, let)
			dies.die()
			soon(b.t, done, "the end of the dead process's batch")
			return func() {}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			brief := func(o *Options) { o.Quarantine = 10 * time.Second }
			stands, asks, dies := b.node("stands", lossy, brief), b.node("asks", lossy, brief), b.node("dies", lossy, brief)
			all := []*node{stands, asks, dies}
			b.settle(all...)
			b.put(asks, "alice")
			b.put(asks, "bob")
			b.put(asks, "dave")
			b.due()
			b.settle(all...)
			before := b.snapshot()
			require.Equal(t, 2, b.batch(stands, "bob", "dave").Refreshed)
			soon(t, b.provider.entered, "an exchange")
			soon(t, b.provider.entered, "the other exchange")
			held, seen := b.held(asks, "bob"), b.eventIDs(asks, "bob")
			end := c.meanwhile(b, stands, asks, dies)

			b.fallBack(before)
			asks.store.heal()
			alive := []*node{asks}
			if !dies.stopped {
				alive = append(alive, dies)
			}
			b.seconds(int(asks.opts.Silence.Seconds())+2, alive...)
			for _, n := range alive {
				require.Equal(t, passWrites, n.barrier.passes(), n.owner)
				assert.Equal(t, []string{"stands"}, n.WaitsFor())
			}
			b.put(asks, "carol")
			_, err := asks.SetPaused(t.Context(), "alice", true, "")
			require.NoError(t, err)
			_, err = asks.Logout(t.Context(), "dave", Expect{})
			require.NoError(t, err)
			b.seconds(40, alive...) // longer than three quarantines
			require.Equal(t, passWrites, asks.barrier.passes(), "it may hold what nobody else knows, and lives")
			_, err = asks.RefreshBatch(t.Context(), acme, []credential.ID{"bob"}, "")
			require.Error(t, err, "bob's token was presented")

			b.forced(append(alive, stands)...)
			end()
			assert.Equal(t, seen, b.eventIDs(asks, "bob"))
			assert.Equal(t, held, b.held(asks, "bob"))
			if c.refreshed {
				assert.EqualValues(t, 2, b.held(asks, "alice").Record.Generation)
			}
			assert.True(t, b.held(asks, "alice").Record.Paused)
			b.events(asks, "alice")
			b.events(asks, "dave")
			assert.Equal(t, 1, b.provider.most())
			assert.Empty(t, asks.WaitsFor())
		})
	}
}

// What builds on a write of somebody who stands still waits for it, as it was, and so
// do owners: their word must not take the version of either. It is told who that is.
// If he is killed his journal comes first.
func TestWhoHasTheWriteBeforeIsNamed(t *testing.T) {
	t.Parallel()
	here := func(*bundle) func(*Options) { return func(*Options) {} }
	for name, c := range map[string]struct {
		place func(b *bundle) func(*Options)
		dies  bool
	}{
		"on this machine":             {place: here},
		"on this machine, and killed": {place: here, dies: true},
		"on another machine":          {place: (*bundle).elsewhere},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			stands, asks := b.node("stands", lossy, c.place(b)), b.node("asks", lossy)
			b.settle(stands, asks)
			before := b.snapshot()
			b.put(stands, "alice")
			_, err := asks.Logout(t.Context(), "alice", Expect{})
			require.NoError(t, err)
			held, seen := b.held(asks, "alice"), b.eventIDs(asks, "alice")

			b.fallBack(before)
			b.seconds(int(asks.opts.Silence.Seconds())+2, asks)
			require.Equal(t, passNothing, asks.barrier.passes())
			assert.Equal(t, []string{"stands"}, asks.WaitsFor())
			if c.dies {
				stands.die()
				b.forced(asks)
			} else {
				b.forced(asks, stands)
			}
			assert.Equal(t, seen, b.eventIDs(asks, "alice"))
			assert.Equal(t, held, b.held(asks, "alice"))
			assert.Empty(t, asks.WaitsFor())
		})
	}
}

// What was never answered does not take the place of what a neighbour who stands still
// was told is stored, though no owner waits for him.
func TestWhatWasNeverAnsweredWaitsForWhoStandsStill(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stands, asks := b.node("stands", lossy), b.node("asks", lossy)
	b.settle(stands, asks)
	b.put(asks, "alice")
	b.settle(stands, asks)
	before := b.snapshot()
	login := func(name string) credential.Login {
		return credential.Login{ID: "alice", Provider: acme, Token: b.provider.grant(name), ExpiresIn: life}
	}
	asks.store.set(func(s *faultyStore) { s.failApply = ownersTries })
	_, err := asks.Put(t.Context(), login("alice, again"), Expect{})
	require.Error(t, err)
	_, err = stands.Put(t.Context(), login("alice, a third time"), Expect{})
	require.NoError(t, err)
	held, seen := b.held(stands, "alice"), b.eventIDs(stands, "alice")

	b.fallBack(before)
	asks.store.heal()
	b.seconds(int(asks.opts.Silence.Seconds())+2, asks)
	require.Equal(t, passWrites, asks.barrier.passes())
	require.True(t, asks.barrier.owes)
	b.forced(asks, stands)
	assert.False(t, asks.barrier.owes)
	assert.Equal(t, seen, b.eventIDs(asks, "alice"))
	assert.Equal(t, held, b.held(asks, "alice"))
}
