package service

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/test/harness"
)

// While a provider has asked to be left alone, what time alone brings is told as
// ever: the countdown, the end of a session, the expiry of a token. No call is made
// before the hold's end. From then on those that live go first, the nearest to
// death before the others; a session that is over by then is not called, but
// replaced, where that can be done.
func TestWhatTimeBringsIsToldDuringAHold(t *testing.T) {
	t.Parallel()
	const (
		idle = 9 * time.Second
		told = "20" // s, by Retry-After: all are overdue by then
	)
	limits := map[string]any{"concurrency": 1, "per_second": 20}
	e := newEstate(t)
	e.config["schedule"] = map[string]any{"refresh_at": 0.5, "jitter": 0}
	air := e.backend("air", backends.Options{Kind: backends.KindHeader, Idle: idle}, map[string]any{
		"limits": limits, "session": map[string]any{"warn_before": "6s", "on_active": "extend"},
	})
	shop := e.backend("shop", backends.Options{Kind: backends.KindBearer, Life: time.Hour, Refreshes: true}, map[string]any{"limits": limits})
	at := e.open()
	triggers := map[string]string{"air": e.signUp("air", "first"), "shop": e.signUp("shop", "first")}
	watched := e.signUp("air", "watched")
	until := map[string]time.Time{}
	for name, id := range triggers {
		e.backends[name].Add(backends.Fault{Count: 1, Reply: &backends.Reply{Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": told}}})
		refused := refusedWith(t, at.Refresh(t.Context(), id))
		require.Equal(t, "rate_limited", refused.Reason)
		until[name] = e.providerState(at, name).Hold.Until
	}
	began := time.Now()
	// Their clocks start now, and no call is needed for it.
	deadline := at.touch(t, watched)
	at.presence(t, watched, "active")
	brought := e.bring("air", "brought")
	living, short, dying := e.bringFor("shop", "living", 30), e.bringFor("shop", "short", 26), e.bringFor("shop", "dying", 7)
	inTime := func(provider, kind, id string, due time.Time) {
		heard := e.stream.awaitEvents(t, kind, id, 1)[0]
		assert.WithinRange(t, heard.Time, due.Add(-10*time.Millisecond), until[provider], "%s of %s", kind, id)
		t.Logf("%s of %s was told %s after its time", kind, id, heard.Time.Sub(due))
	}
	dies, ends := at.get(t, dying).ExpiresAt, at.get(t, brought).ExpiresAt
	inTime("air", "session.expiring", watched, deadline.Add(-6*time.Second))
	inTime("shop", "credential.expired", dying, dies)
	inTime("air", "credential.reauth_required", brought, ends)
	inTime("air", "credential.expired", watched, deadline)
	r := at.get(t, watched)
	assert.Equal(t, "expired", r.State)
	assert.Equal(t, "idle_timeout", r.Reason)

	for _, id := range []string{watched, living, short, dying} {
		at.awaitRecord(t, id, func(r harness.Record) bool { return r.State == "active" && r.Generation == 2 })
	}
	for name, b := range e.backends {
		for _, call := range after(b.Ledger(), began) {
			assert.False(t, call.Received.Before(until[name]), "%s: a call for %s during the hold", name, call.User)
		}
	}
	calls := after(air.Ledger(), began)
	assert.False(t, slices.ContainsFunc(calls, func(c backends.Entry) bool { return c.User == "brought" }), "it is over, and nobody can replace it")
	ofWatched := slices.DeleteFunc(calls, func(c backends.Entry) bool { return c.User != "watched" })
	require.NotEmpty(t, ofWatched)
	assert.Equal(t, backends.CallLogin, ofWatched[0].Call, "it is over, and gets no call that would extend it")
	var order []string
	for _, c := range after(shop.Calls(backends.CallRefresh, ""), began) {
		if c.User != "first" {
			order = append(order, c.User)
		}
	}
	assert.Equal(t, []string{"short", "living", "dying"}, order)
	oneEventPerVersion(t, at.api, e.heardAll(), e.stream)
}

// Likewise while the only permit is taken by a call that takes long, without any
// hold: what waits for its turn is told at its time, and called when it comes.
func TestWhatTimeBringsIsToldWhileAllPermitsAreTaken(t *testing.T) {
	t.Parallel()
	const idle, long = 10 * time.Second, 15 * time.Second
	e := newEstate(t)
	e.config["schedule"] = map[string]any{"refresh_at": 0.2, "jitter": 0, "min_interval": "0s"}
	b := e.backend("air", backends.Options{Kind: backends.KindHeader, Idle: idle}, map[string]any{
		"timeout": "1m", "limits": map[string]any{"concurrency": 1, "per_second": 100},
		"session": map[string]any{"warn_before": "7s", "on_active": "extend"},
	})
	at := e.open()
	slow := e.signUp("air", "slow")
	watched, brought := e.signUp("air", "watched"), e.bring("air", "brought")
	at.presence(t, watched, "active")
	b.Add(backends.Fault{Call: backends.CallUse, User: "slow", Count: 1, Wait: long})
	began := time.Now()
	var asked sync.WaitGroup
	asked.Go(func() { _ = at.Refresh(t.Context(), slow) }) // how it ends is looked at below
	defer asked.Wait()
	eventually(t, patience, func() (bool, string) { return b.InAir() == 1, "the permit is not taken yet" })

	deadline, ends := at.get(t, watched).ExpiresAt, at.get(t, brought).ExpiresAt
	for _, wanted := range []struct {
		kind, id string
		due      time.Time
	}{
		{"session.expiring", watched, deadline.Add(-7 * time.Second)},
		{"credential.reauth_required", brought, ends},
		{"credential.expired", watched, deadline},
	} {
		told := e.stream.awaitEvents(t, wanted.kind, wanted.id, 1)[0]
		assert.WithinRange(t, told.Time, wanted.due.Add(-10*time.Millisecond), wanted.due.Add(toldWithin), "%s of %s", wanted.kind, wanted.id)
		t.Logf("%s of %s was told %s after its time", wanted.kind, wanted.id, told.Time.Sub(wanted.due))
	}
	assert.Equal(t, 1, b.InAir(), "the permit is still taken")
	assert.False(t, e.providerState(at, "air").Hold.Until.After(time.Now()), "nobody asked to be left alone")

	at.awaitRecord(t, watched, func(r harness.Record) bool { return r.State == "active" && r.Generation == 2 })
	calls := slices.DeleteFunc(after(b.Ledger(), began), func(c backends.Entry) bool { return c.User == "slow" })
	for _, call := range calls {
		assert.GreaterOrEqual(t, call.Received.Sub(began), long, "%s has only one permit", call.User)
	}
	oneEventPerVersion(t, at.api, e.heardAll(), e.stream)
}

// bringFor is bring for a token of which is said how many seconds it lives.
func (e *estate) bringFor(provider, user string, seconds int) (id string) {
	e.t.Helper()
	e.backends[provider].SetUser(user, password, `{"plan":"silver"}`)
	m := e.backends[provider].Mint(user)
	id = provider + ":" + user
	body := map[string]any{"provider": provider, "token": map[string]any{"access_token": m.Token, "refresh_token": m.Refresh, "expires_in": seconds}}
	require.NoError(e.t, e.living.Load().Call(e.t.Context(), http.MethodPut, harness.CredentialPath(id), body, nil))
	return id
}
