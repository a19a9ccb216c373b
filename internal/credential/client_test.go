package credential_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

func refusal() credential.Outcome {
	return credential.Outcome{Class: credential.ClassOperator, Reason: credential.ReasonClientMisconfigured, Detail: "401 invalid_client"}
}

func TestBreakerOfNothing(t *testing.T) {
	t.Parallel()
	assert.False(t, credential.BreakerOf(credential.Record{}).Open)
}

func TestTrip(t *testing.T) {
	t.Parallel()
	w := credential.Trip(nil, "acme", "alice", refusal(), nonceOf(1), noon)
	checkWrite(t, credential.Held{}, w, credential.Record{
		ID: "client:acme", Provider: "acme", State: credential.StateDegraded, Reason: credential.ReasonClientMisconfigured,
		Since: noon, CreatedAt: noon, UpdatedAt: noon, Revision: 1, RefreshAt: noon + minute, Failures: 1, LastWrite: nonceOf(1),
		Refused:     []credential.ID{"alice"},
		LastAttempt: credential.Attempts{FailedAt: noon, Failure: credential.ReasonClientMisconfigured, Detail: "401 invalid_client"},
	}, event{credential.EventClientMisconfigured, credential.StateDegraded, credential.StateActive, credential.ReasonClientMisconfigured})
	assert.Zero(t, w.Due, "it is in no due index")
	assert.Equal(t, credential.Breaker{Open: true, Reason: credential.ReasonClientMisconfigured, Since: noon, ProbeAt: noon + minute, Refused: []credential.ID{"alice"}}, credential.BreakerOf(w.Record))

	// One alert, however often it is refused.
	open := w.Result(credential.Held{})
	w = credential.Trip(&open, "acme", "bob", refusal(), nonceOf(2), noon+hour)
	checkWrite(t, open, w, changed(open, w, noon+hour, func(r *credential.Record) {
		r.RefreshAt, r.Failures, r.LastAttempt.FailedAt = noon+hour+minute, 2, noon+hour
		r.Refused = []credential.ID{"bob", "alice"}
	}))
	assert.Equal(t, credential.Breaker{Open: true, Reason: credential.ReasonClientMisconfigured, Since: noon, ProbeAt: noon + hour + minute, Refused: []credential.ID{"bob", "alice"}}, credential.BreakerOf(w.Record))
}

func TestAcceptCloses(t *testing.T) {
	t.Parallel()
	open := credential.Trip(nil, "acme", "alice", refusal(), nonceOf(1), noon).Result(credential.Held{})
	w, changes := credential.Accept(open, "bob", nonceOf(2), noon+hour)
	assert.True(t, changes)
	checkWrite(t, open, w, changed(open, w, noon+hour, func(r *credential.Record) {
		r.State, r.Reason, r.Since = credential.StateActive, credential.ReasonNone, noon+hour
		r.RefreshAt, r.Failures, r.LastAttempt.SucceededAt = 0, 0, noon+hour
	}), event{credential.EventClientRecovered, credential.StateActive, credential.StateDegraded, credential.ReasonNone})
	assert.Equal(t, credential.Breaker{Since: noon + hour, Refused: []credential.ID{"alice"}}, credential.BreakerOf(w.Record))

	// It opens again with the next version.
	closed := w.Result(open)
	w = credential.Trip(&closed, "acme", "alice", refusal(), nonceOf(3), noon+2*hour)
	assert.Equal(t, uint64(3), w.Record.Version)
	assert.Equal(t, uint64(1), w.Events[0].Last[credential.EventClientMisconfigured])
	assert.True(t, credential.BreakerOf(w.Record).Open)
}

// A probe a minute, taken by one: all of its takers expect the same revision.
func TestProbe(t *testing.T) {
	t.Parallel()
	open := credential.Trip(nil, "acme", "alice", refusal(), nonceOf(1), noon).Result(credential.Held{})
	first := credential.Probe(open, nonceOf(2), noon+minute)
	second := credential.Probe(open, nonceOf(3), noon+minute)
	checkWrite(t, open, first, changed(open, first, noon+minute, func(r *credential.Record) { r.RefreshAt = noon + 2*minute }))
	assert.Equal(t, first.Revision, second.Revision)
	assert.Greater(t, first.Record.Revision, second.Revision, "the second comes too late")
	assert.True(t, credential.BreakerOf(first.Record).Open)
	assert.Equal(t, noon+2*minute, credential.BreakerOf(first.Record).ProbeAt)
	assert.Equal(t, time.Minute, credential.ProbeEvery)
}

func TestRetune(t *testing.T) {
	t.Parallel()
	open := credential.Trip(nil, "acme", "alice", refusal(), nonceOf(1), noon).Result(credential.Held{})
	w, changes := credential.Retune(open, nonceOf(2), noon+second)
	assert.True(t, changes)
	checkWrite(t, open, w, changed(open, w, noon+second, func(r *credential.Record) { r.RefreshAt, r.Refused = noon+second, nil }))
	assert.Equal(t, noon+second, credential.BreakerOf(w.Record).ProbeAt)
	assert.True(t, credential.BreakerOf(w.Record).Open)
}

// Whoever the client was refused with stands back behind the others while the
// breaker is open, and is to blame for itself once another's call has closed it,
// until the provider takes one of its own. It is never held back for good.
func TestBlame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ids := []credential.ID{"alice", "bob", "carol"}
		held := credential.Trip(nil, "acme", "alice", refusal(), nonceOf(0), noon).Result(credential.Held{})
		blamed := map[credential.ID]bool{"alice": true}
		open, events := true, 1
		now := noon
		for n := range uint64(rapid.IntRange(1, 30).Draw(t, "steps")) { //nolint:gosec // not negative
			now += credential.Millis(rapid.Int64Range(1, int64(2*minute)).Draw(t, "passes"))
			id := rapid.SampledFrom(ids).Draw(t, "credential")
			var w credential.Write
			changes := true
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				if changes = open || !blamed[id]; changes { // the rest is the caller's to leave out
					w = credential.Trip(&held, "acme", id, refusal(), nonceOf(n+1), now)
					if !open {
						events++
					}
					open, blamed[id] = true, true
				}
			case 2:
				w, changes = credential.Accept(held, id, nonceOf(n+1), now)
				require.Equal(t, open || blamed[id], changes)
				if open {
					events++
				}
				open = false
				delete(blamed, id)
			case 3:
				w, changes = credential.Retune(held, nonceOf(n+1), now)
				require.Equal(t, open || len(blamed) > 0, changes)
				clear(blamed)
			}
			if changes {
				held = w.Result(held)
			}
			b := credential.BreakerOf(held.Record)
			require.Equal(t, open, b.Open)
			require.EqualValues(t, events, held.Record.Version, "an event for each change of the breaker, and for nothing else")
			require.Len(t, b.Refused, len(blamed))
			for _, id := range ids {
				require.Equal(t, blamed[id], b.Blames(id))
				wait := b.ProbeAtFor(id).Sub(b.ProbeAt)
				if blamed[id] {
					require.Equal(t, credential.StandBack, wait)
				} else {
					require.Zero(t, wait)
				}
			}
		}
	})
}

// Of those with whose calls it was refused the record remembers the last ones, each
// once.
func TestRefusedAreBounded(t *testing.T) {
	t.Parallel()
	var held credential.Held
	for n := range credential.MaxRefused + 5 {
		w := credential.Trip(&held, "acme", credential.ID(fmt.Sprint("user-", n)), refusal(), nonceOf(uint64(n)), noon)
		held = w.Result(held)
	}
	b := credential.BreakerOf(held.Record)
	assert.Len(t, b.Refused, credential.MaxRefused)
	assert.True(t, b.Blames("user-5"))
	assert.False(t, b.Blames("user-4"))
	held = credential.Trip(&held, "acme", "user-7", refusal(), nonceOf(99), noon).Result(held)
	assert.Equal(t, credential.ID("user-7"), credential.BreakerOf(held.Record).Refused[0])
	assert.True(t, credential.BreakerOf(held.Record).Blames("user-5"), "nobody is in it twice")
}

// A refusal that is a credential's own counts as its failure, with growing waits,
// and never ends it: the class says that only the operator can mend it.
func TestARefusalOfItsOwn(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(b *bundle){
		"once":       func(*bundle) {},
		"recovering": func(b *bundle) { b.recovery(noon - minute) },
		"expired":    func(b *bundle) { b.in(credential.StateExpired, false) },
		"pending":    func(b *bundle) { b.in(credential.StatePending, false) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			prepare(b)
			own := refusal()
			own.Own = true
			var waits []time.Duration
			state := b.held.Record.State
			if state == credential.StateActive {
				state = credential.StateDegraded
			}
			for n := range 20 {
				w := credential.Fail(b.held, b.attempt, own, b.policy, credential.BySchedule, noon)
				r := w.Record
				require.Equal(t, state, r.State)
				require.Equal(t, credential.ReasonClientMisconfigured, r.LastAttempt.Failure)
				require.Equal(t, "401 invalid_client", r.LastAttempt.Detail)
				waits = append(waits, w.Due.Sub(noon))
				b.held = w.Result(b.held)
				again := b.attempt
				again.Nonce = nonceOf(100 + uint64(n))
				b.open(again)
			}
			assert.Less(t, waits[0], 5*time.Second)
			assert.Greater(t, waits[6], time.Minute)
			assert.LessOrEqual(t, waits[19], 6*time.Minute)
		})
	}
}
