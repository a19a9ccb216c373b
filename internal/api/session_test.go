package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
)

// session puts an active sliding session in place that was used a minute ago.
func (b *bundle) session(id credential.ID) {
	b.store(id, 840)
	b.engine.set(func(e *fakeEngine) {
		h := e.stored[id]
		h.Record.Provider = "airline"
		h.Record.IssuedAt, h.Record.Lifetime, h.Record.LimitAt = noon-60_000, 15*time.Minute, noon+8*3600_000
		h.Record.HasLogin = true
		h.Record.Session = credential.Session{Idle: 15 * time.Minute, ExtendAfter: 10 * time.Minute}
		h.UserData = credential.UserData(`{"role": "pilot", "id": 12345678901234567890}`)
	})
}

func TestTouch(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session("air:1")
	got := b.call(t, http.MethodPost, "/v1/credentials/air:1/touch", "")
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.JSONEq(t, `{"idle_deadline": "2027-01-15T08:15:00Z", "expires_in": 900}`, got.body)
	assert.Equal(t, []string{"touch [air:1]"}, b.engine.calls())

	b.engine.set(func(e *fakeEngine) { e.stored["air:1"].Record.Session.Ended = true })
	for path, want := range map[string]struct {
		status int
		code   string
	}{
		"air:1": {409, "session_over"}, "acct-1": {409, "no_session"}, "nobody": {404, "not_found"},
	} {
		got := b.call(t, http.MethodPost, "/v1/credentials/"+path+"/touch", "")
		require.Equal(t, want.status, got.status, got.body)
		assert.Equal(t, want.code, got.problem(t).Code)
	}
	b.engine.set(func(e *fakeEngine) { e.err = &api.FaultError{Kind: api.FaultUnavailable, Detail: "away"} })
	assert.Equal(t, http.StatusServiceUnavailable, b.call(t, http.MethodPost, "/v1/credentials/air:1/touch", "").status)
}

// Of many touches each has an answer of its own, and a key that is bound to a
// prefix touches nothing else.
func TestTouchMany(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	b.session("air:1")
	b.session("air:2")
	b.session("other:1")
	b.engine.set(func(e *fakeEngine) {
		e.stored["air:2"].Record.Session.Ended = true
		e.stored["air:3"] = e.stored["acct-1"]
	})
	key := "Bearer " + b.keys.add("air:", api.ScopeTokenRead)
	got := b.call(t, http.MethodPost, "/v1/touches", `{"ids":["air:9","other:1","air:1","air:2","air:3","air:1"]}`, "Authorization", key)
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.JSONEq(t, `{"touches": [
		{"id": "air:9", "result": "unknown"},
		{"id": "other:1", "result": "forbidden"},
		{"id": "air:1", "result": "touched", "idle_deadline": "2027-01-15T08:15:00Z"},
		{"id": "air:2", "result": "over"},
		{"id": "air:3", "result": "no_session"},
		{"id": "air:1", "result": "touched", "idle_deadline": "2027-01-15T08:15:00Z"}
	]}`, got.body)
	assert.Equal(t, []string{"touch [air:9 air:1 air:2 air:3 air:1]"}, b.engine.calls())

	got = b.call(t, http.MethodPost, "/v1/touches", `{"ids":["other:1"]}`, "Authorization", key)
	assert.JSONEq(t, `{"touches": [{"id": "other:1", "result": "forbidden"}]}`, got.body)
	assert.Len(t, b.engine.calls(), 1, "nobody is asked about what is none of the key's business")
	assert.Equal(t, http.StatusForbidden, b.call(t, http.MethodPost, "/v1/credentials/other:1/touch", "", "Authorization", key).status)
}

func TestTouchThousand(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	got := b.call(t, http.MethodPost, "/v1/touches", `{"ids":["a"`+strings.Repeat(`,"a"`, 999)+`]}`)
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.Equal(t, 1000, strings.Count(got.body, `"unknown"`))
}

func TestRecordOfASession(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	b.session("air:1")
	b.engine.set(func(e *fakeEngine) { e.stored["air:1"].Record.Learned.Life = 5 * time.Minute })
	var record api.Record
	got := b.call(t, http.MethodGet, "/v1/credentials/air:1", "")
	got.decode(t, &record)
	assert.Equal(t, &api.Session{
		IdleTimeout: 900, IdleDeadline: new((noon + 840_000).Time()), AbsoluteDeadline: new((noon + 8*3600_000).Time()), LastUsedAt: new((noon - 60_000).Time()),
	}, record.Session)
	assert.Equal(t, "passive", record.Presence)
	assert.True(t, record.HasLogin)
	assert.Equal(t, int64(300), record.LearnedLifetime)
	assert.Nil(t, record.RefreshTokenExpiresAt)
	assert.NotContains(t, got.body, "pilot", "that is asked for by itself")

	b.engine.set(func(e *fakeEngine) { e.stored["acct-1"].Record.LimitAt = noon + 1000 })
	record = api.Record{}
	b.call(t, http.MethodGet, "/v1/credentials/acct-1", "").decode(t, &record)
	assert.Equal(t, (noon + 1000).Time(), *record.RefreshTokenExpiresAt)
	assert.Nil(t, record.Session)
	assert.Empty(t, record.Presence)
}

func TestSendSaysHowATokenTravels(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	b.session("air:1")
	var reply api.TokenReply
	b.call(t, http.MethodGet, "/v1/credentials/air:1/token", "").decode(t, &reply)
	assert.Equal(t, api.Send{As: "header", Name: "X-Session-Token"}, reply.Send)
	assert.Equal(t, (noon + 840_000).Time(), reply.ExpiresAt, "its idle deadline")
	b.call(t, http.MethodPost, "/v1/credentials/acct-1/refresh", "").decode(t, &reply)
	assert.Equal(t, "bearer", reply.Send.As)
}

func TestPresence(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	b.session("air:1")
	for _, presence := range credential.Presences() {
		var record api.Record
		got := b.call(t, http.MethodPut, "/v1/credentials/air:1/presence", `{"presence":"`+string(presence)+`"}`)
		require.Equal(t, http.StatusOK, got.status, got.body)
		got.decode(t, &record)
		assert.Equal(t, string(presence), record.Presence)
		assert.Equal(t, uint64(7), record.Version, "no event tells of it")
	}
	assert.Equal(t, http.StatusNotFound, b.call(t, http.MethodPut, "/v1/credentials/nobody/presence", `{"presence":"active"}`).status)
	got := b.call(t, http.MethodPut, "/v1/credentials/acct-1/presence", `{"presence":"active"}`)
	require.Equal(t, http.StatusConflict, got.status, got.body)
	assert.Equal(t, "no_session", got.problem(t).Code)
}

func TestUserData(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	b.session("air:1")
	got := b.call(t, http.MethodGet, "/v1/credentials/air:1/user-data", "")
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.JSONEq(t, `{"subject": "u-7", "state": "active", "expires_at": "2027-01-15T08:14:00Z", "version": 7, "user_data": {"role": "pilot", "id": 12345678901234567890}}`, got.body)
	assert.Contains(t, got.body, "12345678901234567890", "no digit is lost")

	got = b.call(t, http.MethodGet, "/v1/credentials/acct-1/user-data", "")
	require.Equal(t, http.StatusOK, got.status)
	assert.JSONEq(t, `{"subject": "u-7", "state": "active", "expires_at": "2027-01-15T09:00:00Z", "version": 7}`, got.body)
	assert.Equal(t, http.StatusNotFound, b.call(t, http.MethodGet, "/v1/credentials/nobody/user-data", "").status)

	b.engine.set(func(e *fakeEngine) { e.stored["air:1"].UserData = credential.UserData("no JSON, canary") })
	got = b.call(t, http.MethodGet, "/v1/credentials/air:1/user-data", "")
	assert.Equal(t, http.StatusInternalServerError, got.status)
	assert.NotContains(t, got.body+b.log.String(), "canary")
}

func TestPutLogin(t *testing.T) {
	t.Parallel()
	const signIn = `"login":{"username":"canary-user","password":"canary \"pass\\word\n"}`
	t.Run("away", func(t *testing.T) {
		t.Parallel()
		b := setupWithout(t)
		got := b.call(t, http.MethodPut, "/v1/credentials/x", `{"provider":"acme",`+signIn+`,"user_data":{"n":1.50}}`)
		require.Equal(t, http.StatusAccepted, got.status, got.body)
		assert.Equal(t, `"1"`, got.header.Get("ETag"))
		assert.Contains(t, got.body, `"state":"pending"`)
		held := b.engine.stored["x"]
		assert.Equal(t, "canary-user", held.SignIn.Username.Reveal())
		assert.Equal(t, "canary \"pass\\word\n", held.SignIn.Password.Reveal())
		assert.Equal(t, `{"n":1.50}`, string(held.UserData), "as it came")
		assert.NotContains(t, got.body+b.log.String(), "canary")
	})
	t.Run("with a token", func(t *testing.T) {
		t.Parallel()
		b := setupWithout(t)
		got := b.call(t, http.MethodPut, "/v1/credentials/x", `{"provider":"acme","token":{"access_token":"a","refresh_token":"r","refresh_expires_in":7200},`+signIn+`}`)
		require.Equal(t, http.StatusCreated, got.status, got.body)
		assert.Equal(t, "a", b.engine.stored["x"].Token.Access.Reveal())
		assert.False(t, b.engine.stored["x"].SignIn.IsZero())
		assert.Contains(t, got.body, `"has_login":true`)
		assert.Contains(t, got.body, `"refresh_token_expires_at":"2027-01-15T10:00:00Z"`)
	})
	for reason, code := range map[string]string{
		"login_refused": "login_refused", "account_locked": "account_locked", "interaction_required": "login_refused",
	} {
		t.Run("refused "+reason, func(t *testing.T) {
			t.Parallel()
			b := setupWithout(t)
			b.engine.set(func(e *fakeEngine) {
				e.err = &api.FaultError{Kind: api.FaultLoginRefused, Detail: "words for the caller", Reason: credential.Reason(reason)}
			})
			got := b.call(t, http.MethodPut, "/v1/credentials/x", `{"provider":"acme",`+signIn+`}`)
			require.Equal(t, http.StatusUnprocessableEntity, got.status, got.body)
			p := got.problem(t)
			assert.Equal(t, code, p.Code)
			assert.Equal(t, reason, p.Reason)
			assert.Equal(t, "body.login", p.Errors[0].Location)
			assert.NotContains(t, got.body+b.log.String(), "canary")
		})
	}
}

func TestPlannedRefresh(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for _, row := range []struct{ body, call, reply string }{
		{`{"after":"10m"}`, "plan acct-1 10m0s", `{"due_at": "2027-01-15T08:10:00Z"}`},
		{`{"after":"90"}`, "plan acct-1 1m30s", `{"due_at": "2027-01-15T08:01:30Z"}`},
		{`{"after":"0s"}`, "plan acct-1 0s", `{"due_at": "2027-01-15T08:00:00Z"}`},
		{`{"at":"2027-01-15T10:00:00+01:00"}`, "plan acct-1 1h0m0s", `{"due_at": "2027-01-15T09:00:00Z"}`},
		{`{"at":"2027-01-15T07:59:30Z"}`, "plan acct-1 0s", `{"due_at": "2027-01-15T08:00:00Z"}`},
		{`{"cancel":true}`, "plan acct-1 -1ns", `{"cancelled": true}`},
		{`{"cancel":true}`, "plan acct-1 -1ns", `{"cancelled": true}`},
	} {
		b.engine.set(func(e *fakeEngine) { e.asked = nil })
		got := b.call(t, http.MethodPost, "/v1/credentials/acct-1/refresh", row.body)
		require.Equal(t, http.StatusAccepted, got.status, got.body)
		assert.JSONEq(t, row.reply, got.body, row.body)
		calls := b.engine.calls()
		assert.Equal(t, row.call, calls[len(calls)-1])
		var record api.Record
		b.call(t, http.MethodGet, "/v1/credentials/acct-1", "").decode(t, &record)
		assert.Equal(t, strings.Contains(row.reply, "due_at"), record.RefreshOnceAt != nil)
	}
	assert.Equal(t, http.StatusNotFound, b.call(t, http.MethodPost, "/v1/credentials/nobody/refresh", `{"after":"1m"}`).status)

	b.engine.set(func(e *fakeEngine) { e.asked, e.stored["acct-1"].Record.Refreshable = nil, false })
	got := b.call(t, http.MethodPost, "/v1/credentials/acct-1/refresh", `{"after":"1m"}`)
	assert.Equal(t, "not_refreshable", got.problem(t).Code)
	assert.Equal(t, []string{"record acct-1"}, b.engine.calls(), "nothing is planned that cannot come")
}
