package service

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/test/harness"
)

// Where a token is refused before its time, or a refresh token or a session is
// dead, the login is repeated silently: once, however many ask.
func TestALoginIsRepeatedOnce(t *testing.T) {
	t.Parallel()
	const askers = 20
	e := newEstate(t)
	e.backend("password", backends.Options{Kind: backends.KindBearer, Life: time.Hour, Latency: 300 * time.Millisecond}, nil)
	e.backend("shop", backends.Options{Kind: backends.KindBearer, Life: time.Hour, Latency: 300 * time.Millisecond, Refreshes: true}, nil)
	e.backend("header", backends.Options{Kind: backends.KindHeader, Idle: time.Hour, Latency: 300 * time.Millisecond}, nil)
	first := e.open()
	pair := []*instance{first, e.start()}
	ids := map[string]string{}
	for name := range e.backends {
		ids[name] = e.signUp(name, "ann")
	}
	for name, id := range ids {
		e.backends[name].End("ann")
		old := first.get(t, id).Generation
		var asks sync.WaitGroup
		errs := make([]error, askers)
		tokens := make([]harness.Token, askers)
		for n := range askers {
			asks.Go(func() {
				body := map[string]any{"rejected_generation": old}
				errs[n] = pair[n%2].Call(t.Context(), http.MethodPost, harness.CredentialPath(id)+"/refresh", body, &tokens[n])
			})
		}
		asks.Wait()
		for n := range askers {
			require.NoError(t, errs[n], "%s, asker %d", id, n)
			assert.Equal(t, tokens[0].AccessToken, tokens[n].AccessToken)
			assert.Equal(t, old+1, tokens[n].Generation)
		}
		assert.True(t, e.backends[name].Alive(tokens[0].AccessToken))
	}
	for name, want := range map[string][]backends.Call{
		"password": {backends.CallLogin, backends.CallLogin},
		"shop":     {backends.CallLogin, backends.CallRefresh, backends.CallLogin},
		"header":   {backends.CallLogin, backends.CallUse, backends.CallLogin},
	} {
		var have []backends.Call
		for _, call := range e.backends[name].Ledger() {
			have = append(have, call.Call)
			assert.Equal(t, 1, call.InAirOfUser, name)
		}
		assert.Equal(t, want, have, name)
	}
	all := e.heardAll()
	for _, id := range ids {
		assert.Equal(t, "active", all[id].State)
		assert.Empty(t, e.stream.find("credential.reauth_required", id))
	}
	oneEventPerVersion(t, first.api, all, e.stream)
}

// A locked account, and a password that was changed, get one call, and none until
// their owner brings another login.
func TestALockedAccountGetsOneCall(t *testing.T) {
	t.Parallel()
	const life = 3 * time.Second
	e := newEstate(t)
	b := e.backend("password", backends.Options{Kind: backends.KindBearer, Life: life}, nil)
	at := e.open()
	locked, changed := e.signUp("password", "locked"), e.signUp("password", "changed")
	b.Lock("locked")
	b.SetUser("changed", "another password", `{}`)
	before := map[string]int{"locked": len(b.Calls(backends.CallLogin, "locked")), "changed": len(b.Calls(backends.CallLogin, "changed"))}
	for id, reason := range map[string]string{locked: "account_locked", changed: "login_refused"} {
		r := at.awaitRecord(t, id, func(r harness.Record) bool { return r.State == "reauth_required" })
		assert.Equal(t, reason, r.Reason, id)
		assert.False(t, r.HasLogin, "%s: what is refused is not kept", id)
		events := e.stream.awaitEvents(t, "credential.reauth_required", id, 1)
		assert.Equal(t, reason, events[0].Data.Reason)
	}
	// Whoever asks is told so, without a call; a due time, an expiry and a restart
	// bring none either.
	at = e.restart()
	pass(t.Context(), life)
	for range 10 {
		for _, id := range []string{locked, changed} {
			_, err := at.Token(t.Context(), id, 0)
			assert.Equal(t, http.StatusConflict, refusedWith(t, err).Status)
			assert.Equal(t, http.StatusConflict, refusedWith(t, at.Refresh(t.Context(), id)).Status)
		}
	}
	for user, n := range before {
		assert.Len(t, b.Calls(backends.CallLogin, user), n+1, "%s: one call since", user)
	}
	// Their owner is told before anything is stored, and logs in again.
	path := harness.CredentialPath(changed)
	refused := refusedWith(t, at.Call(t.Context(), http.MethodPut, path, signIn("password", "changed", "wrong again"), nil))
	assert.Equal(t, http.StatusUnprocessableEntity, refused.Status)
	assert.Equal(t, "login_refused", refused.Code)
	refused = refusedWith(t, at.Call(t.Context(), http.MethodPut, harness.CredentialPath(locked), signIn("password", "locked", password), nil))
	assert.Equal(t, "account_locked", refused.Code)
	assert.Equal(t, "reauth_required", at.get(t, changed).State)
	require.NoError(t, at.Call(t.Context(), http.MethodPut, path, signIn("password", "changed", "another password"), nil))
	assert.Equal(t, "active", at.get(t, changed).State)
	e.stream.awaitEvents(t, "credential.reauthorized", changed, 1)
	oneEventPerVersion(t, at.api, e.heardAll(), e.stream)
}

// While the backend is away a login is taken, and made as soon as that can be
// done; a wrong password is stored nowhere.
func TestALoginWaitsForTheBackend(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	b := e.backend("password", backends.Options{Kind: backends.KindBearer, Life: time.Hour}, nil)
	at := e.open()
	b.SetUser("ann", password, `{"n":1}`)
	back := b.Add(backends.Fault{Reply: &backends.Reply{Status: http.StatusServiceUnavailable}})
	var r harness.Record
	require.NoError(t, at.Call(t.Context(), http.MethodPut, harness.CredentialPath("password:ann"), signIn("password", "ann", password), &r))
	assert.Equal(t, "pending", r.State)
	back()
	r = at.awaitRecord(t, "password:ann", func(r harness.Record) bool { return r.State == "active" })
	assert.Equal(t, b.UID("ann"), r.Subject)

	refused := refusedWith(t, at.Call(t.Context(), http.MethodPut, harness.CredentialPath("password:eve"), signIn("password", "ann", "wrong"), nil))
	assert.Equal(t, "login_refused", refused.Code)
	assert.NotContains(t, at.list(t), "password:eve")
}

// An answer to a login that is neither a token nor a known refusal is told to its
// owner, once; nothing is stored for it.
func TestALoginWithoutAVerdict(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	b := e.backend("password", backends.Options{Kind: backends.KindBearer, Life: time.Hour}, nil)
	at := e.open()
	b.SetUser("ann", password, `{"n":1}`)
	for n, row := range []struct {
		fault  backends.Fault
		reason string
		says   string
	}{
		{errorReply(400, "nope"), "invalid_request", "HTTP 400"},
		{errorReply(422, "nope"), "invalid_request", "HTTP 422"},
		{jsonReply(200, `{"success":false,"message":"no"}`), "malformed_reply", "it has: message, success"},
		{pageReply(303, "Location", "/home", "Set-Cookie", "SID=x"), "malformed_reply", "did not have the declared"},
	} {
		row.fault.Call = backends.CallLogin
		back := b.Add(row.fault)
		refused := refusedWith(t, at.Call(t.Context(), http.MethodPut, harness.CredentialPath("password:ann"), signIn("password", "ann", "wrong"), nil))
		assert.Equal(t, http.StatusUnprocessableEntity, refused.Status)
		assert.Equal(t, "login_refused", refused.Code)
		assert.Equal(t, row.reason, refused.Reason)
		assert.Contains(t, refused.Detail, row.says)
		assert.NotContains(t, refused.Detail, "does not take this user name and password")
		assert.Len(t, b.Calls(backends.CallLogin, ""), n+1)
		back()
	}
	assert.NotContains(t, at.list(t), "password:ann")
}

// A login that cannot be made now does not end a session that lives, least of all a
// mistyped one; nothing is stored, no event tells of it, and its owner is told to
// send it again. A pause survives every login.
func TestALoginThatMustWaitEndsNothing(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	b := e.backend("header", backends.Options{Kind: backends.KindHeader, Idle: time.Hour}, nil)
	at := e.open()
	id := e.signUp("header", "ann")
	before, session := at.get(t, id), func() string {
		t.Helper()
		got, err := at.Token(t.Context(), id, 0)
		require.NoError(t, err)
		return got.AccessToken
	}
	living := session()
	putOff := func(reason string) {
		t.Helper()
		refused := refusedWith(t, at.Call(t.Context(), http.MethodPut, harness.CredentialPath(id), signIn("header", "ann", "mistyped"), nil))
		assert.Equal(t, http.StatusServiceUnavailable, refused.Status)
		assert.Equal(t, reason, refused.Reason)
		assert.Contains(t, refused.Detail, "has to be sent again")
		assert.Equal(t, living, session())
		assert.True(t, b.Alive(living))
	}
	back := b.Add(backends.Fault{Call: backends.CallLogin, Reply: &backends.Reply{Status: http.StatusServiceUnavailable}})
	putOff("provider_unavailable")
	assert.Equal(t, before, at.get(t, id))
	back()

	at.post(t, id, "pause", nil, nil)
	logins := len(b.Calls(backends.CallLogin, ""))
	putOff("paused")
	assert.True(t, at.get(t, id).Paused)
	at.post(t, id, "resume", nil, nil)
	require.NoError(t, at.Call(t.Context(), http.MethodPost, "/v1/providers/header/pause", nil, nil))
	putOff("paused")
	assert.Len(t, b.Calls(backends.CallLogin, ""), logins, "nothing is sent")
	require.NoError(t, at.Call(t.Context(), http.MethodPost, "/v1/providers/header/resume", nil, nil))
	assert.Equal(t, []string{"credential.connected"}, e.stream.told(id))

	require.NoError(t, at.Call(t.Context(), http.MethodPut, harness.CredentialPath(id), signIn("header", "ann", password), nil))
	e.stream.awaitEvents(t, "credential.reauthorized", id, 1)
	assert.NotEqual(t, living, session())

	// One that has no session any more waits as pending, paused or not.
	b.End("ann")
	b.SetUser("ann", "another password", `{}`)
	_ = at.Refresh(t.Context(), id) // what it answers is not the point here
	at.awaitRecord(t, id, func(r harness.Record) bool { return r.State == "reauth_required" })
	back = b.Add(backends.Fault{Call: backends.CallLogin, Reply: &backends.Reply{Status: http.StatusServiceUnavailable}})
	var r harness.Record
	require.NoError(t, at.Call(t.Context(), http.MethodPut, harness.CredentialPath(id), signIn("header", "ann", "another password"), &r))
	assert.Equal(t, "pending", r.State)
	at.post(t, id, "pause", nil, nil)
	require.NoError(t, at.Call(t.Context(), http.MethodPut, harness.CredentialPath(id), signIn("header", "ann", "another password"), &r))
	assert.Equal(t, "pending", r.State)
	assert.True(t, r.Paused)
	back()
	at.post(t, id, "resume", nil, nil)
	at.awaitRecord(t, id, func(r harness.Record) bool { return r.State == "active" })
	e.stream.awaitEvents(t, "credential.connected", id, 3)
	e.stream.awaitEvents(t, "credential.recovered", id, 1)
	assert.Len(t, e.stream.find("credential.reauthorized", id), 1, "that of the login that was made")
	oneEventPerVersion(t, at.api, e.heardAll(), e.stream)
}

// User data is stored whole, and an event tells of it when it has changed, and
// only then, from wherever it comes.
func TestUserDataIsToldWhenItChanges(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.backend("password", backends.Options{Kind: backends.KindBearer, Life: time.Hour}, nil)
	e.backend("shop", backends.Options{Kind: backends.KindBearer, Life: time.Hour, Refreshes: true}, nil)
	e.backend("header", backends.Options{Kind: backends.KindHeader, Idle: time.Hour}, nil)
	e.backend("graphql", backends.Options{Kind: backends.KindGraphQL, Idle: time.Hour}, nil)
	at := e.open()
	for name, b := range e.backends {
		id := e.signUp(name, "ann")
		refreshed := func() {
			t.Helper()
			eventually(t, patience, func() (bool, string) {
				err := at.Refresh(t.Context(), id)
				return err == nil, fmt.Sprintf("%s: %v", id, err)
			})
		}
		steps := []struct {
			data  string
			event int // of these there are then
		}{
			{`{"name":"ann","plan":"gold"}`, 0},
			{`{ "plan": "gold", "name": "ann" }`, 0}, // another order is no change
			{`{"name":"ann","plan":"lead","seats":[1,2,{"x":null}]}`, 1},
			{`{"name":"ann","plan":"lead","seats":[1,2,{"x":null}]}`, 1},
			{`[]`, 2},
		}
		for n, step := range steps {
			b.SetUser("ann", password, step.data)
			refreshed()
			_, data := at.userData(t, id)
			assert.JSONEq(t, step.data, string(data), "%s, step %d", id, n)
			assert.Equal(t, step.event, countOf(eventLog(t, at.api), "credential.user_data_changed", id), "%s, step %d", id, n)
		}
	}
	// What is first heard of a user of whom nothing was known is told as well.
	for _, name := range []string{"shop", "header", "graphql"} {
		id := e.bring(name, "bob")
		require.NoError(t, at.Refresh(t.Context(), id), id)
		_, data := at.userData(t, id)
		assert.JSONEq(t, `{"plan":"silver"}`, string(data), id)
		assert.Equal(t, 1, countOf(eventLog(t, at.api), "credential.user_data_changed", id), id)
	}
	oneEventPerVersion(t, at.api, e.heardAll(), e.stream)
}

// countOf counts the events of a type about a credential.
func countOf(list []cloudEvent, kind, id string) int {
	n := 0
	for _, one := range list {
		if one.Type == kind && one.Data.Credential == id {
			n++
		}
	}
	return n
}

// A session that its backend ends before its time, twice in a row, is taken to
// live shorter from then on: what was learned shows, and is used.
func TestALifetimeIsLearned(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	b := e.backend("header", backends.Options{Kind: backends.KindHeader, Idle: 15 * time.Minute}, nil)
	at := e.open()
	id := e.signUp("header", "ann")
	for n, want := range []int64{0, 60} {
		assert.Zero(t, at.get(t, id).Learned)
		b.End("ann")
		require.NoError(t, at.Refresh(t.Context(), id))
		r := at.get(t, id)
		assert.Equal(t, "active", r.State)
		assert.Equal(t, want, r.Learned, "after %d", n+1)
	}
	r := at.get(t, id)
	require.NotNil(t, r.Session)
	assert.Equal(t, int64(60), r.Session.IdleTimeout, "what is learned is used, a minute at least")
	assert.LessOrEqual(t, time.Until(r.Session.IdleDeadline), time.Minute)
	assert.LessOrEqual(t, time.Until(r.DueAt), 45*time.Second, "it is extended at two thirds of that")
}

// The same for access tokens that are told to live an hour: it takes a minute
// between the two, for a token that has just replaced a refused one says nothing.
func TestSoakALifetimeIsLearned(t *testing.T) {
	soak(t)
	e := newEstate(t)
	b := e.backend("shop", backends.Options{Kind: backends.KindBearer, Life: time.Hour, Refreshes: true}, nil)
	at := e.open()
	id := e.signUp("shop", "ann")
	for n, wait := range []time.Duration{0, 62 * time.Second} {
		pass(t.Context(), wait)
		b.EndTokens("ann")
		var got harness.Token
		body := map[string]any{"rejected_generation": at.get(t, id).Generation}
		require.NoError(t, at.Call(t.Context(), http.MethodPost, harness.CredentialPath(id)+"/refresh", body, &got), "%d", n)
		assert.True(t, b.Alive(got.AccessToken))
	}
	r := at.get(t, id)
	assert.InDelta(t, 62, r.Learned, 5)
	assert.LessOrEqual(t, time.Until(r.ExpiresAt), 70*time.Second, "and an hour was told")
	old := r.Generation
	at.awaitRecord(t, id, func(r harness.Record) bool { return r.Generation > old })
	assert.Len(t, b.Calls(backends.CallLogin, "ann"), 1)
}
