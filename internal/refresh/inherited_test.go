package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// A dead process whose heir has put back what it left holds up nobody, though one
// that meets the run of the store later knows it from before, and puts it on the
// roster again. Only its heir can tell: the journal's lock is the heir's.
func TestWhoseJournalWasPutBackIsNotWaitedForAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, stops bool }{
		"introduced before its journal is taken up":                          {before: true},
		"introduced after its journal was taken up":                          {},
		"introduced after its journal was taken up, by one that has stopped": {stops: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			one, two := b.node("one", lossy, b.elsewhere()), b.node("two", lossy)
			third := b.node("third", lossy, b.elsewhere())
			b.settle(one, two, third)
			before := b.snapshot()
			b.put(two, "alice")
			b.settle(one, two, third)
			two.die()
			b.fallBack(before)
			heir := b.node("heir", lossy)
			require.Contains(t, b.roster(), "two")
			if c.before {
				require.NoError(t, one.tick(t.Context()))
			}
			for i := 0; i < 60 && b.roster()["two"] != ""; i++ {
				b.clock.advance(barrierStep)
				require.NoError(t, heir.tick(t.Context()))
			}
			require.NotContains(t, b.roster(), "two", "its heir has put back what it left")
			require.NotEqual(t, passAll, heir.barrier.passes(), "it waits for those who have not met the run")
			nodes := []*node{heir, one, third}
			if c.stops {
				heir.stop()
				nodes = nodes[1:]
			}
			b.forced(nodes...)
			assert.NotContains(t, b.roster(), "two")
			b.held(one, "alice")
		})
	}
}

// Who finds a dead process's journal makes no first start, though it has taken the
// dead one off a roster on which nobody else is: others may come, who wait in a
// moment for what an empty store has not got.
func TestAnHeirMakesNoFirstStart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy, b.elsewhere()), b.node("two", lossy)
	b.settle(one, two)
	b.put(two, "bob") // its journal has something
	two.die()
	meta := b.snapshot().hashes["rd:meta"] // a young folder gives an empty store its name again
	b.fallBack(snapshot{hashes: map[string]map[string]string{"rd:meta": meta}})
	heir := b.node("heir", lossy)
	for range rejoinWait/barrierStep - 1 { // one is late
		b.clock.advance(barrierStep)
		require.NoError(t, heir.tick(t.Context()))
		require.NotEqual(t, passAll, heir.barrier.passes())
	}
	require.NotContains(t, b.roster(), "two", "its journal was taken up")
	b.forced(one, heir)
	b.held(one, "bob")
}

// roster returns the store's own list of who works on it.
func (b *bundle) roster() map[string]string {
	return b.client.HGetAll(b.t.Context(), "rd:members").Val()
}

// A UID that an owner was told is stored comes back with the journal of the process that
// stored it, also where others have written since on a store that had lost it.
func TestAUIDThatTheStoreLostComesBack(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(*node) (credential.Held, error){
		"nothing was written": func(*node) (credential.Held, error) { return credential.Held{}, nil },
		"a pause":             func(n *node) (credential.Held, error) { return n.SetPaused(t.Context(), "alice", true, "") },
		"a plan":              func(n *node) (credential.Held, error) { return n.PlanOnce(t.Context(), "alice", time.Minute, "") },
	} {
		for replaced, first := range map[string]string{"the first": "", "another": "u-0"} {
			t.Run(replaced+", "+name, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				away := b.elsewhere()
				one, two := b.node("one", lossy, away), b.node("two", lossy)
				login := b.loginOf("alice", first)
				_, err := two.Put(t.Context(), login, Expect{})
				require.NoError(t, err)
				b.settle(one, two)
				before := b.snapshot()
				login.Subject = "u-1"
				_, err = one.Put(t.Context(), login, Expect{})
				require.NoError(t, err)
				told := b.eventIDs(one, "alice")
				one.die()
				b.fallBack(before)
				for range 12 {
					b.clock.advance(time.Second)
					require.NoError(t, two.tick(t.Context()))
				}
				_, err = meanwhile(two)
				require.NoError(t, err)
				heir := b.node("heir", lossy, away)
				for range 12 {
					b.clock.advance(time.Second)
					require.NoError(t, two.tick(t.Context()))
					require.NoError(t, heir.tick(t.Context()))
				}
				assert.Equal(t, "u-1", b.held(two, "alice").Record.Subject)
				assert.Equal(t, told, b.eventIDs(two, "alice"), "whoever has seen them sees duplicates")
			})
		}
	}
}

// A UID comes back also where an exchange that was in the air has taken its version: as
// the next one, as everything does that is seen to be missing late.
func TestAUIDThatTheStoreLostComesBackBesideAReply(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string]*credential.Outcome{
		"that brings a token": nil,
		"that fails":          {Class: credential.ClassNotProcessed, Reason: credential.ReasonUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if outcome != nil {
				b.provider.failing(*outcome)
			}
			away := b.elsewhere()
			one, two := b.node("one", lossy, away), b.node("two", lossy)
			login := b.loginOf("alice", "u-0")
			_, err := two.Put(t.Context(), login, Expect{})
			require.NoError(t, err)
			b.due()
			b.settle(one, two)
			b.settle(one, two)
			done, let := b.inTheAir(two)
			before := b.snapshot()
			login.Subject = "u-1"
			_, err = one.Put(t.Context(), login, Expect{})
			require.NoError(t, err)
			one.die()
			b.fallBack(before)
			b.seconds(12, two)
			let()
			soon(t, done, "the batch")
			met := b.held(two, "alice").Record
			heir := b.node("heir", lossy, away)
			b.seconds(12, heir, two)
			got := b.held(two, "alice").Record
			assert.Equal(t, "u-1", got.Subject)
			assert.Equal(t, met.Version+1, got.Version)
			assert.Equal(t, got.Version, got.LastEvents[credential.EventClaimsChanged])
			assert.Equal(t, met.State, got.State)
			own, err := two.OfSubject(t.Context(), []credential.ID{"alice"}, "u-0")
			require.NoError(t, err)
			assert.Equal(t, []bool{false}, own)
		})
	}
}

// What a dead process had stored comes back before the reply of another dead one is
// looked at, whichever of the two journals is taken up first: others may have seen
// the write, and what comes of the reply must not take its version.
func TestWhatTheDeadHadStoredComesBackBeforeTheirReplies(t *testing.T) {
	t.Parallel()
	for name, far := range map[string]func(b *bundle) func(*Options){
		"journals of two machines": (*bundle).elsewhere,
		"journals of one machine":  func(*bundle) func(*Options) { return func(*Options) {} },
	} {
		for name2, again := range map[string]bool{"": false, ", once more": true} {
			t.Run(name+name2, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				there := far(b)
				wrote, heir := b.node("wrote", lossy, there), b.node("other", lossy, there)
				asked, near := b.node("asked"), b.node("near", lossy) // what comes of the reply is noted nowhere
				all := []*node{near, heir, wrote, asked}
				b.settle(all...)
				b.put(asked, "alice")
				b.settle(all...)
				b.due()
				for _, n := range all {
					require.NoError(t, n.tick(t.Context()))
				}
				done, let := b.inTheAir(asked)
				before := b.snapshot()
				_, err := wrote.Logout(t.Context(), "alice", Expect{})
				require.NoError(t, err)
				held, seen := b.held(near, "alice"), b.eventIDs(near, "alice")
				asked.store.set(func(s *faultyStore) { s.away = true })
				let()
				soon(t, asked.store.refused, "the reply, which cannot be stored")
				asked.die()
				soon(t, done, "the end of the dead process's batch")
				wrote.die()
				if again { // both journals have been taken up, and are kept
					require.NoError(t, near.tick(t.Context()))
					require.NoError(t, heir.tick(t.Context()))
				}

				b.fallBack(before)
				require.Len(t, b.eventIDs(near, "alice"), 1, "the store really lost it")
				for range 2 { // the heir of the reply is early
					b.clock.advance(rejoinWait / 2)
					require.NoError(t, near.tick(t.Context()))
				}
				for range 4 {
					b.settle(near, heir)
				}
				require.Equal(t, passAll, near.barrier.passes())
				require.Equal(t, passAll, heir.barrier.passes())
				assert.Equal(t, seen, b.eventIDs(near, "alice"))
				assert.Equal(t, held.Record.Version, b.held(near, "alice").Record.Version)
				assert.Equal(t, credential.StateLoggedOut, b.held(near, "alice").Record.State)
				assert.Equal(t, 1, b.provider.most())
			})
		}
	}
}

// While somebody may still put something back nothing is told that time alone has
// brought: what the store has lost may be a refresh.
func TestNothingExpiresBeforeEverythingIsBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	patient := func(o *Options) { o.Quarantine = time.Minute }
	away, near := b.node("away", lossy, patient, b.elsewhere()), b.node("near", lossy, patient)
	b.settle(away, near)
	b.put(away, "alice")
	b.due()
	b.settle(away, near)
	before := b.snapshot()
	b.batch(away, "alice")
	held, seen := b.held(near, "alice"), b.eventIDs(near, "alice")
	away.die()

	b.fallBack(before)
	b.seconds(int(near.opts.Silence.Seconds())+2, near)
	require.Equal(t, passWrites, near.barrier.passes())
	b.clock.advance(life / 2) // the token that the store knows is over; nobody was looked at meanwhile
	b.seconds(2, near)
	require.Equal(t, passWrites, near.barrier.passes())
	report, err := near.AdvanceBatch(t.Context(), acme, []credential.ID{"alice"})
	require.NoError(t, err)
	assert.Zero(t, report.Advanced)

	heir := b.node("heir", lossy, patient, func(o *Options) { o.Folder = away.opts.Folder })
	b.seconds(5, heir, near)
	require.Equal(t, passAll, near.barrier.passes())
	assert.Equal(t, seen, b.eventIDs(near, "alice"))
	assert.Equal(t, held.Record.Version, b.held(near, "alice").Record.Version)
	assert.Equal(t, held.Record.ExpiresAt, b.held(near, "alice").Record.ExpiresAt)
}
