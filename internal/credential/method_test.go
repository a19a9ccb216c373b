package credential_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestMethod(t *testing.T) {
	t.Parallel()
	session := credential.Session{Idle: 15 * time.Minute}
	over := session
	over.Ended = true
	for name, c := range map[string]struct {
		record          credential.Record
		login, noExtend bool // what the provider has a call for
		want            credential.Method
	}{
		"nothing held":                     {credential.Record{State: credential.StateActive}, true, false, credential.MethodNone},
		"a refresh token":                  {credential.Record{State: credential.StateActive, HasRefresh: true}, false, false, credential.MethodRefresh},
		"a refresh token before a login":   {credential.Record{State: credential.StateExpired, HasRefresh: true, HasLogin: true}, true, false, credential.MethodRefresh},
		"a login":                          {credential.Record{State: credential.StatePending, HasLogin: true}, true, false, credential.MethodLogin},
		"a login that cannot be made":      {credential.Record{State: credential.StatePending, HasLogin: true}, false, false, credential.MethodNone},
		"a session":                        {credential.Record{State: credential.StateActive, HasRefresh: true, HasLogin: true, Session: session}, true, false, credential.MethodExtend},
		"a degraded session":               {credential.Record{State: credential.StateDegraded, Session: session}, false, false, credential.MethodExtend},
		"told to be expired meanwhile":     {credential.Record{State: credential.StateExpired, HasLogin: true, Session: session}, true, false, credential.MethodExtend},
		"a session before its login":       {credential.Record{State: credential.StatePending, HasLogin: true, Session: session}, true, false, credential.MethodLogin},
		"a session that is over":           {credential.Record{State: credential.StateExpired, HasLogin: true, Session: over}, true, false, credential.MethodLogin},
		"over, with a refresh token":       {credential.Record{State: credential.StateExpired, HasRefresh: true, HasLogin: true, Session: over}, true, false, credential.MethodRefresh},
		"over, with nothing":               {credential.Record{State: credential.StateExpired, Session: over}, true, false, credential.MethodNone},
		"a session that nothing extends":   {credential.Record{State: credential.StateActive, HasLogin: true, Session: session}, true, true, credential.MethodLogin},
		"nothing extends it, nothing else": {credential.Record{State: credential.StateActive, Session: session}, true, true, credential.MethodNone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := credential.Policy{CanLogin: c.login, Sessions: credential.SessionPolicy{Idle: 15 * time.Minute, Extend: !c.noExtend}}
			assert.Equal(t, c.want, p.Method(c.record))
		})
	}
}

// A refresh token that no call takes is no way to a new token, whoever stored
// it: the password that is held beside it is.
func TestARefreshTokenThatNoCallTakes(t *testing.T) {
	t.Parallel()
	policy := credential.Policy{RefreshAt: 0.66, CanLogin: true, NoRefresh: true, Times: credential.DefaultTimes(0)}
	login := credential.Login{ID: "alice", Provider: "acme", Token: token("at", "rt"), ExpiresIn: life}
	h := credential.Connect(nil, login, policy, nonceOf(1), noon).Result(credential.Held{})
	assert.Equal(t, credential.MethodNone, policy.Method(h.Record))
	assert.False(t, h.Record.Refreshable)
	login.SignIn = credential.SignIn{Username: credential.NewSecret("alice"), Password: credential.NewSecret("pw")}
	h = credential.Connect(nil, login, policy, nonceOf(1), noon).Result(credential.Held{})
	assert.Equal(t, credential.MethodLogin, policy.Method(h.Record))
	assert.True(t, h.Record.Refreshable)
}
