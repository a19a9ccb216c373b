package credential_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func brought() credential.Received {
	return credential.Received{Token: token("at-5", "rt-5"), SentAt: noon - second, ExpiresIn: time.Hour}
}

// owners are the changes by which an owner says when calls are made, of which no
// event tells.
func owners(b *bundle) map[string]func(h credential.Held) credential.Held {
	change := func(w credential.Write, ok bool) func(credential.Held) credential.Held {
		return func(h credential.Held) credential.Held {
			if !ok {
				return h
			}
			return w.Result(h)
		}
	}
	return map[string]func(credential.Held) credential.Held{
		"paused":  change(credential.SetPaused(b.held, true, nonceOf(30), noon)),
		"planned": change(credential.PlanOnce(b.held, noon+hour, nonceOf(30), noon)),
		"left":    change(credential.SetPresence(b.held, credential.PresenceBackground, b.policy, nonceOf(30), noon)),
		"watched": change(credential.SetPresence(b.held, credential.PresenceActive, b.policy, nonceOf(30), noon)),
	}
}

// plan is what an owner has said of a credential's calls.
func plan(r credential.Record) []any { return []any{r.Paused, r.OnceAt, r.Presence, r.Acts} }

// What an exchange has brought, and was handed over without an answer, does not
// undo what the owner was told meanwhile; and what the owner was told does not wait
// for the exchange.
func TestRestoreKeepsWhatTheOwnerWasTold(t *testing.T) {
	t.Parallel()
	settle := map[string]func(b *bundle) credential.Write{
		"refreshed": func(b *bundle) credential.Write {
			return credential.Install(b.held, b.attempt, brought(), b.policy, credential.BySchedule, noon)
		},
		"degraded": func(b *bundle) credential.Write {
			return credential.Fail(b.held, b.attempt, credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}, b.policy, credential.BySchedule, noon)
		},
		"extended": func(b *bundle) credential.Write { return b.extend(noon-second, noon) },
	}
	for how, settle := range settle {
		b := setup(t)
		if how == "extended" {
			b.session(credential.PresencePassive)
		}
		w := settle(b)
		after := w.Result(b.held)
		require.NotEmpty(t, w.Events)
		for what, by := range owners(b) {
			stored := by(b.held)
			require.NotEqual(t, plan(b.held.Record), plan(stored.Record), what)
			again, verdict := credential.Restore(&stored, w, after, false)
			require.Equal(t, credential.RestoreAgain, verdict, "%s, %s", how, what)
			got := again.Result(stored)
			assert.Equal(t, plan(stored.Record), plan(got.Record), "%s, %s", how, what)
			assert.Equal(t, after.Token, got.Token, "%s, %s", how, what)
			assert.Equal(t, after.Record.State, got.Record.State)
			assert.Equal(t, w.Events, again.Events, "%s, %s", how, what)
			assert.Equal(t, credential.NextDue(got.Record, got.Attempt), again.Due, "%s, %s", how, what)
			_, verdict = credential.Restore(&got, again, got, false)
			assert.Equal(t, credential.RestoreNone, verdict, "%s, %s", how, what)
			if how == "extended" && what == "left" {
				assert.Zero(t, got.Record.RefreshAt, "nobody needs it now")
			}

			// The other way round: the exchange is stored, and what the owner was told is
			// missing.
			owner := stored.Record
			owned := credential.Write{Nonce: nonceOf(30), Revision: b.held.Record.Revision, Record: owner}
			again, verdict = credential.Restore(&after, owned, stored, false)
			require.Equal(t, credential.RestoreAgain, verdict, "%s, %s", how, what)
			got = again.Result(after)
			assert.Equal(t, plan(owner), plan(got.Record), "%s, %s", how, what)
			assert.Equal(t, after.Token, got.Token)
			assert.Equal(t, after.Record.Version, got.Record.Version)
			assert.Empty(t, again.Events)
			_, verdict = credential.Restore(&got, owned, stored, false)
			assert.Equal(t, credential.RestoreNone, verdict, "%s, %s: it is there now", how, what)
		}
	}
}

// Of a plan that is stored and one that comes back, the one that was made later
// stands, also where it took another back.
func TestRestoreOfAnEarlierPlan(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w, _ := credential.SetPaused(b.held, true, nonceOf(30), noon)
	paused := w.Result(b.held)
	w = credential.Install(paused, b.attempt, brought(), b.policy, credential.BySchedule, noon)
	after := w.Result(paused)
	resume, ok := credential.SetPaused(paused, false, nonceOf(31), noon)
	require.True(t, ok)
	stored := resume.Result(paused)
	again, what := credential.Restore(&stored, w, after, false)
	require.Equal(t, credential.RestoreAgain, what)
	assert.False(t, again.Result(stored).Record.Paused)

	// The pause was lost with the store, which somebody else has gone on from.
	other := b.held
	other.Record.Revision += 4
	again, what = credential.Restore(&other, w, after, false)
	require.Equal(t, credential.RestoreAgain, what)
	assert.True(t, again.Result(other).Record.Paused)
}

// Of two words of which neither was decided on the other, the later one stands by the
// store's clock, however many there were before it on either side; also one that
// changes nothing of what was read.
func TestRestoreOfTwoWordsByTheirTime(t *testing.T) {
	t.Parallel()
	for _, already := range []uint64{0, 7, uint64(noon), uint64(noon + hour)} { // counted, noted, and noted by a clock that was ahead
		b := setup(t)
		b.held.Attempt, b.held.Record.Plans = nil, already
		h, words := b.held, []credential.Write{}
		for i, on := range []bool{true, false, true} {
			w, ok := credential.SetPaused(h, on, nonceOf(uint64(30+i)), noon)
			require.True(t, ok)
			require.Greater(t, w.Record.Plans, h.Record.Plans, "of one process' words the last one stands")
			h, words = w.Result(h), append(words, w)
		}
		last := words[len(words)-1]

		_, ok := credential.SetPaused(b.held, false, nonceOf(40), noon+minute)
		require.False(t, ok)
		affirmed, ok := credential.AffirmPaused(b.held, nonceOf(40), noon+minute)
		require.True(t, ok)
		assert.Empty(t, affirmed.Events)
		stored := affirmed.Result(b.held)
		assert.Equal(t, plan(b.held.Record), plan(stored.Record))
		if already > uint64(noon+minute) {
			assert.Equal(t, already+1, stored.Record.Plans, "a clock that is behind takes no word back")
			continue
		}
		write, what := credential.Restore(&stored, last, h, true)
		require.Equal(t, credential.RestoreAgain, what)
		assert.False(t, write.Result(stored).Record.Paused, "%d before", already)

		// The other way round: the later word was lost.
		write, what = credential.Restore(&h, affirmed, stored, true)
		require.Equal(t, credential.RestoreAgain, what)
		assert.False(t, write.Result(h).Record.Paused, "%d before", already)
	}
	b := setup(t)
	b.in(credential.StateLoggedOut, true)
	_, ok := credential.AffirmPaused(b.held, b.nonce, noon)
	assert.False(t, ok)
}

// A refresh that was asked for at a moment is over with the exchange that came
// after it, and is not made a second time.
func TestRestoreAfterAPlannedRefresh(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w, _ := credential.PlanOnce(b.held, noon-minute, nonceOf(30), noon-hour)
	planned := w.Result(b.held)
	w = credential.Install(planned, b.attempt, brought(), b.policy, credential.BySchedule, noon)
	after := w.Result(planned)
	require.Zero(t, after.Record.OnceAt)
	pause, _ := credential.SetPaused(planned, true, nonceOf(31), noon)
	stored := pause.Result(planned)
	again, what := credential.Restore(&stored, w, after, false)
	require.Equal(t, credential.RestoreAgain, what)
	got := again.Result(stored).Record
	assert.True(t, got.Paused)
	assert.Zero(t, got.OnceAt)
}

// An end erases what the owner planned for what has ended, and a login what was
// planned of the session before it.
func TestRestoreOfAnEndAndALogin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session(credential.PresencePassive)
	pause, _ := credential.SetPaused(b.held, true, nonceOf(30), noon)
	left, _ := credential.SetPresence(pause.Result(b.held), credential.PresenceBackground, b.policy, nonceOf(31), noon)
	stored := left.Result(pause.Result(b.held))

	end := credential.Logout(b.held, nonceOf(32), noon)
	again, what := credential.Restore(&stored, end, end.Result(b.held), false)
	require.Equal(t, credential.RestoreAgain, what)
	got := again.Result(stored).Record
	assert.False(t, got.Paused)
	assert.Empty(t, got.Presence)

	in := credential.Connect(&b.held, credential.Login{ID: "acct-1", Provider: "acme", Token: token("at-6", "")}, b.policy, nonceOf(33), noon)
	again, what = credential.Restore(&stored, in, in.Result(b.held), false)
	require.Equal(t, credential.RestoreAgain, what)
	got = again.Result(stored).Record
	assert.True(t, got.Paused, "whoever logs in is not the one who holds it back")
	assert.Empty(t, got.Presence, "somebody has just logged in")
}

// A provider that is paused stays so, whatever is learned of its client meanwhile.
func TestRestoreKeepsAPausedClient(t *testing.T) {
	t.Parallel()
	o := credential.Outcome{Class: credential.ClassOperator, Reason: credential.ReasonClientMisconfigured}
	w := credential.Trip(nil, "acme", "acct-1", o, nonceOf(30), noon)
	client := w.Result(credential.Held{})
	closed, ok := credential.Accept(client, "acct-1", nonceOf(31), noon)
	require.True(t, ok)
	pause, ok := credential.SetClientPaused(&client, "acme", true, nonceOf(32), noon)
	require.True(t, ok)
	stored := pause.Result(client)
	again, what := credential.Restore(&stored, closed, closed.Result(client), false)
	require.Equal(t, credential.RestoreAgain, what)
	got := credential.BreakerOf(again.Result(stored).Record)
	assert.True(t, got.Paused)
	assert.False(t, got.Open)
}

// What its owner said twice counts, whatever takes the record's place.
func TestRestoreKeepsTheActs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := credential.Install(b.held, b.attempt, brought(), b.policy, credential.BySchedule, noon)
	stored := credential.Repeat(b.held, nonceOf(30), noon).Result(b.held)
	again, what := credential.Restore(&stored, w, w.Result(b.held), false)
	require.Equal(t, credential.RestoreAgain, what)
	assert.Equal(t, stored.Record.Acts, again.Record.Acts)
}
