package service

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
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
		told = "16" // s, by Retry-After
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
	watched, brought := e.signUp("air", "watched"), e.bring("air", "brought")
	at.presence(t, watched, "active")
	living, short, dying := e.bringFor("shop", "living", 30), e.bringFor("shop", "short", 26), e.bringFor("shop", "dying", 7)

	until := map[string]time.Time{}
	for name, id := range triggers {
		e.backends[name].Add(backends.Fault{Count: 1, Reply: &backends.Reply{Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": told}}})
		refused := refusedWith(t, at.refresh(t.Context(), id))
		require.Equal(t, "rate_limited", refused.Reason)
		until[name] = e.providerState(at, name).Hold.Until
	}
	began := time.Now()
	inTime := func(provider, kind, id string, due time.Time) {
		e.stream.awaitEvents(t, kind, id, 1)
		assert.True(t, time.Now().Before(until[provider]), "%s of %s was told only after the hold", kind, id)
		t.Logf("%s of %s was heard %s after its time", kind, id, time.Since(due).Round(10*time.Millisecond))
	}
	dies, deadline := at.get(t, dying).ExpiresAt, at.get(t, watched).ExpiresAt
	inTime("air", "session.expiring", watched, deadline.Add(-6*time.Second))
	inTime("shop", "credential.expired", dying, dies)
	inTime("air", "credential.reauth_required", brought, at.get(t, brought).ExpiresAt)
	inTime("air", "credential.expired", watched, deadline)
	r := at.get(t, watched)
	assert.Equal(t, "expired", r.State)
	assert.Equal(t, "idle_timeout", r.Reason)

	for _, id := range []string{watched, living, short, dying} {
		at.awaitRecord(t, id, func(r record) bool { return r.State == "active" && r.Generation == 2 })
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

// bringFor is bring for a token of which is said how many seconds it lives.
func (e *estate) bringFor(provider, user string, seconds int) (id string) {
	e.t.Helper()
	e.backends[provider].SetUser(user, password, `{"plan":"silver"}`)
	m := e.backends[provider].Mint(user)
	id = provider + ":" + user
	body := map[string]any{"provider": provider, "token": map[string]any{"access_token": m.Token, "refresh_token": m.Refresh, "expires_in": seconds}}
	require.NoError(e.t, e.living.Load().call(e.t.Context(), http.MethodPut, credentialPath(id), body, nil))
	return id
}
