package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
)

// TestScopes is the whole matrix: which scope opens which endpoint.
func TestScopes(t *testing.T) {
	t.Parallel()
	const (
		read, write, event, admin = api.ScopeTokenRead, api.ScopeCredentialWrite, api.ScopeEventRead, api.ScopeAdmin
	)
	all := []api.Scope{read, write, event, admin}
	for _, row := range []struct {
		method, path, body string
		open               []api.Scope // to these
	}{
		{"GET", "/v1/credentials", "", []api.Scope{read, write, admin}},
		{"GET", "/v1/credentials/acct-1", "", []api.Scope{read, write, admin}},
		{"PUT", "/v1/credentials/acct-1", login, []api.Scope{write, admin}},
		{"GET", "/v1/credentials/acct-1/token", "", []api.Scope{read, admin}},
		{"POST", "/v1/credentials/acct-1/refresh", "", []api.Scope{read, admin}},
		{"POST", "/v1/credentials/acct-1/logout", "", []api.Scope{write, admin}},
		{"DELETE", "/v1/credentials/acct-1", "", []api.Scope{write, admin}},
		{"GET", "/v1/credentials/acct-1/user-data", "", []api.Scope{read, write, admin}},
		{"POST", "/v1/credentials/acct-1/touch", "", []api.Scope{read, write, admin}},
		{"POST", "/v1/touches", `{"ids":["acct-1"]}`, []api.Scope{read, write, admin}},
		{"PUT", "/v1/credentials/acct-1/presence", `{"presence":"active"}`, []api.Scope{read, write, admin}},
		{"POST", "/v1/credentials/acct-1/pause", "", []api.Scope{write, admin}},
		{"POST", "/v1/credentials/acct-1/resume", "", []api.Scope{write, admin}},
		{"POST", "/v1/providers/acme/pause", "", []api.Scope{admin}},
		{"POST", "/v1/providers/acme/resume", "", []api.Scope{admin}},
		{"POST", "/v1/pause", "", []api.Scope{admin}},
		{"POST", "/v1/resume", "", []api.Scope{admin}},
		{"GET", "/v1/events?cursor=0&wait=0s", "", []api.Scope{event, admin}},
		{"POST", "/v1/events/tickets", "", []api.Scope{event, admin}},
		{"GET", "/v1/keys", "", []api.Scope{admin}},
		{"POST", "/v1/keys", `{"name":"n","scopes":["token:read"]}`, []api.Scope{admin}},
		{"DELETE", "/v1/keys/0123456789abcdef", "", []api.Scope{admin}},
		{"GET", "/v1/status", "", []api.Scope{admin}},
		{"GET", "/v1/providers", "", all},
		{"GET", "/openapi.json", "", all},
		{"GET", "/metrics", "", all},
		{"GET", "/monitoring/", "", []api.Scope{admin}},
		{"POST", "/monitoring/api/queues/x:pause", "", []api.Scope{admin}},
		{"GET", "/nowhere", "", all},
	} {
		t.Run(row.method+" "+row.path, func(t *testing.T) {
			t.Parallel()
			b := setupWithout(t, withMonitoring)
			for _, scope := range api.Scopes() {
				b.engine.set(func(e *fakeEngine) { e.asked = nil })
				key := b.keys.add("", scope)
				got := b.call(t, row.method, row.path, row.body, "Authorization", "Bearer "+key, "Accept", "application/json")
				if slices.Contains(row.open, scope) {
					assert.NotContains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, got.status, scope)
					assert.Less(t, got.status, 500, got.body)
					continue
				}
				require.Equal(t, http.StatusForbidden, got.status, "%s: %s", scope, got.body)
				assert.Equal(t, "forbidden", got.problem(t).Code)
				assert.Contains(t, got.problem(t).Detail, "admin")
				assert.Empty(t, b.engine.calls(), "the engine was asked")
			}

			b.engine.set(func(e *fakeEngine) { e.asked = nil })
			got := b.call(t, row.method, row.path, row.body, "Authorization", "")
			require.Equal(t, http.StatusUnauthorized, got.status, got.body)
			assert.Equal(t, "unauthorized", got.problem(t).Code)
			assert.Equal(t, `Bearer realm="refreshd"`, got.header.Get("WWW-Authenticate"))
			assert.Empty(t, b.engine.calls(), "the engine was asked")
		})
	}
}

func withMonitoring(o *api.Options) {
	o.Monitoring = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
}

func TestNoKeyNeeded(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	assert.Equal(t, http.StatusOK, b.call(t, http.MethodGet, "/healthz", "", "Authorization", "").status)
	assert.Equal(t, http.StatusOK, b.call(t, http.MethodGet, "/readyz", "", "Authorization", "").status)
}

func TestKeysThatAreNone(t *testing.T) {
	t.Parallel()
	text, _, _ := api.NewKey()
	for name, header := range map[string]string{
		"unknown":       "Bearer " + text.Reveal(),
		"empty":         "Bearer ",
		"no scheme":     text.Reveal(),
		"another start": "Bearer sk_" + strings.Repeat("a", 44),
		"too short":     "Bearer rdk_abc",
		"longer":        "Bearer rdk_" + strings.Repeat("a", 20_000),
		"basic":         "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+text.Reveal())),
		"not base64url": "Bearer rdk_" + strings.Repeat("ä", 43),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			got := b.call(t, http.MethodGet, "/v1/credentials/acct-1/token", "", "Authorization", header)
			require.Equal(t, http.StatusUnauthorized, got.status)
			assert.Equal(t, `Bearer realm="refreshd", error="invalid_token"`, got.header.Get("WWW-Authenticate"))
			assert.NotContains(t, got.body, "aaaa")
		})
	}
	t.Run("two headers", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+"/v1/credentials", nil)
		require.NoError(t, err)
		r.Header["Authorization"] = []string{"Bearer " + b.admin, "Bearer " + b.admin}
		res, err := b.server.Client().Do(r)
		require.NoError(t, err)
		defer res.Body.Close()
		assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
	})
	t.Run("only what looks like a key is looked up", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.call(t, http.MethodGet, "/v1/credentials", "", "Authorization", "Bearer rdk_abc")
		assert.Zero(t, b.keys.finds)
	})
	t.Run("the scheme in any case", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		assert.Equal(t, http.StatusOK, b.call(t, http.MethodGet, "/v1/credentials", "", "Authorization", "bearer  "+b.admin).status)
	})
}

// TestPrefix makes sure that a key that is bound to a prefix reaches nothing
// else, and cannot tell what else there is.
func TestPrefix(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store("team-a:1", 60)
	key := "Bearer " + b.keys.add("team-a:", api.ScopeTokenRead, api.ScopeCredentialWrite, api.ScopeEventRead)
	for _, row := range []struct{ method, path, body string }{
		{"GET", "/v1/credentials/%s", ""},
		{"PUT", "/v1/credentials/%s", login},
		{"GET", "/v1/credentials/%s/token", ""},
		{"POST", "/v1/credentials/%s/refresh", ""},
		{"POST", "/v1/credentials/%s/logout", ""},
		{"DELETE", "/v1/credentials/%s", ""},
	} {
		call := func(id string) answer {
			return b.call(t, row.method, strings.Replace(row.path, "%s", id, 1), row.body, "Authorization", key)
		}
		stored, absent := call("acct-1"), call("acct-2")
		assert.Equal(t, http.StatusForbidden, stored.status, row.path)
		assert.Equal(t, stored.status, absent.status)
		assert.Equal(t, stored.body, absent.body, "the answer tells whether it exists")
	}
	assert.Empty(t, b.engine.calls())
	assert.Equal(t, http.StatusOK, b.call(t, http.MethodGet, "/v1/credentials/team-a:1/token", "", "Authorization", key).status)

	for query, want := range map[string]string{
		"":                  "team-a:",
		"?prefix=team":      "team-a:",
		"?prefix=team-a:":   "team-a:",
		"?prefix=team-a:12": "team-a:12",
		"?prefix=team-b":    "",
	} {
		b.engine.set(func(e *fakeEngine) { e.asked = nil })
		list := b.call(t, http.MethodGet, "/v1/credentials"+query, "", "Authorization", key)
		separator := "?"
		if query != "" {
			separator = "&"
		}
		events := b.call(t, http.MethodGet, "/v1/events"+query+separator+"cursor=0", "", "Authorization", key, "Accept", "application/json")
		if want == "" {
			assert.Equal(t, http.StatusForbidden, list.status)
			assert.Equal(t, http.StatusForbidden, events.status)
			continue
		}
		require.Equal(t, http.StatusOK, list.status)
		assert.Contains(t, b.engine.calls()[0], "Prefix:"+want+" ")
		require.Equal(t, http.StatusOK, events.status)
		assert.Equal(t, want, b.events.opened[len(b.events.opened)-1].Prefix)
	}
}

// TestBoundAdmin: a key with a prefix is nobody's admin, however it came to be.
func TestBoundAdmin(t *testing.T) {
	t.Parallel()
	b := setupWithout(t, withMonitoring)
	key := "Bearer " + b.keys.add("acct-", api.ScopeAdmin)
	for _, path := range []string{"/v1/keys", "/v1/status", "/monitoring/", "/v1/credentials/acct-1/token"} {
		assert.Equal(t, http.StatusForbidden, b.call(t, http.MethodGet, path, "", "Authorization", key).status, path)
	}
}

func TestKeysAreRemembered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 5 {
		require.Equal(t, http.StatusOK, b.call(t, http.MethodGet, "/v1/credentials", "").status)
	}
	assert.Equal(t, 1, b.keys.finds)

	// The store is away: a known key goes on, an unknown one is not refused
	// for good.
	b.keys.mu.Lock()
	b.keys.err = errors.New("away")
	b.keys.mu.Unlock()
	assert.Equal(t, http.StatusOK, b.call(t, http.MethodGet, "/v1/credentials", "").status)
	other := b.keys.add("", api.ScopeAdmin)
	got := b.call(t, http.MethodGet, "/v1/credentials", "", "Authorization", "Bearer "+other)
	assert.Equal(t, http.StatusServiceUnavailable, got.status)
	assert.Equal(t, "1", got.header.Get("Retry-After"))
	assert.NotContains(t, got.body, "away")
}

func TestNewKey(t *testing.T) {
	t.Parallel()
	text, hash, id := api.NewKey()
	other, _, _ := api.NewKey()
	assert.Regexp(t, `^rdk_[A-Za-z0-9_-]{43}$`, text.Reveal())
	assert.NotEqual(t, text.Reveal(), other.Reveal())
	assert.Equal(t, sha256.Sum256([]byte(text.Reveal())), hash)
	assert.Regexp(t, `^[0-9a-f]{16}$`, id)
}
