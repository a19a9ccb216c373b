package service

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/internal/testproc"
)

// One service keeps alive what comes of six kinds of backends, from one file,
// over a restart: a login with a password and no refresh token, a token endpoint
// of a backend's own with the user's UID and data, sliding sessions by header and
// by cookie, a GraphQL login, and an authorization server that rotates.
func TestEveryKindOfBackendIsKeptAlive(t *testing.T) {
	t.Parallel()
	keptAlive(t, 12*time.Second, 0)
}

func TestSoakEveryKindOfBackendIsKeptAlive(t *testing.T) {
	soak(t)
	keptAlive(t, time.Minute, 10*time.Minute)
}

func keptAlive(t *testing.T, life, lasts time.Duration) {
	t.Helper()
	const users = 3
	e := newEstateAt(t, providerOptions{Options: practice.Options{AccessTTL: life}},
		testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"}).URL())
	e.backend("password", backends.Options{Kind: backends.KindBearer, Life: life}, nil)
	e.backend("shop", backends.Options{Kind: backends.KindBearer, Life: life, Refreshes: true}, nil)
	e.backend("header", backends.Options{Kind: backends.KindHeader, Idle: life}, nil)
	e.backend("cookie", backends.Options{Kind: backends.KindCookie, Idle: life, Renames: true}, nil)
	e.backend("graphql", backends.Options{Kind: backends.KindGraphQL, Idle: life}, nil)
	at := e.open()

	began := time.Now()
	kinds := map[string]string{} // the event by which each is kept alive
	for n := range users {
		for _, row := range [][2]string{
			{"password", "credential.refreshed"},
			{"shop", "credential.refreshed"},
			{"header", "session.extended"},
			{"cookie", "session.extended"},
			{"graphql", "session.extended"},
		} {
			kinds[e.signUp(row[0], fmt.Sprintf("user-%d", n))] = row[1]
		}
	}
	for n := range e.login(at.api, users) {
		kinds[credentialID(n)] = "credential.refreshed"
	}

	// Each is kept alive before the restart, and after it again.
	kept := func(times int, until time.Duration) {
		t.Helper()
		eventually(t, until+patience, func() (bool, string) {
			for id, kind := range kinds {
				if have := len(e.stream.find(kind, id)); have < times {
					return false, fmt.Sprintf("%s: %d %s, want %d; told: %v", id, have, kind, times, e.stream.told(id))
				}
			}
			return time.Since(began) > until, "kept alive long enough"
		})
	}
	kept(1, lasts/2)
	before := map[string]int{}
	for id, kind := range kinds {
		before[id] = len(e.stream.find(kind, id))
	}
	at = e.restart()
	most := 0
	for _, n := range before {
		most = max(most, n)
	}
	kept(most+1, lasts)

	all := e.heardAll()
	require.Len(t, all, len(kinds))
	oneEventPerVersion(t, at.api, all, e.stream)
	times := map[string]int{}
	for id, kind := range kinds {
		assert.Equal(t, "active", all[id].State, id)
		for i, what := range e.stream.told(id) {
			want := kind
			switch {
			case i == 0:
				want = "credential.connected"
			case i == 2 && strings.HasPrefix(id, "cookie:"):
				want = "credential.user_data_changed" // its login tells nothing of the user, its first extension does
			}
			assert.Equal(t, want, what, "event %d of %s", i+1, id)
		}
		times[kind] += len(e.stream.find(kind, id))
		name, user, _ := strings.Cut(id, ":")
		got, err := at.Token(t.Context(), id, 0)
		require.NoError(t, err, id)
		b, ours := e.backends[name]
		if !ours {
			assert.Equal(t, "bearer", got.Send.As)
			client := newAsker(e.provider)
			status, err := client.resource(t.Context(), got.AccessToken)
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, status, id)
			client.http.CloseIdleConnections()
			continue
		}
		assert.True(t, b.Alive(got.AccessToken), "%s: the backend takes what is handed out", id)
		subject, data := at.userData(t, id)
		assert.JSONEq(t, fmt.Sprintf(`{"name":%q,"plan":"gold"}`, user), string(data), id)
		if name != "cookie" { // which tells none
			assert.Equal(t, b.UID(user), subject, id)
			assert.Equal(t, b.UID(user), all[id].Subject, id)
		}
		logins := len(b.Calls(backends.CallLogin, user))
		switch name {
		case "password":
			assert.Equal(t, 1+len(e.stream.find(kind, id)), logins, "%s: one login for each token", id)
		case "header":
			assert.Equal(t, "header", got.Send.As)
			assert.Equal(t, backends.SessionHeader, got.Send.Name)
			assert.Equal(t, 1, logins, id)
		case "cookie":
			assert.Equal(t, "cookie", got.Send.As)
			assert.Equal(t, backends.SessionCookie, got.Send.Name)
			assert.Equal(t, 1, logins, id)
		default:
			assert.Equal(t, 1, logins, "%s: its owner's", id)
		}
	}
	presentedOnceEach(t, e.backends)
	assert.Zero(t, presentedOnce(t, e.provider, nil))
	t.Logf("%d credentials of six kinds: %v, over a restart", len(kinds), times)
}

// presentedOnceEach checks that no refresh token of any backend came twice, that
// no two calls for one user were in the air together, and that every call was
// allowed that was not made to fail.
func presentedOnceEach(t testing.TB, all map[string]*backends.Backend) {
	t.Helper()
	for name, b := range all {
		for _, call := range b.Ledger() {
			assert.LessOrEqual(t, call.Nth, 1, "%s: the refresh token %d of %s came again", name, call.Token, call.User)
			assert.Equal(t, 1, call.InAirOfUser, "%s: calls for %s in the air together", name, call.User)
			if !call.Faulty {
				assert.True(t, call.Done, "%s: %s of %s was refused", name, call.Call, call.User)
			}
		}
	}
}
