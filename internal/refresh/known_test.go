package refresh

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// What is shown of a store that came back without its last writes is never older
// than what this process knows: nobody is answered before it was put back, not
// even where the other run was not noticed yet.
func TestNothingOlderIsShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", lossy)
	b.put(n, "alice")
	b.settle(n)
	before := b.snapshot()
	b.put(n, "carol")
	_, err := n.Refresh(t.Context(), "alice", 0)
	require.NoError(t, err)
	_, err = n.Refresh(t.Context(), "alice", 0)
	require.NoError(t, err)

	show := func(id credential.ID) (*credential.Held, error) {
		return n.Current(t.Context(), id, func(ctx context.Context) (held *credential.Held, err error) {
			err = n.OnKnownRun(ctx, func(ctx context.Context) error {
				list, err := n.store.Records(ctx, id)
				if err == nil {
					held = list[0]
				}
				return err
			})
			return held, err
		})
	}
	held, err := show("alice")
	require.NoError(t, err)
	require.EqualValues(t, 3, held.Record.Version)

	b.fallBack(before)
	require.EqualValues(t, 1, b.held(n, "alice").Record.Version, "the store really lost it")
	for range 2 { // before and after it is noticed
		for _, id := range []credential.ID{"alice", "carol"} {
			_, err = show(id)
			unavailable := new(UnavailableError)
			require.ErrorAs(t, err, &unavailable)
			assert.Equal(t, credential.ReasonStoreUnavailable, unavailable.Reason)
			require.ErrorAs(t, err, new(anotherRun), "being put back")
		}
		require.NoError(t, n.tick(t.Context()))
	}
	b.settle(n)
	for id, version := range map[credential.ID]uint64{"alice": 3, "carol": 1} {
		held, err := show(id)
		require.NoError(t, err)
		assert.Equal(t, version, held.Record.Version)
	}
}

// A version that memory has and the store lacks, as of a reply that is still to be
// stored, is shown with what the owner has said meanwhile of when calls are made.
func TestWhatMemoryHasIsShownWithTheOwnersPlans(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one"), b.node("two")
	b.put(one, "alice")
	before := b.held(one, "alice")
	_, err := one.Refresh(t.Context(), "alice", 0)
	require.NoError(t, err)
	h := before // as it is in the store until the reply is there
	planned, err := two.PlanOnce(t.Context(), "alice", time.Hour, "")
	require.NoError(t, err)
	paused, err := two.SetPaused(t.Context(), "alice", true, "")
	require.NoError(t, err)
	h.Record.Plans, h.Record.OnceAt, h.Record.Paused = paused.Record.Plans, planned.Record.OnceAt, true

	shown := one.Shown(h).Record
	assert.Equal(t, before.Record.Version+1, shown.Version)
	assert.True(t, shown.Paused)
	assert.Equal(t, planned.Record.OnceAt, shown.OnceAt)
	h.Record.Grant++
	assert.False(t, one.Shown(h).Record.Paused, "it was said of another login")
}

// What a dead process, on another machine, had acknowledged comes back from its journal
// long after Redis has lost it. A word that its owner said since stands, also where
// what was read was that way already.
func TestAnOwnersLastWordStandsOverAJournal(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct {
		say func(n *node, on bool) error
		id  credential.ID
	}{
		"a credential": {say: func(n *node, on bool) error {
			_, err := n.SetPaused(t.Context(), "alice", on, "")
			return err
		}, id: "alice"},
		"a provider": {say: func(n *node, on bool) error {
			_, err := n.PauseProvider(t.Context(), acme, on)
			return err
		}, id: credential.ClientID(acme)},
		"the service": {say: func(n *node, on bool) error {
			_, err := n.PauseProvider(t.Context(), credential.AllClients, on)
			return err
		}, id: credential.ClientID(credential.AllClients)},
	} {
		for _, story := range []struct {
			what       string
			kept, lost []bool // pauses, and ends of them
			last       bool
		}{
			{what: "a resumption that changes nothing", kept: []bool{true, false}, lost: []bool{true}},
			{what: "the first word there is", lost: []bool{true}},
			{what: "a pause that changes nothing", kept: []bool{true}, lost: []bool{false}, last: true},
			{what: "a resumption after more words than one", kept: []bool{true}, lost: []bool{false, true}},
		} {
			t.Run(story.what+" of "+name, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				dir := t.TempDir()
				away := func(o *Options) { o.Folder = journals{dir: dir, place: "elsewhere"} }
				one, two := b.node("one", lossy, away), b.node("two", lossy)
				b.put(two, "alice")
				b.settle(one, two)
				for _, on := range story.kept {
					require.NoError(t, of.say(two, on))
				}
				b.settle(one, two)
				before := b.snapshot()
				for _, on := range story.lost {
					require.NoError(t, of.say(one, on))
				}
				one.die()
				b.fallBack(before)
				b.seconds(int(two.opts.Silence.Seconds())+2, two)
				require.Equal(t, passWrites, two.barrier.passes(), "one may hold what nobody else knows")
				require.NoError(t, of.say(two, story.last))
				heir := b.node("heir", lossy, away)
				b.seconds(12, heir, two)
				require.Equal(t, passAll, two.barrier.passes())
				assert.Equal(t, story.last, b.held(two, of.id).Record.Paused)
			})
		}
	}
}

// So it does where that process was given up: its machine may be back at any time.
func TestAnOwnersLastWordStandsAfterTheQuarantine(t *testing.T) {
	t.Parallel()
	b := setup(t)
	away := b.elsewhere()
	brief := func(o *Options) { o.Quarantine = time.Minute }
	one, two := b.node("one", lossy, away, brief), b.node("two", lossy, brief)
	b.put(two, "alice")
	b.settle(one, two)
	before := b.snapshot()
	_, err := one.SetPaused(t.Context(), "alice", true, "")
	require.NoError(t, err)
	one.die()
	b.fallBack(before)
	b.seconds(90, two)
	require.Equal(t, passAll, two.barrier.passes(), "nobody is waited for any more")
	_, err = two.SetPaused(t.Context(), "alice", false, "")
	require.NoError(t, err)
	heir := b.node("heir", lossy, away, brief)
	b.seconds(12, heir, two)
	assert.False(t, b.held(two, "alice").Record.Paused)
}

// A pause outlives a login, also one that was made while the store lacked the pause. It
// does not outlive a logout.
func TestAPauseThatWasLostOutlivesALogin(t *testing.T) {
	t.Parallel()
	for name, logout := range map[string]bool{"a login": false, "a logout and a login": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			away := b.elsewhere()
			one, two := b.node("one", lossy, away), b.node("two", lossy)
			b.put(two, "alice")
			b.settle(one, two)
			before := b.snapshot()
			_, err := one.SetPaused(t.Context(), "alice", true, "")
			require.NoError(t, err)
			one.die()
			b.fallBack(before)
			b.seconds(int(two.opts.Silence.Seconds())+2, two)
			if logout {
				_, err = two.Logout(t.Context(), "alice", Expect{})
				require.NoError(t, err)
			}
			_, err = two.Put(t.Context(), credential.Login{
				ID: "alice", Provider: acme, Token: b.provider.grant("alice, again"), ExpiresIn: life,
			}, Expect{})
			require.NoError(t, err)
			heir := b.node("heir", lossy, away)
			b.seconds(12, heir, two)
			assert.Equal(t, !logout, b.held(two, "alice").Record.Paused)
		})
	}
}

// That something is not there, such as an API key that is to be revoked, is no answer
// of a store that may have lost it, not even where the other run was not noticed yet.
func TestWhatAStoreThatFellBackLacksIsNotAnswered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", lossy)
	b.settle(n)
	errNone, errBroken := errors.New("there is none"), errors.New("it is broken")
	there, removed := true, 0
	remove := func(context.Context) error {
		if !there {
			return fmt.Errorf("remove a key: %w", errNone)
		}
		there = false
		removed++
		return nil
	}
	n.Acknowledged("a key", func(context.Context) error {
		there = true
		return nil
	})
	before := b.snapshot()
	there = false
	b.fallBack(before)
	for range 2 { // before and after it is noticed
		unavailable := new(UnavailableError)
		require.ErrorAs(t, n.Surely(t.Context(), remove, errNone), &unavailable, "it was answered")
		assert.Equal(t, credential.ReasonStoreUnavailable, unavailable.Reason)
		require.ErrorIs(t, n.Surely(t.Context(), func(context.Context) error { return errBroken }, errNone), errBroken, "no answer")
		require.NoError(t, n.tick(t.Context()))
		there = false
	}
	b.settle(n)
	there = true
	require.NoError(t, n.Surely(t.Context(), remove, errNone))
	assert.Equal(t, 1, removed)
	require.ErrorIs(t, n.Surely(t.Context(), remove, errNone), errNone, "nothing is missing: now it is an answer")
}

// A received token that the store has not taken yet is shown as it is served.
func TestWhatIsPromisedIsShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	before := b.put(n, "alice")
	b.due()
	let := b.provider.holding()
	done := start(func() (credential.Held, error) { return n.Refresh(t.Context(), "alice", 1) })
	soon(t, b.provider.entered, "the exchange")
	n.away()
	let()
	served := soon(t, done, "the token")
	require.NoError(t, served.err)
	held, err := n.Current(t.Context(), "alice", func(context.Context) (*credential.Held, error) { return &before, nil })
	require.NoError(t, err)
	assert.Equal(t, served.value.Record.Version, held.Record.Version)
}

// A record that ends as it is read is read once more: nothing is missing from the store.
func TestWhatEndsAsItIsReadIsShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one"), b.node("two")
	before := b.put(one, "alice")
	reads := 0
	held, err := two.Current(t.Context(), "alice", func(ctx context.Context) (*credential.Held, error) {
		if reads++; reads > 1 {
			return new(b.held(two, "alice")), nil
		}
		ended, err := one.Logout(ctx, "alice", Expect{})
		two.Observe(credential.Event{ID: "alice", Version: ended.Record.Version, State: ended.Record.State})
		return &before, err
	})
	require.NoError(t, err)
	assert.Equal(t, credential.StateLoggedOut, held.Record.State)
	assert.Equal(t, 2, reads)
}

// Nor is it taken for missing where its token is asked for.
func TestWhatEndsAsItsTokenIsReadIsSaid(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one"), b.node("two")
	b.put(one, "alice")
	two.store.set(func(s *faultyStore) {
		s.behind = func() {
			if ended, err := one.Logout(t.Context(), "alice", Expect{}); assert.NoError(t, err) {
				two.Observe(credential.Event{ID: "alice", Version: ended.Record.Version, State: ended.Record.State})
			}
		}
	})
	_, err := two.Token(t.Context(), "alice", 0)
	over := new(StateError)
	require.ErrorAs(t, err, &over)
	assert.Equal(t, credential.StateLoggedOut, over.State)
}

// What an owner says is not taken for done already, or for refused, by a record of
// which the store has lost the last version, not even where the other run was not
// noticed yet: he is not answered before that was put back, and then his word stands.
func TestAnOwnersWordStandsThoughTheStoreFellBack(t *testing.T) {
	t.Parallel()
	type word func(ctx context.Context, n *node) error
	of := func(_ credential.Held, err error) error { return err }
	pause := func(on bool) word {
		return func(ctx context.Context, n *node) error { return of(n.SetPaused(ctx, "alice", on, "")) }
	}
	presence := func(p credential.Presence) word {
		return func(ctx context.Context, n *node) error { return of(n.SetPresence(ctx, "alice", p, "")) }
	}
	plan := func(after time.Duration) word {
		return func(ctx context.Context, n *node) error { return of(n.PlanOnce(ctx, "alice", after, "")) }
	}
	hold := func(on bool) word {
		return func(ctx context.Context, n *node) error {
			_, err := n.PauseProvider(ctx, acme, on)
			return err
		}
	}
	put := func(login credential.Login, expect Expect) word {
		return func(ctx context.Context, n *node) error {
			_, err := n.Put(ctx, login, expect)
			return err
		}
	}
	logout := func(expect Expect) word {
		return func(ctx context.Context, n *node) error { return of(n.Logout(ctx, "alice", expect)) }
	}
	remove := func(ctx context.Context, n *node) error { return n.Delete(ctx, "alice", Expect{}, false) }
	type story struct {
		kept, lost []word
		last       word
		stands     func(h credential.Held) bool
		ofClient   bool
	}
	in := func(state credential.State) func(credential.Held) bool {
		return func(h credential.Held) bool { return h.Record.State == state }
	}
	paused := func(on bool) func(credential.Held) bool {
		return func(h credential.Held) bool { return h.Record.Paused == on }
	}
	for name, tell := range map[string]func(b *bundle) story{
		"a pause": func(b *bundle) story {
			return story{
				kept: []word{put(b.login("alice"), Expect{}), pause(true)}, lost: []word{pause(false)},
				last: pause(true), stands: paused(true),
			}
		},
		"an end of a pause": func(b *bundle) story {
			return story{
				kept: []word{put(b.login("alice"), Expect{})}, lost: []word{pause(true)},
				last: pause(false), stands: paused(false),
			}
		},
		"a refresh taken back": func(b *bundle) story {
			return story{
				kept: []word{put(b.login("alice"), Expect{})}, lost: []word{plan(time.Minute)},
				last: plan(-1), stands: func(h credential.Held) bool { return h.Record.OnceAt == 0 },
			}
		},
		"a presence": func(b *bundle) story {
			b.sliding()
			return story{
				kept: []word{put(signIn(password), Expect{}), presence(credential.PresenceActive)},
				lost: []word{presence(credential.PresenceBackground)},
				last: presence(credential.PresenceActive), stands: func(h credential.Held) bool { return h.Record.Presence == credential.PresenceActive },
			}
		},
		"a pause of the provider": func(*bundle) story {
			return story{
				kept: []word{hold(true)}, lost: []word{hold(false)},
				last: hold(true), stands: func(h credential.Held) bool { return credential.BreakerOf(h.Record).Paused }, ofClient: true,
			}
		},
		"a logout": func(b *bundle) story {
			return story{
				kept: []word{put(b.login("alice"), Expect{}), logout(Expect{})}, lost: []word{put(b.login("alice"), Expect{})},
				last: logout(Expect{}), stands: in(credential.StateLoggedOut),
			}
		},
		"a logout on a condition": func(b *bundle) story {
			return story{
				kept: []word{put(b.login("alice"), Expect{})}, lost: []word{put(b.login("alice"), Expect{})},
				last: logout(Expect{Version: 2}), stands: in(credential.StateLoggedOut),
			}
		},
		"a deletion": func(b *bundle) story {
			return story{
				lost: []word{put(b.login("alice"), Expect{})},
				last: remove, stands: in(credential.StateDeleted),
			}
		},
		"a deletion after another": func(b *bundle) story {
			return story{
				kept: []word{put(b.login("alice"), Expect{}), remove}, lost: []word{put(b.login("alice"), Expect{})},
				last: remove, stands: in(credential.StateDeleted),
			}
		},
		"a login that came before another": func(b *bundle) story {
			first, second := b.login("alice"), b.login("alice")
			return story{
				kept: []word{put(first, Expect{})}, lost: []word{put(second, Expect{})},
				last: put(first, Expect{}), stands: func(h credential.Held) bool { return h.Token.Refresh.Equal(first.Token.Refresh) },
			}
		},
		"a login where none is": func(b *bundle) story {
			return story{
				kept: []word{put(b.login("alice"), Expect{})}, lost: []word{remove},
				last: put(b.login("alice"), Expect{Absent: true}), stands: in(credential.StateActive),
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			s := tell(b)
			n := b.node("one", lossy)
			b.settle(n)
			for _, say := range s.kept {
				require.NoError(t, say(t.Context(), n))
			}
			early := b.snapshot()
			for _, say := range s.lost {
				require.NoError(t, say(t.Context(), n))
			}
			b.fallBack(early)
			for range 2 { // before and after it is noticed
				unavailable := new(UnavailableError)
				require.ErrorAs(t, s.last(t.Context(), n), &unavailable, "it was answered")
				assert.Equal(t, credential.ReasonStoreUnavailable, unavailable.Reason)
				require.NoError(t, n.tick(t.Context()))
			}
			b.settle(n)
			require.NoError(t, s.last(t.Context(), n))
			id := credential.ID("alice")
			if s.ofClient {
				id = credential.ClientID(acme)
			}
			assert.True(t, s.stands(b.held(n, id)))
		})
	}
}
