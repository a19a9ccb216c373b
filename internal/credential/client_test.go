package credential_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

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
	w := credential.Trip(nil, "acme", refusal(), nonceOf(1), noon)
	checkWrite(t, credential.Held{}, w, credential.Record{
		ID: "client:acme", Provider: "acme", State: credential.StateDegraded, Reason: credential.ReasonClientMisconfigured,
		Since: noon, CreatedAt: noon, UpdatedAt: noon, Revision: 1, RefreshAt: noon + minute, Failures: 1, LastWrite: nonceOf(1),
		LastAttempt: credential.Attempts{FailedAt: noon, Failure: credential.ReasonClientMisconfigured, Detail: "401 invalid_client"},
	}, event{credential.EventClientMisconfigured, credential.StateDegraded, credential.StateActive, credential.ReasonClientMisconfigured})
	assert.Zero(t, w.Due, "it is in no due index")
	assert.Equal(t, credential.Breaker{Open: true, Reason: credential.ReasonClientMisconfigured, Since: noon, ProbeAt: noon + minute}, credential.BreakerOf(w.Record))

	// One alert, however often it is refused.
	open := w.Result(credential.Held{})
	w = credential.Trip(&open, "acme", refusal(), nonceOf(2), noon+hour)
	checkWrite(t, open, w, changed(open, w, noon+hour, func(r *credential.Record) {
		r.RefreshAt, r.Failures, r.LastAttempt.FailedAt = noon+hour+minute, 2, noon+hour
	}))
	assert.Equal(t, credential.Breaker{Open: true, Reason: credential.ReasonClientMisconfigured, Since: noon, ProbeAt: noon + hour + minute}, credential.BreakerOf(w.Record))
}

func TestReset(t *testing.T) {
	t.Parallel()
	open := credential.Trip(nil, "acme", refusal(), nonceOf(1), noon).Result(credential.Held{})
	w := credential.Reset(open, nonceOf(2), noon+hour)
	checkWrite(t, open, w, changed(open, w, noon+hour, func(r *credential.Record) {
		r.State, r.Reason, r.Since = credential.StateActive, credential.ReasonNone, noon+hour
		r.RefreshAt, r.Failures, r.LastAttempt.SucceededAt = 0, 0, noon+hour
	}), event{credential.EventClientRecovered, credential.StateActive, credential.StateDegraded, credential.ReasonNone})
	assert.Equal(t, credential.Breaker{Since: noon + hour}, credential.BreakerOf(w.Record))

	// It opens again with the next version.
	closed := w.Result(open)
	w = credential.Trip(&closed, "acme", refusal(), nonceOf(3), noon+2*hour)
	assert.Equal(t, uint64(3), w.Record.Version)
	assert.Equal(t, uint64(1), w.Events[0].Last[credential.EventClientMisconfigured])
	assert.True(t, credential.BreakerOf(w.Record).Open)
}

// A probe a minute, taken by one: all of its takers expect the same revision.
func TestProbe(t *testing.T) {
	t.Parallel()
	open := credential.Trip(nil, "acme", refusal(), nonceOf(1), noon).Result(credential.Held{})
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
	open := credential.Trip(nil, "acme", refusal(), nonceOf(1), noon).Result(credential.Held{})
	w := credential.Retune(open, nonceOf(2), noon+second)
	checkWrite(t, open, w, changed(open, w, noon+second, func(r *credential.Record) { r.RefreshAt = noon + second }))
	assert.Equal(t, noon+second, credential.BreakerOf(w.Record).ProbeAt)
	assert.True(t, credential.BreakerOf(w.Record).Open)
}
