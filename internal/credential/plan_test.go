package credential_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestSetPaused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.held.Attempt = nil
	b.held.Record.RefreshAt = noon - minute
	w, ok := credential.SetPaused(b.held, true, b.nonce, noon)
	require.True(t, ok)
	checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) { r.Paused, r.Plans = true, uint64(noon) }))
	assert.Equal(t, issued+hour, w.Due, "the expiry is told")
	held := w.Result(b.held)
	_, ok = credential.SetPaused(held, true, b.nonce, noon)
	assert.False(t, ok)
	refusal, _ := credential.Grant(held, credential.Begin{Nonce: nonceOf(1), Force: true}, noon)
	assert.Equal(t, credential.RefusedNoRefresh, refusal)
	assert.Equal(t, credential.Work{Advance: true}, credential.Due(held.Record, nil, issued+hour))

	told, ok := credential.Advance(held, b.policy, nonceOf(2), issued+hour)
	require.True(t, ok)
	assert.Equal(t, credential.StateExpired, told.Record.State)
	assert.Zero(t, told.Due)
	held = told.Result(held)

	w, ok = credential.SetPaused(held, false, b.nonce, issued+2*hour)
	require.True(t, ok)
	assert.Equal(t, credential.Work{Refresh: true}, credential.Due(w.Record, nil, issued+2*hour), "what is overdue comes at once")
	assert.LessOrEqual(t, w.Due, issued+2*hour)

	b.inDoubt(noon)
	w, ok = credential.SetPaused(b.held, true, b.nonce, noon)
	require.True(t, ok)
	assert.Equal(t, issued+hour, w.Due, "what is in doubt is not presented either")
	assert.NotNil(t, w.Result(b.held).Attempt)
	for _, state := range []credential.State{credential.StateReauthRequired, credential.StateLoggedOut, credential.StateDeleted} {
		b.in(state, true)
		_, ok = credential.SetPaused(b.held, true, b.nonce, noon)
		assert.False(t, ok, state)
	}
}

func TestPlanOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.held.Attempt = nil
	at := noon + minute // not due otherwise
	w, ok := credential.PlanOnce(b.held, at, b.nonce, noon)
	require.True(t, ok)
	checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) { r.OnceAt, r.Plans = at, uint64(noon) }))
	assert.Equal(t, at, w.Due)
	assert.Equal(t, at, w.Record.NextRefresh())
	assert.True(t, credential.Due(w.Record, nil, at-1).None())
	assert.Equal(t, credential.Work{Refresh: true}, credential.Due(w.Record, nil, at))
	held := w.Result(b.held)
	_, ok = credential.PlanOnce(held, at, b.nonce, noon)
	assert.False(t, ok)
	w, ok = credential.PlanOnce(held, 0, b.nonce, noon)
	require.True(t, ok)
	assert.Equal(t, b.held.Record.RefreshAt, w.Due)
	b.in(credential.StateReauthRequired, true)
	_, ok = credential.PlanOnce(b.held, at, b.nonce, noon)
	assert.False(t, ok)
}

// It is over with the first exchange from its moment on, however that ends, and
// with none before.
func TestOnceIsServedOnce(t *testing.T) {
	t.Parallel()
	got := credential.Received{Method: credential.MethodRefresh, Token: token("at-5", "rt-5"), SentAt: sent, ExpiresIn: time.Hour}
	settle := map[string]func(*bundle) credential.Write{
		"a token": func(b *bundle) credential.Write {
			return credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
		},
		"an extension": func(b *bundle) credential.Write {
			return credential.Extend(b.held, b.attempt, credential.Received{Method: credential.MethodExtend, SentAt: sent}, b.policy, credential.BySchedule, noon)
		},
	}
	for _, class := range credential.Classes() {
		settle[string(class)] = func(b *bundle) credential.Write {
			return fail(b, credential.Outcome{Method: credential.MethodRefresh, Class: class, Reason: credential.ReasonNetwork})
		}
	}
	for name, ends := range settle {
		b := setup(t)
		b.held.Record.OnceAt = noon + hour
		if name == string(credential.ClassPermanent) {
			b.withLogin() // else no more calls are made at all
		}
		if name == "an extension" {
			b.session(credential.PresencePassive)
		}
		assert.Equal(t, noon+hour, ends(b).Record.OnceAt, "%s, before its moment", name)
		b.held.Record.OnceAt = b.attempt.BegunAt
		left := ends(b)
		switch credential.Class(name) {
		case credential.ClassNotSent:
			assert.Equal(t, left.Record.RefreshAt, left.Record.OnceAt, "nothing was sent: it comes again, not at once")
		case credential.ClassOperator:
			assert.Equal(t, b.attempt.BegunAt, left.Record.OnceAt, "the credential is not to blame")
		default:
			assert.Zero(t, left.Record.OnceAt, name)
		}
	}
}

// Whatever else is written, what was asked for comes.
func TestOnceSurvives(t *testing.T) {
	t.Parallel()
	at := noon + 10*minute
	presence := func(b *bundle) credential.Write {
		w, ok := credential.SetPresence(b.held, credential.PresenceActive, b.policy, b.nonce, noon)
		require.True(t, ok)
		return w
	}
	for name, write := range map[string]func(*bundle) credential.Write{
		"a login":    func(b *bundle) credential.Write { return credential.Connect(&b.held, login(), b.policy, b.nonce, noon) },
		"a presence": presence,
		"abandoned": func(b *bundle) credential.Write {
			return credential.Abandon(b.held, b.attempt, credential.BySchedule, noon)
		},
		"in doubt": func(b *bundle) credential.Write { return credential.Doubt(b.held, b.attempt, b.policy, noon) },
		"an expiry": func(b *bundle) credential.Write {
			b.in(credential.StateActive, false)
			w, _ := credential.Advance(b.held, b.policy, b.nonce, noon)
			return w
		},
		"a pause": func(b *bundle) credential.Write { w, _ := credential.SetPaused(b.held, true, b.nonce, noon); return w },
		"alternate": func(b *bundle) credential.Write {
			return credential.KeepAlternate(b.held, alternate(1, 4), b.nonce, noon)
		},
		"user's data": func(b *bundle) credential.Write {
			w, _ := credential.TakeUserData(b.held, credential.UserData(`1`), "", b.nonce, credential.BySchedule, noon)
			return w
		},
	} {
		b := setup(t)
		b.held.Record.OnceAt = at
		assert.Equal(t, at, write(b).Record.OnceAt, name)
	}
}

func TestTakeUserData(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.held.UserData = credential.UserData(`{"id": 1, "plan": "basic"}`)
	for name, data := range map[string]credential.UserData{
		"none":           nil,
		"the same":       credential.UserData(`{"id": 1, "plan": "basic"}`),
		"another format": credential.UserData("{\"plan\":\"basic\",\n\"id\":1}"),
		"too long":       credential.UserData(`"` + strings.Repeat("x", credential.MaxUserData) + `"`),
	} {
		_, ok := credential.TakeUserData(b.held, data, "u-8", b.nonce, credential.BySchedule, noon)
		assert.False(t, ok, name)
	}
	data := credential.UserData(`{"id": 1, "plan": "gold"}`)
	w, ok := credential.TakeUserData(b.held, data, "u-8", b.nonce, credential.ByDemand, noon)
	require.True(t, ok)
	checkWrite(t, b.held, w, changed(b.held, w, noon, nil), event{credential.EventUserDataChanged, credential.StateActive, credential.StateActive, credential.ReasonNone})
	assert.Equal(t, data, w.Result(b.held).UserData)
	assert.Equal(t, b.attempt.Deadline, w.Due)

	// A UID is taken where none is known, with the data or without any news in it.
	b.held.Record.Subject = ""
	named := func(r *credential.Record) { r.Subject = "u-8" }
	w, ok = credential.TakeUserData(b.held, data, "u-8", b.nonce, credential.ByDemand, noon)
	require.True(t, ok)
	checkWrite(t, b.held, w, changed(b.held, w, noon, named), event{credential.EventUserDataChanged, credential.StateActive, credential.StateActive, credential.ReasonNone})
	assert.Equal(t, "u-8", w.Events[0].Subject)
	w, ok = credential.TakeUserData(b.held, b.held.UserData, "u-8", b.nonce, credential.ByDemand, noon)
	require.True(t, ok)
	checkWrite(t, b.held, w, changed(b.held, w, noon, named))
	_, ok = credential.TakeUserData(b.held, nil, "", b.nonce, credential.ByDemand, noon)
	assert.False(t, ok)
	b.in(credential.StateLoggedOut, true)
	_, ok = credential.TakeUserData(b.held, data, "u-8", b.nonce, credential.ByDemand, noon)
	assert.False(t, ok)
}

// What a reply tells of the user is stored whole, and told where it is not what
// it was.
func TestInstallTellsOfTheUser(t *testing.T) {
	t.Parallel()
	refreshed := event{credential.EventRefreshed, credential.StateActive, credential.StateActive, credential.ReasonNone}
	told := event{credential.EventUserDataChanged, credential.StateActive, credential.StateActive, credential.ReasonNone}
	for name, c := range map[string]struct {
		before, got string
		stored      bool
		events      []event
	}{
		"nothing told": {`{"a":1}`, "", false, []event{refreshed}},
		"the same":     {`{"a":1}`, `{ "a": 1 }`, false, []event{refreshed}},
		"the first":    {"", `{"a":1}`, true, []event{refreshed, told}},
		"another":      {`{"a":1}`, `{"a":2}`, true, []event{refreshed, told}},
		"null":         {`{"a":1}`, `null`, true, []event{refreshed, told}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if c.before != "" {
				b.held.UserData = credential.UserData(c.before)
			}
			b.held.Record.Subject = ""
			got := credential.Received{Method: credential.MethodRefresh, Token: token("at-5", "rt-5"), SentAt: sent, ExpiresIn: time.Hour, Subject: "u-1"}
			if c.got != "" {
				got.UserData = credential.UserData(c.got)
			}
			w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
				installed(r, b.policy, time.Hour, true)
				r.Subject = "u-1"
			}), c.events...)
			assert.Equal(t, c.stored, w.UserData != nil)
			if c.stored {
				assert.Equal(t, c.got, string(w.Result(b.held).UserData))
			}
		})
	}
	b := setup(t)
	b.held.UserData = credential.UserData(`1`)
	got := credential.Received{Method: credential.MethodRefresh, Token: token("", "rt-5"), SentAt: sent, UserData: credential.UserData(`2`), Partial: true}
	w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
	assert.Equal(t, credential.EventUserDataChanged, w.Events[0].Type, "also where the access token was missing")
}

// Where the provider is asked in a call of its own, what another reply tells fills
// what is empty and replaces nothing.
func TestUserDataOfAnotherReply(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		asks         bool
		before, want string
	}{
		"no call of its own": {false, `{"id":1}`, `{"role":"clerk"}`},
		"a call of its own":  {true, `{"id":1}`, `{"id":1}`},
		"nothing is known":   {true, "", `{"role":"clerk"}`},
	} {
		for _, method := range []credential.Method{credential.MethodRefresh, credential.MethodLogin, credential.MethodExtend} {
			t.Run(name+", "+string(method), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				b.policy.AsksUserData = row.asks
				if row.before != "" {
					b.held.UserData = credential.UserData(row.before)
				}
				got := credential.Received{Method: method, Token: token("at-9", ""), SentAt: noon, ExpiresIn: time.Hour, UserData: credential.UserData(`{"role":"clerk"}`)}
				store := credential.Install
				if method == credential.MethodExtend {
					store = credential.Extend
				}
				w := store(b.held, *b.held.Attempt, got, b.policy, credential.BySchedule, noon)
				assert.JSONEq(t, row.want, string(w.Result(b.held).UserData))
				assert.Equal(t, row.before != row.want, slices.ContainsFunc(w.Events, func(e credential.Event) bool {
					return e.Type == credential.EventUserDataChanged
				}))
			})
		}
	}
}
