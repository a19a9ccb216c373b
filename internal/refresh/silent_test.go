package refresh

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// An extension, or a login with what is stored, whose owner has gone silent is
// taken over at its deadline, on this machine too, where he is only stopped. What
// he hears afterwards changes nothing.
func TestWhatSpendsNothingIsTakenOver(t *testing.T) {
	t.Parallel()
	session := func(b *bundle) { b.sliding() }
	logins := func(b *bundle) {
		b.sliding()
		b.policy.Sessions = credential.SessionPolicy{}
	}
	for _, row := range []struct {
		name             string
		provider         func(*bundle)
		elsewhere        bool
		logins, extended int // in all
	}{
		{"extension, on another machine", session, true, 1, 2},
		{"extension, on this machine", session, false, 1, 2},
		{"login, on another machine", logins, true, 3, 0},
		{"login, on this machine", logins, false, 3, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			row.provider(b)
			place := func(*Options) {}
			if row.elsewhere {
				place = func(o *Options) { o.Folder = journals{dir: t.TempDir(), place: "elsewhere"} }
			}
			slow, fast := b.node("slow"), b.node("fast", place)
			b.session(slow, true)
			due := b.held(slow, "alice").Record.RefreshAt
			b.clock.advance(due.Sub(b.clock.Now()))
			done, let := b.inTheAir(slow)
			b.provider.set(func(p *fakeProvider) { p.hold = nil }) // the calls after it are answered at once
			defer let()
			taken := b.held(slow, "alice").Attempt
			require.NotNil(t, taken)

			for b.clock.Now() < taken.Deadline {
				require.NoError(t, fast.tick(t.Context()))
				assert.Equal(t, taken, b.held(fast, "alice").Attempt, "before its deadline")
				b.clock.advance(time.Second)
			}
			assert.Equal(t, b.clock.Now().Add(time.Second), fast.Shown(b.held(fast, "alice")).Attempt.Deadline, "it is taken up with the next look")
			require.NoError(t, fast.tick(t.Context()))
			h := b.held(fast, "alice")
			assert.Nil(t, h.Attempt)
			assert.Equal(t, credential.ReasonOwnerDied, h.Record.LastAttempt.Failure)
			b.clock.advance(h.Record.RefreshAt.Sub(b.clock.Now()))
			b.batch(fast, "alice")
			after := b.held(fast, "alice")
			assert.Equal(t, credential.StateActive, after.Record.State)

			let()
			require.NoError(t, soon(t, done, "the late answer").err)
			assert.Equal(t, after, b.held(fast, "alice"))
			made, extended := b.provider.counted()
			assert.Equal(t, row.logins, made)
			assert.Equal(t, row.extended, extended)
			assert.Empty(t, b.provider.revoked, "nobody is logged out: that may end every session of the user")
		})
	}
}

// An owner who is heard keeps what spends nothing, past its deadline too.
func TestWhatSpendsNothingIsLeftToWhoIsHeard(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	slow, fast := b.node("slow"), b.node("fast")
	b.session(slow, true)
	b.clock.advance(idle * 4 / 5)
	done, let := b.inTheAir(slow)
	for range 60 {
		b.clock.advance(time.Second)
		require.NoError(t, slow.tick(t.Context()))
		require.NoError(t, fast.tick(t.Context()))
	}
	h := b.held(fast, "alice")
	require.NotNil(t, h.Attempt)
	assert.Less(t, h.Attempt.Deadline, b.clock.Now())
	assert.Equal(t, h, fast.Shown(h))
	let()
	require.NoError(t, soon(t, done, "the answer").err)
	assert.Nil(t, b.held(fast, "alice").Attempt)
}

// Whoever asks for a credential whose refresh a silent owner has not settled is
// told at once, and when that is looked at.
func TestWhoAsksInAQuarantine(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.distant("alice")
	n := b.node("one")
	for range 65 {
		require.NoError(t, n.tick(t.Context()))
		b.clock.advance(time.Second)
	}
	left := 10*time.Minute + 5*time.Second - 64*time.Second + tickEvery // as of the last look
	_, err := n.Refresh(t.Context(), "alice", 0)
	var away *UnavailableError
	require.ErrorAs(t, err, &away)
	assert.Equal(t, credential.ReasonOwnerDied, away.Reason)
	assert.Equal(t, left, away.RetryAfter)
	shown := n.Shown(b.held(n, "alice"))
	assert.Equal(t, b.clock.Now().Add(left), credential.NextDue(shown.Record, shown.Attempt))
	assert.Zero(t, b.provider.calls())
}

// That a journal cannot be opened, for want of file descriptors or of a right,
// tells nothing of its owner: it is no proof that he is dead.
func TestAJournalThatCannotBeOpenedProvesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	blind := new(atomic.Bool)
	slow, judge := b.node("slow"), b.node("judge", func(o *Options) {
		o.Folder, o.Quarantine = journals{dir: b.dir, place: b.dir, blind: blind}, time.Minute
	})
	b.put(slow, "alice")
	b.due()
	require.NoError(t, slow.tick(t.Context()))
	require.NoError(t, judge.tick(t.Context()))
	let := b.provider.holding()
	defer let()
	done := start(func() (credential.BatchReport, error) {
		return slow.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	})
	soon(t, b.provider.entered, "the exchange")
	taken := b.held(judge, "alice").Attempt
	require.NotNil(t, taken)
	blind.Store(true)
	for range 60 {
		require.NoError(t, judge.tick(t.Context()))
		require.Equal(t, taken, b.held(judge, "alice").Attempt)
		b.clock.advance(5 * time.Second) // its owner is not heard: he may be stopped
	}
	assert.Equal(t, b.held(judge, "alice"), judge.Shown(b.held(judge, "alice")), "nobody takes it up")
	let()
	require.Equal(t, 1, soon(t, done, "the batch").value.Refreshed)
	assert.Equal(t, 1, b.provider.most())
}

// Nor is a journal that somebody has removed under its owner, who goes on being
// heard. Once nobody hears of him either, he counts as dead.
func TestAJournalThatSomebodyRemovedProvesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	slow, judge := b.node("slow"), b.node("judge", func(o *Options) {
		o.Folder = journals{dir: t.TempDir(), place: b.dir} // theirs, and without the file
	})
	b.put(slow, "alice")
	b.due()
	require.NoError(t, slow.tick(t.Context()))
	require.NoError(t, judge.tick(t.Context()))
	let := b.provider.holding()
	defer let()
	done := start(func() (credential.BatchReport, error) {
		return slow.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	})
	soon(t, b.provider.entered, "the exchange")
	taken := b.held(judge, "alice").Attempt
	require.NotNil(t, taken)
	for range 60 {
		b.clock.advance(time.Second)
		require.NoError(t, slow.registry.Beat(t.Context(), "first run", 0, ""))
		require.NoError(t, judge.tick(t.Context()))
		require.Equal(t, taken, b.held(judge, "alice").Attempt)
	}
	for range 6 {
		b.clock.advance(time.Second)
		require.NoError(t, judge.tick(t.Context()))
	}
	assert.True(t, b.held(judge, "alice").Attempt.Doubt, "nothing tells any more that he lives")
	let()
	soon(t, done, "the batch")
	assert.Equal(t, 1, b.provider.most())
}

// Who cannot be looked at is waited for when the store has fallen back, as one of
// another machine is: for as long as he may still answer, and no longer.
func TestAJournalThatCannotBeOpenedIsWaitedFor(t *testing.T) {
	t.Parallel()
	const quarantine = time.Minute
	b := setup(t)
	blind := new(atomic.Bool)
	one, two := b.node("one", lossy), b.node("two", lossy, func(o *Options) {
		o.Quarantine, o.Folder = quarantine, journals{dir: b.dir, place: b.dir, blind: blind}
	})
	b.settle(one, two)
	b.put(one, "alice")
	b.settle(one, two)
	blind.Store(true)
	b.fallBack(b.snapshot())
	b.seconds(int(two.opts.Silence.Seconds())+2, two)
	for range int(quarantine.Seconds()) - 3 {
		require.Equal(t, passWrites, two.barrier.passes())
		b.seconds(1, two)
	}
	b.seconds(5, two)
	require.Equal(t, passAll, two.barrier.passes())
	assert.True(t, b.client.HExists(t.Context(), "rd:members", "one").Val(), "it stays on the roster")
	blind.Store(false)
	b.settle(one, two)
	assert.Equal(t, passAll, one.barrier.passes())
	assert.Equal(t, passAll, two.barrier.passes())
}

// A neighbour that ended long ago, and comes back with an attempt that it had left
// open when the store falls back behind both, is still known by its place: its
// attempt is taken up without a quarantine, and only then is it forgotten.
func TestWhoLeftAnAttemptIsKnownByItsPlace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.distant("alice")
	n := b.node("one", lossy)
	place := n.opts.Folder.Place()
	require.NoError(t, b.client.HSet(t.Context(), "rd:owners", "distant", 7).Err())
	require.NoError(t, b.client.HSet(t.Context(), "rd:members", "distant", place+" /").Err())
	b.fallBack(b.snapshot())
	b.settle(n)
	b.settle(n)
	require.Equal(t, passAll, n.barrier.passes())
	h := b.held(n, "alice")
	require.NotNil(t, h.Attempt)
	assert.True(t, h.Attempt.Doubt, "its lock is proof, whoever has adopted its journal")
	assert.False(t, b.client.HExists(t.Context(), "rd:members", "distant").Val(), "nobody elsewhere waits for it any more")
}
