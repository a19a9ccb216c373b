package refresh

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// loginOf is a login of a subject.
func (b *bundle) loginOf(id credential.ID, subject string) credential.Login {
	login := b.login(id)
	login.Subject = subject
	return login
}

func (b *bundle) putOf(n *node, id credential.ID, subject string) {
	b.t.Helper()
	_, err := n.Put(b.t.Context(), b.loginOf(id, subject), Expect{Subject: subject})
	require.NoError(b.t, err)
}

// For a subject, nothing is stored where another's credential is.
func TestChangesOfASubject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	ctx := t.Context()
	b.putOf(n, "alice", "u-1")
	b.put(n, "nobody")
	before := b.held(n, "alice")
	for _, subject := range []string{"u-2", "u-", "u-11", "U-1"} {
		for _, id := range []credential.ID{"alice", "nobody"} {
			_, err := n.Put(ctx, b.loginOf(id, subject), Expect{Subject: subject})
			require.ErrorIs(t, err, ErrOtherSubject)
			_, err = n.Put(ctx, b.loginOf(id, subject), Expect{Subject: subject, Absent: true})
			require.ErrorIs(t, err, ErrOtherSubject)
		}
		for _, id := range []credential.ID{"alice", "nobody", "unknown"} {
			var told []string
			for _, version := range []uint64{1, 9} {
				_, err := n.Put(ctx, b.loginOf(id, subject), Expect{Subject: subject, Version: version})
				require.ErrorIs(t, err, ErrConflict)
				told = append(told, err.Error())
				_, err = n.Logout(ctx, id, Expect{Subject: subject, Version: version})
				require.ErrorIs(t, err, ErrConflict)
				told = append(told, err.Error())
			}
			assert.Equal(t, "the credential is not as expected: it does not exist", told[0])
			for _, text := range told {
				assert.Equal(t, told[0], text, "whether anything is stored")
			}
			_, err := n.Logout(ctx, id, Expect{Subject: subject})
			require.ErrorIs(t, err, ErrNotFound)
			require.ErrorIs(t, n.Delete(ctx, id, Expect{Subject: subject}, true), ErrNotFound)
			_, err = n.SetPresence(ctx, id, credential.PresenceActive, subject)
			require.ErrorIs(t, err, ErrNotFound)
			_, err = n.SetPaused(ctx, id, true, subject)
			require.ErrorIs(t, err, ErrNotFound)
			_, err = n.PlanOnce(ctx, id, time.Minute, subject)
			require.ErrorIs(t, err, ErrNotFound)
		}
	}
	assert.Equal(t, before.Record, b.held(n, "alice").Record)
	assert.Empty(t, b.provider.withdrawn())

	_, err := n.SetPaused(ctx, "alice", true, "u-1")
	require.NoError(t, err)
	_, err = n.Logout(ctx, "alice", Expect{Subject: "u-1", Version: 1})
	require.NoError(t, err)
	require.NoError(t, n.Delete(ctx, "alice", Expect{Subject: "u-1"}, false))
	b.putOf(n, "alice", "u-2") // what was deleted is nobody's
}

// Of two subjects that store under one ID at the same moment one gets it, and
// the other does not take it over.
func TestSubjectsRace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	nodes := []*node{b.node("one"), b.node("two")}
	for round := range 20 {
		id := credential.ID(fmt.Sprint("id-", round))
		errs := make([]error, 2*len(nodes))
		var wg sync.WaitGroup
		for i := range errs {
			login := b.loginOf(id, fmt.Sprint("u-", i))
			wg.Go(func() {
				_, errs[i] = nodes[i%len(nodes)].Put(t.Context(), login, Expect{Subject: login.Subject})
			})
		}
		wg.Wait()
		stored := ""
		for i, err := range errs {
			if err == nil {
				require.Empty(t, stored, "two have stored it")
				stored = fmt.Sprint("u-", i)
				continue
			}
			require.ErrorIs(t, err, ErrOtherSubject)
		}
		assert.Equal(t, stored, b.held(nodes[0], id).Record.Subject)
		assert.Equal(t, []credential.EventType{credential.EventConnected}, b.events(nodes[0], id))
	}
}

// A subject's own credentials are told from memory. Others, and what is not
// stored, cost the same.
func TestOfSubject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n, other := b.node("one"), b.node("two")
	for i := range 3 {
		b.putOf(n, credential.ID(fmt.Sprint("mine-", i)), "u-1")
		b.putOf(n, credential.ID(fmt.Sprint("other-", i)), "u-2")
	}
	b.put(n, "nobodys")
	b.putOf(n, "gone", "u-1")
	require.NoError(t, n.Delete(t.Context(), "gone", Expect{}, false))
	n.hears()
	ask := func(loads int, want bool, ids ...credential.ID) {
		t.Helper()
		before := n.loaded()
		got, err := n.OfSubject(t.Context(), ids, "u-1")
		require.NoError(t, err)
		require.Len(t, got, len(ids))
		for i, id := range ids {
			assert.Equal(t, want, got[i], id)
		}
		assert.Equal(t, loads, n.loaded()-before, ids)
	}
	ask(0, true, "mine-0")
	ask(0, true, "mine-0", "mine-1", "mine-2")
	for _, id := range []credential.ID{"other-0", "unknown", "nobodys", "gone"} {
		ask(1, false, id)
		ask(1, false, id)
		ask(1, false, id, id)
	}
	got, err := n.OfSubject(t.Context(), []credential.ID{"mine-2", "other-1", "unknown", "mine-0", "gone"}, "u-1")
	require.NoError(t, err)
	assert.Equal(t, []bool{true, false, false, true, false}, got)

	n.store.set(func(s *faultyStore) { s.spoilt = map[credential.ID]bool{"other-1": true} })
	got, err = n.OfSubject(t.Context(), []credential.ID{"other-1", "mine-1"}, "u-1")
	require.NoError(t, err, "a record that cannot be read keeps no other back")
	assert.Equal(t, []bool{false, true}, got)
	n.store.set(func(s *faultyStore) { s.spoilt = nil })

	// It was stored for this subject a moment ago, elsewhere.
	require.NoError(t, other.Delete(t.Context(), "other-0", Expect{}, false))
	b.putOf(other, "other-0", "u-1")
	ask(1, true, "other-0")
	ask(0, true, "other-0", "mine-0")
	// And this one has gone to another.
	require.NoError(t, other.Delete(t.Context(), "mine-0", Expect{}, false))
	b.putOf(other, "mine-0", "u-2")
	n.Observe(credential.Event{ID: "mine-0", Version: 3})
	ask(1, false, "mine-0")
}

// Whoever brings a stored token with another UID takes the credential from the first
// user in every process that follows the log, and gives it to the second.
func TestOfSubjectThatWasReplacedElsewhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one"), b.node("two")
	login := b.loginOf("alice", "u-1")
	_, err := one.Put(t.Context(), login, Expect{})
	require.NoError(t, err)
	_, err = two.Token(t.Context(), "alice", 0)
	require.NoError(t, err)

	login.Subject = "u-2"
	_, err = one.Put(t.Context(), login, Expect{})
	require.NoError(t, err)
	entries, err := two.store.Events(t.Context(), 0, "0", 100, 0)
	require.NoError(t, err)
	for _, entry := range entries {
		two.Observe(entry.Event)
	}
	two.hears()
	for _, n := range []*node{one, two} {
		for subject, want := range map[string]bool{"u-1": false, "u-2": true} {
			own, err := n.OfSubject(t.Context(), []credential.ID{"alice"}, subject)
			require.NoError(t, err)
			assert.Equal(t, []bool{want}, own, "%s at %s", subject, n.owner)
		}
	}
	held, err := two.Token(t.Context(), "alice", 0)
	require.NoError(t, err)
	assert.Equal(t, "u-2", held.Record.Subject)
}

// While the store is away a subject's own tokens are served from memory, and
// nobody is told what is stored beside them.
func TestOfSubjectOffline(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.putOf(n, "mine", "u-1")
	b.putOf(n, "other", "u-2")
	n.hears()
	n.store.set(func(s *faultyStore) { s.away = true })
	b.clock.advance(time.Minute)
	got, err := n.OfSubject(t.Context(), []credential.ID{"mine"}, "u-1")
	require.NoError(t, err)
	assert.Equal(t, []bool{true}, got)
	var told []string
	for _, ids := range [][]credential.ID{{"other"}, {"unknown"}, {"other", "mine"}, {"unknown", "mine"}} {
		_, err = n.OfSubject(t.Context(), ids, "u-1")
		_, unavailable := errors.AsType[*UnavailableError](err)
		require.True(t, unavailable, "%v: %v", ids, err)
		told = append(told, err.Error())
	}
	assert.Equal(t, told[0], told[1])
	assert.Equal(t, told[2], told[3])
}

// Whose a credential is stands beside a reply of which nobody knows whether Redis took
// it: that one was decided on the record as it was before, and is put back over it.
func TestASubjectStandsBesideAReplyWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for what, lost := range map[string]bool{"nothing lost": false, "both lost": true} {
		for who, byTheOther := range map[string]bool{"the same process": false, "another": true} {
			t.Run(what+", told by "+who, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				one, two := b.node("one", lossy), b.node("two", lossy)
				b.settle(one, two)
				login := b.loginOf("alice", "u-1")
				_, err := one.Put(t.Context(), login, Expect{})
				require.NoError(t, err)
				b.settle(one, two)
				b.due()
				done, let := b.inTheAir(one)
				before := b.snapshot()
				login.Subject = "u-2"
				teller := one
				if byTheOther {
					teller = two
				}
				_, err = teller.Put(t.Context(), login, Expect{})
				require.NoError(t, err)
				told := b.eventIDs(two, "alice")
				one.store.set(func(s *faultyStore) { s.failApply = 1_000_000 })
				let()
				soon(t, one.store.refused, "the reply that is handed over")
				if !lost {
					before = b.snapshot()
				}
				b.fallBack(before)
				b.settle(one, two)
				b.settle(one, two)
				one.store.heal()
				require.Equal(t, 1, soon(t, done, "the batch").value.Refreshed)
				got := b.held(two, "alice").Record
				assert.EqualValues(t, 2, got.Generation)
				assert.Equal(t, "u-2", got.Subject)
				assert.Subset(t, b.eventIDs(two, "alice"), told)
				for subject, want := range map[string]bool{"u-1": false, "u-2": true} {
					own, err := two.OfSubject(t.Context(), []credential.ID{"alice"}, subject)
					require.NoError(t, err)
					assert.Equal(t, []bool{want}, own, subject)
				}
			})
		}
	}
}
