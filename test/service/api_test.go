package service

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/harness"
)

// api speaks to one process, for tests that end where it does not answer as it
// should.
type api struct{ *harness.API }

func newAPI(t testing.TB, base, key string) *api {
	t.Helper()
	return &api{harness.NewAPI(t, base, key)}
}

// with speaks to the same process with another key.
func (a *api) with(key string) *api {
	return &api{&harness.API{Base: a.Base, Key: key, HTTP: a.HTTP}}
}

func login(m practice.Minted, expiresIn int64) map[string]any {
	return map[string]any{
		"provider": providerName, "subject": m.Subject,
		"token": map[string]any{"access_token": m.AccessToken, "refresh_token": m.RefreshToken, "expires_in": expiresIn},
	}
}

func (a *api) put(t testing.TB, id string, m practice.Minted, expiresIn int64) {
	t.Helper()
	require.NoError(t, a.Call(t.Context(), http.MethodPut, harness.CredentialPath(id), login(m, expiresIn), nil))
}

func (a *api) get(t testing.TB, id string) harness.Record {
	t.Helper()
	var r harness.Record
	require.NoError(t, a.Call(t.Context(), http.MethodGet, harness.CredentialPath(id), nil, &r))
	return r
}

// list reads every credential.
func (a *api) list(t testing.TB) map[string]harness.Record {
	t.Helper()
	all, err := a.List(t.Context())
	require.NoError(t, err)
	return all
}

// awaitState waits until every credential is in the state, and returns them.
func (a *api) awaitState(t testing.TB, state string, count int) map[string]harness.Record {
	t.Helper()
	var all map[string]harness.Record
	eventually(t, patience, func() (bool, string) {
		all = a.list(t)
		others := map[string]int{}
		for _, r := range all {
			others[r.State]++
		}
		return others[state] == count && len(all) == count, fmt.Sprintf("want %d %s, have %v", count, state, others)
	})
	return all
}
