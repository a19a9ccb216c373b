package service

import (
	"fmt"
	"net/http"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/test/harness"
)

// A session with an absolute limit is replaced by a silent login ahead of it, once,
// though it is in use all the time: its users have a token at every moment, and
// nobody is told of an end. While no login can be made, the session stays in use.
func TestASessionIsReplacedAheadOfItsLimit(t *testing.T) {
	t.Parallel()
	const idle, limit = 8 * time.Second, 20 * time.Second
	e := newEstate(t)
	session := map[string]any{"absolute_timeout": limit.String(), "warn_before": "2s"}
	b := e.backend("header", backends.Options{Kind: backends.KindHeader, Idle: idle, Absolute: limit}, map[string]any{"session": session})
	down := e.backend("down", backends.Options{Kind: backends.KindHeader, Idle: idle, Absolute: limit}, map[string]any{"session": session})
	at := e.open()
	users := map[string]*backends.Backend{}
	for _, user := range []string{"passive", "active"} {
		id := e.signUp("header", user)
		at.presence(t, id, user)
		users[id] = b
	}
	users[e.signUp("down", "unlucky")] = down
	began := time.Now()
	back := down.Add(backends.Fault{Call: backends.CallLogin, Reply: &backends.Reply{Status: http.StatusServiceUnavailable}})

	// Each of them is used, and refreshd is told, three times in an idle time.
	tick := time.NewTicker(idle / 4)
	defer tick.Stop()
	for time.Since(began) < limit-onItsWay {
		for id, at2 := range users {
			got, err := at.Token(t.Context(), id, 0)
			require.NoError(t, err, id)
			if !at2.Visit(got.AccessToken) {
				got, err = at.Token(t.Context(), id, 0) // it may have been replaced at this moment
				require.NoError(t, err, id)
				assert.True(t, at2.Visit(got.AccessToken), "%s, after %s", id, time.Since(began))
			}
			at.touch(t, id)
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
		}
	}
	back()
	for _, user := range []string{"passive", "active"} {
		logins := b.Calls(backends.CallLogin, user)
		require.Len(t, logins, 2, user)
		assert.Greater(t, logins[1].Received.Sub(logins[0].Received), limit/2, user)
		assert.Equal(t, []string{"credential.connected", "credential.refreshed"}, e.stream.told("header:"+user))
		r := at.get(t, "header:"+user)
		assert.EqualValues(t, 2, r.Generation)
	}
	told := e.stream.told("down:unlucky")
	assert.Equal(t, []string{"credential.connected", "credential.degraded provider_unavailable"}, told[:min(len(told), 2)])
	assert.Greater(t, len(down.Calls(backends.CallLogin, "unlucky")), 2)
	r := at.awaitRecord(t, "down:unlucky", func(r harness.Record) bool { return r.State == "active" })
	assert.EqualValues(t, 2, r.Generation)
	oneEventPerVersion(t, at.api, e.heardAll(), e.stream)
}

// Other settings reach sessions that are touched in time, and so have no other
// occasion: after a reload, and after a start.
func TestSettingsReachSessionsInUse(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.backend("header", backends.Options{Kind: backends.KindHeader, Idle: time.Hour}, nil)
	at := e.open()
	id := e.signUp("header", "ann")
	set := func(key, value string) {
		provider := e.config["providers"].(map[string]any)["header"].(map[string]any) //nolint:errcheck,forcetypeassert // made by newHouse
		provider["session"].(map[string]any)[key] = value                             //nolint:errcheck,forcetypeassert // made by BackendSettings
		e.save()
	}
	lives := func(life time.Duration) {
		t.Helper()
		eventually(t, patience, func() (bool, string) {
			touched := at.touch(t, id)
			left := time.Until(touched)
			return left > life-time.Minute && left <= life, left.String()
		})
	}
	lives(time.Hour)
	version := at.get(t, id).Version
	set("idle_timeout", "20m")
	at.hangUp(t)
	lives(20 * time.Minute)
	set("idle_timeout", "3h")
	at.hangUp(t)
	lives(3 * time.Hour)
	set("absolute_timeout", "4h")
	at.hangUp(t)
	eventually(t, patience, func() (bool, string) {
		at.touch(t, id)
		s := at.get(t, id).Session
		return s.AbsoluteDeadline != nil, "no limit"
	})
	set("idle_timeout", "30m")
	at = e.restart()
	lives(30 * time.Minute)
	assert.Equal(t, version, at.get(t, id).Version, "no event tells of it")
	assert.Empty(t, e.backends["header"].Calls(backends.CallUse, ""))
}

// A session that is declared, or taken off, reaches the tokens that there are.
func TestSessionsComeAndGoWithTheirSettings(t *testing.T) {
	t.Parallel()
	const idle = 20 * time.Minute
	e := newEstate(t)
	e.backend("header", backends.Options{Kind: backends.KindHeader, Idle: idle}, nil)
	provider := e.config["providers"].(map[string]any)["header"].(map[string]any) //nolint:errcheck,forcetypeassert // made by newHouse
	session := provider["session"]
	delete(provider, "session")
	at := e.open()
	id := e.signUp("header", "ann")
	first := at.get(t, id)
	require.Nil(t, first.Session)

	provider["session"] = session
	e.save()
	at.hangUp(t)
	r := at.awaitRecord(t, id, func(r harness.Record) bool { return r.Session != nil })
	assert.WithinDuration(t, first.ExpiresAt.Add(idle-time.Hour), r.Session.IdleDeadline, time.Second)
	touched := at.touch(t, id)
	assert.False(t, touched.Before(r.Session.IdleDeadline))

	delete(provider, "session")
	e.save()
	at.hangUp(t)
	r = at.awaitRecord(t, id, func(r harness.Record) bool { return r.Session == nil })
	assert.WithinDuration(t, first.ExpiresAt, r.ExpiresAt, time.Second)
	assert.Equal(t, first.Version, r.Version, "no event tells of it")
	assert.Empty(t, e.backends["header"].Calls(backends.CallUse, ""))
}

// Where the one that makes the sweeps loads changed settings after the one that
// plans them, the sessions get them at once all the same.
func TestSettingsReachSessionsInUseWithSplitRoles(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.backend("header", backends.Options{Kind: backends.KindHeader, Idle: time.Hour}, nil)
	at := e.startAs("api,scheduler")
	e.living.Store(at)
	worker := e.launch("worker")
	swept := regexp.MustCompile(`"provider":"header","slot":0,.*"message":"fetch ended"`)
	sweeps := func(count int) {
		t.Helper()
		eventually(t, patience, func() (bool, string) {
			n := len(swept.FindAllString(worker.String(), -1))
			return n >= count, fmt.Sprintf("%d of %d sweeps have ended", n, count)
		})
	}
	sweeps(2) // each process has asked for one at its start
	id := e.bring("header", "ann")
	lives := func(life time.Duration) {
		t.Helper()
		eventually(t, patience, func() (bool, string) {
			left := time.Until(at.touch(t, id))
			return left > life-time.Minute && left <= life, left.String()
		})
	}
	lives(time.Hour)
	set := func(idle string) {
		provider := e.config["providers"].(map[string]any)["header"].(map[string]any) //nolint:errcheck,forcetypeassert // made by newHouse
		provider["session"].(map[string]any)["idle_timeout"] = idle                   //nolint:errcheck,forcetypeassert // made by BackendSettings
		e.save()
	}
	set("20m")
	at.hangUp(t)
	sweeps(3)
	lives(time.Hour) // made by the old settings
	require.NoError(t, worker.Signal(syscall.SIGHUP))
	lives(20 * time.Minute)

	set("3h")
	_, err := worker.Stop()
	require.NoError(t, err)
	worker = e.launch("worker")
	lives(3 * time.Hour)
}
