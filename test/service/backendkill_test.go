package service

import (
	"context"
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

// A process that is killed amid logins, extensions and refreshes loses nothing:
// what can be done again is done again by another one, and no refresh token is
// presented twice. Whether the backend had done it before is the same.
func TestKilledAmidLoginsAndExtensions(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]backends.Fault{
		"before it was done": {Wait: 5 * time.Second},
		"after it was done":  {Hold: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killedAmid(t, fault, 4)
		})
	}
}

func TestSoakKilledAmidLoginsAndExtensions(t *testing.T) {
	soak(t)
	for range 10 {
		killedAmid(t, backends.Fault{Wait: 5 * time.Second}, 20)
		killedAmid(t, backends.Fault{Hold: 5 * time.Second}, 20)
	}
}

func killedAmid(t *testing.T, fault backends.Fault, users int) {
	t.Helper()
	e := newEstate(t)
	e.backend("password", backends.Options{Kind: backends.KindBearer, Life: time.Hour}, nil)
	e.backend("shop", backends.Options{Kind: backends.KindBearer, Life: time.Hour, Refreshes: true}, nil)
	e.backend("header", backends.Options{Kind: backends.KindHeader, Idle: time.Hour}, nil)
	e.backend("cookie", backends.Options{Kind: backends.KindCookie, Idle: time.Hour, Renames: true}, nil)
	survivor := e.open()
	victim := e.start()
	var ids []string
	for n := range users {
		for name := range e.backends {
			ids = append(ids, e.signUp(name, fmt.Sprintf("user-%d", n)))
		}
	}
	before := survivor.list(t)
	var back []func()
	for _, b := range e.backends {
		back = append(back, b.Add(fault))
	}
	// Beside what refreshd does itself, an owner logs in, who is not answered.
	e.backends["password"].SetUser("new", password, `{}`)
	var asks sync.WaitGroup
	for _, id := range ids {
		asks.Go(func() { _ = victim.Refresh(context.WithoutCancel(t.Context()), id) })
	}
	asks.Go(func() {
		_ = victim.Call(context.WithoutCancel(t.Context()), http.MethodPut, harness.CredentialPath("password:new"), signIn("password", "new", password), nil)
	})
	eventually(t, patience, func() (bool, string) {
		n := 0
		for _, b := range e.backends {
			n += b.InAir()
		}
		return n == len(ids)+1, fmt.Sprintf("%d in the air", n)
	})
	require.NoError(t, victim.Kill())
	asks.Wait()
	for _, remove := range back {
		remove()
	}
	survivor.says(t, takenUp(victim.owner))

	for _, id := range ids {
		r := before[id]
		switch r.ID[:4] {
		case "shop":
			// It rotates, and nobody knows whether it has: it is left alone until its
			// access token is about to die, which is served until then.
			now := survivor.get(t, id)
			assert.True(t, now.InDoubt, id)
			assert.Equal(t, "degraded", now.State, id)
		case "pass":
			survivor.awaitRecord(t, id, func(now harness.Record) bool { return now.State == "active" && now.Generation > r.Generation })
		case "cook":
			if fault.Hold > 0 {
				// It had another name by then, which died with the process: it is over,
				// and there is a login.
				survivor.awaitRecord(t, id, func(now harness.Record) bool { return now.State == "active" && now.Generation > r.Generation })
				continue
			}
			fallthrough
		default:
			survivor.awaitRecord(t, id, func(now harness.Record) bool { return now.State == "active" && now.Version > r.Version })
		}
	}
	for _, id := range ids {
		got, err := survivor.Token(t.Context(), id, 0)
		require.NoError(t, err, id)
		for name, b := range e.backends {
			if name == id[:len(name)] {
				assert.True(t, b.Alive(got.AccessToken), "%s: what is served works", id)
			}
		}
		if id[:4] == "pass" || id[:4] == "head" {
			require.NoError(t, survivor.Refresh(t.Context(), id), "%s: and can be replaced again", id)
		}
	}
	for name, b := range e.backends {
		for _, call := range b.Ledger() {
			assert.LessOrEqual(t, call.Nth, 1, "%s: a refresh token came again", name)
		}
	}
	// What was not acknowledged may be there or not; the same login is good.
	require.NoError(t, survivor.Call(t.Context(), http.MethodPut, harness.CredentialPath("password:new"), signIn("password", "new", password), nil))
	assert.Equal(t, "active", survivor.get(t, "password:new").State)
	for _, id := range ids {
		assert.Empty(t, e.stream.find("credential.reauth_required", id))
	}
	oneEventPerVersion(t, survivor.api, e.heardAll(), e.stream)
}
