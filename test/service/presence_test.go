package service

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/test/harness"
)

// touch tells that a session was used, and returns its new deadline.
func (a *api) touch(t testing.TB, id string) time.Time {
	t.Helper()
	var answer struct {
		IdleDeadline time.Time `json:"idle_deadline"`
	}
	a.post(t, id, "touch", nil, &answer)
	return answer.IdleDeadline
}

// An active user is told before the session ends, with its deadline, and again as
// the end comes nearer. One who reacts keeps it; for one who does not, it is
// extended silently at the last moment, or ends, as the provider's settings say.
func TestAnActiveUserIsToldOfTheEnd(t *testing.T) {
	t.Parallel()
	const idle, warn = 16 * time.Second, 13 * time.Second
	e := newEstate(t)
	for name, more := range map[string]map[string]any{
		"extends": {"warn_before": warn.String(), "on_active": "extend"},
		"ends":    {"warn_before": warn.String(), "on_active": "end"},
		"leaves":  {"warn_before": warn.String(), "on_active": "end", "on_death": "logout"},
	} {
		e.backend(name, backends.Options{Kind: backends.KindHeader, Idle: idle}, map[string]any{"session": more})
	}
	at := e.open()
	ids := map[string]string{}
	for name := range e.backends {
		ids[name] = e.signUp(name, "gone")
		at.presence(t, ids[name], "active")
	}
	reacts := e.signUp("ends", "reacts")
	at.presence(t, reacts, "active")

	for name, id := range ids {
		told := e.stream.awaitEvents(t, "session.expiring", id, 1)
		assert.Equal(t, at.get(t, id).Session.IdleDeadline, told[0].Data.ExpiresAt, "%s: the event tells the deadline", name)
		assert.Equal(t, "active", told[0].Data.State)
	}
	e.stream.awaitEvents(t, "session.expiring", reacts, 1)
	old := at.get(t, reacts).Session.IdleDeadline
	session, err := at.Token(t.Context(), reacts, 0)
	require.NoError(t, err)
	require.True(t, e.backends["ends"].Visit(session.AccessToken))
	deadline := at.touch(t, reacts)
	assert.True(t, deadline.After(old), "the user reacted")

	// The countdown: again when half of what was left has passed.
	for name, id := range ids {
		assert.Len(t, e.stream.awaitEvents(t, "session.expiring", id, 2), 2, name)
	}
	e.stream.awaitEvents(t, "session.extended", ids["extends"], 1)
	assert.Len(t, e.backends["extends"].Calls(backends.CallUse, "gone"), 1)
	r := at.awaitRecord(t, ids["ends"], func(r harness.Record) bool { return r.State == "reauth_required" })
	assert.Equal(t, "idle_timeout", r.Reason)
	r = at.awaitRecord(t, ids["leaves"], func(r harness.Record) bool { return r.State == "logged_out" })
	assert.Equal(t, "idle_timeout", r.Reason)
	assert.False(t, r.HasLogin)
	_, data := at.userData(t, ids["leaves"])
	assert.Empty(t, data, "a log-out erases everything")
	e.stream.awaitEvents(t, "credential.logged_out", ids["leaves"], 1)

	r = at.get(t, reacts)
	if time.Until(deadline) > 0 {
		assert.Equal(t, "active", r.State, "it lives on by the reaction")
	}
	for _, name := range []string{"ends", "leaves"} {
		assert.Len(t, e.backends[name].Calls(backends.CallLogin, "gone"), 1, "%s: nobody is logged in again who let it end", name)
		assert.Empty(t, e.backends[name].Calls(backends.CallUse, ""), name)
	}
	oneEventPerVersion(t, at.api, e.heardAll(), e.stream)
}

// Nothing is sent for a session in the background. On the return the time since
// its last use decides: one that was used within two thirds of its idle time is
// left alone, however often its user comes and goes; later than that it is
// extended and its clock starts again; for one that is over the user is logged in
// again silently where that can be done.
func TestBackAndForthFromTheBackground(t *testing.T) {
	t.Parallel()
	const idle = 12 * time.Second
	e := newEstate(t)
	b := e.backend("header", backends.Options{Kind: backends.KindHeader, Idle: idle}, nil)
	fresh := e.backend("fresh", backends.Options{Kind: backends.KindHeader, Idle: time.Hour}, nil)
	at := e.open()

	// Within two thirds: no call for those who come and go.
	restless := e.signUp("fresh", "restless")
	at.touch(t, restless)
	used := at.get(t, restless).Session.IdleDeadline
	for _, back := range []string{"passive", "active", "passive", "active"} {
		at.presence(t, restless, "background")
		at.presence(t, restless, back)
	}
	fate := map[string]string{}
	for _, user := range []string{"soon", "late", "changed"} {
		fate[user] = e.signUp("header", user)
	}
	fate["stranger"] = e.bring("header", "stranger")
	for _, id := range fate {
		r := at.presence(t, id, "background")
		assert.Equal(t, "background", r.Presence)
	}
	b.SetUser("changed", "another password", `{}`)

	// From two thirds on: one call, at once, and the clock starts again. A machine
	// that is busy may let all of the time pass.
	old := at.get(t, fate["soon"]).Session.IdleDeadline
	pass(t.Context(), time.Until(old.Add(-idle/3)))
	assert.Empty(t, b.Calls(backends.CallUse, "soon"), "in the background")
	at.presence(t, fate["soon"], "passive")
	if time.Until(old) > onItsWay {
		e.stream.awaitEvents(t, "session.extended", fate["soon"], 1)
		assert.True(t, at.get(t, fate["soon"]).Session.IdleDeadline.After(old))
		calls := b.Calls(backends.CallUse, "soon")
		assert.False(t, calls[0].Received.After(old), "on the return")
		for i := 1; i < len(calls); i++ {
			gap := calls[i].Received.Sub(calls[i-1].Received) + onItsWay
			assert.GreaterOrEqual(t, gap, idle*2/3, "call %d", i+1)
		}
	} else {
		t.Log("the machine was too busy for the one who came in time")
	}

	// Beyond it: nothing was sent and nothing was told until somebody returned,
	// also over a restart.
	at = e.restart()
	for _, user := range []string{"late", "changed", "stranger"} {
		deadline := at.get(t, fate[user]).Session.IdleDeadline
		pass(t.Context(), time.Until(deadline)+time.Second)
		assert.Empty(t, b.Calls(backends.CallUse, user))
		assert.Equal(t, "active", at.get(t, fate[user]).State, user)
		assert.Equal(t, []string{"credential.connected"}, e.stream.told(fate[user]))
	}
	logins := map[string]int{"late": len(b.Calls(backends.CallLogin, "late")), "changed": len(b.Calls(backends.CallLogin, "changed"))}
	for _, user := range []string{"late", "changed", "stranger"} {
		err := at.Call(t.Context(), http.MethodPut, harness.CredentialPath(fate[user])+"/presence", map[string]any{"presence": "active"}, nil)
		if err != nil { // it was over with this call
			assert.Equal(t, http.StatusConflict, refusedWith(t, err).Status, user)
		}
	}
	r := at.awaitRecord(t, fate["late"], func(r harness.Record) bool { return r.State == "active" && r.Generation == 2 })
	assert.Greater(t, time.Until(r.Session.IdleDeadline), time.Duration(0))
	r = at.awaitRecord(t, fate["changed"], func(r harness.Record) bool { return r.State == "reauth_required" })
	assert.Equal(t, "login_refused", r.Reason)
	r = at.awaitRecord(t, fate["stranger"], func(r harness.Record) bool { return r.State == "reauth_required" })
	assert.Equal(t, "idle_timeout", r.Reason)
	for user, n := range logins {
		assert.Len(t, b.Calls(backends.CallLogin, user), n+1, "%s: one login, on the return", user)
	}
	assert.Empty(t, b.Calls(backends.CallLogin, "stranger"))
	for _, user := range []string{"late", "changed", "stranger"} {
		for _, call := range b.Calls(backends.CallUse, user) {
			assert.True(t, call.Done, "%s: a session that is over is not extended", user)
		}
	}
	assert.Empty(t, fresh.Calls(backends.CallUse, ""), "the restless one used it just now")
	assert.Equal(t, used, at.get(t, restless).Session.IdleDeadline)
	oneEventPerVersion(t, at.api, e.heardAll(), e.stream)
	t.Log(fmt.Sprint("told of the one who came late: ", e.stream.told(fate["late"])))
}

// Whoever looks in when two thirds are over and is gone before the call could be
// made keeps his session: it is extended once, while he is away.
// Nobody who left before is called for.
func TestALookInKeepsTheSession(t *testing.T) {
	t.Parallel()
	const idle = 21 * time.Second
	e := newEstate(t)
	b := e.backend("header", backends.Options{Kind: backends.KindHeader, Idle: idle}, nil)
	at := e.open()
	looks, flaps, left := e.signUp("header", "looks"), e.signUp("header", "flaps"), e.signUp("header", "left")
	for _, id := range []string{looks, flaps, left} {
		at.presence(t, id, "background")
	}
	old := at.get(t, looks).Session.IdleDeadline
	pass(t.Context(), time.Until(at.get(t, left).Session.IdleDeadline.Add(-idle/3)))

	// Until they have left, nothing can be called.
	at.post(t, looks, "pause", nil, nil)
	at.post(t, flaps, "pause", nil, nil)
	for _, to := range []string{"passive", "background"} {
		at.presence(t, looks, to)
	}
	for _, to := range []string{"active", "background", "passive", "active", "background", "passive", "background"} {
		at.presence(t, flaps, to)
	}
	require.Empty(t, b.Calls(backends.CallUse, ""), "all of them have left before a call")
	at.post(t, looks, "resume", nil, nil)
	at.post(t, flaps, "resume", nil, nil)
	if time.Until(old) < onItsWay {
		t.Skip("the machine was too busy for those who came in time")
	}
	deadline := map[string]time.Time{}
	for user, id := range map[string]string{"looks": looks, "flaps": flaps} {
		e.stream.awaitEvents(t, "session.extended", id, 1)
		r := at.get(t, id)
		assert.Equal(t, "background", r.Presence, user)
		assert.Equal(t, "active", r.State, user)
		assert.True(t, r.Session.IdleDeadline.After(old), user)
		deadline[user] = r.Session.IdleDeadline
	}

	// One call for each, and nothing more in the background, whatever passes.
	pass(t.Context(), time.Until(deadline["looks"])+time.Second)
	for user, until := range deadline {
		assert.Len(t, b.Calls(backends.CallUse, user), 1, "%s, until %s", user, until)
	}
	assert.Empty(t, b.Calls(backends.CallUse, "left"))
	assert.Equal(t, []string{"credential.connected"}, e.stream.told(left))
	oneEventPerVersion(t, at.api, e.heardAll(), e.stream)
}

// What a backend tells of its user in a call of its own is there right after the
// login, and so is his UID, before anything was refreshed or extended.
func TestUserDataIsThereAfterTheLogin(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	b := e.backend("cookie", backends.Options{Kind: backends.KindCookie, Idle: time.Hour}, nil)
	set := e.config["providers"].(map[string]any)["cookie"].(map[string]any) //nolint:errcheck,forcetypeassert // made by newHouse and backend
	set["user_data"] = map[string]any{
		"request":  set["session"].(map[string]any)["extend"].(map[string]any)["request"], //nolint:errcheck,forcetypeassert // made by BackendSettings
		"response": map[string]any{"subject": "id", "user_data": "profile"},
	}
	at := e.open()
	for user, id := range map[string]string{"signs-in": e.signUp("cookie", "signs-in"), "brings": e.bring("cookie", "brings")} {
		e.stream.awaitEvents(t, "credential.user_data_changed", id, 1)
		subject, data := at.userData(t, id)
		assert.Contains(t, string(data), "plan", user)
		assert.Equal(t, b.UID(user), subject, user)
		assert.Equal(t, b.UID(user), at.get(t, id).Subject, user)
		assert.Len(t, b.Calls(backends.CallUse, user), 1, user)
		assert.Equal(t, []string{"credential.connected", "credential.user_data_changed"}, e.stream.told(id))
	}
	oneEventPerVersion(t, at.api, e.heardAll(), e.stream)
}
