package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
)

func TestPauseACredential(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for _, row := range []struct {
		verb   string
		paused bool
	}{{"pause", true}, {"pause", true}, {"resume", false}, {"resume", false}} {
		got := b.call(t, http.MethodPost, "/v1/credentials/acct-1/"+row.verb, "")
		require.Equal(t, http.StatusOK, got.status, got.body)
		var record api.Record
		got.decode(t, &record)
		assert.Equal(t, row.paused, record.Paused)
		assert.Equal(t, `"7"`, got.header.Get("ETag"), "no event tells of it")
	}
	assert.Equal(t, http.StatusNotFound, b.call(t, http.MethodPost, "/v1/credentials/nobody/pause", "").status)
	b.engine.set(func(e *fakeEngine) {
		e.err = &api.FaultError{Kind: api.FaultState, Detail: "it has ended", State: credential.StateLoggedOut}
	})
	assert.Equal(t, "logged_out", b.call(t, http.MethodPost, "/v1/credentials/acct-1/resume", "").problem(t).Code)
}

func TestPauseProvidersAndTheService(t *testing.T) {
	t.Parallel()
	for path, name := range map[string]string{"/v1/providers/acme": "acme", "/v1": credential.AllClients} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			b := setupWithout(t)
			for _, row := range []struct{ verb, want, call string }{
				{"/pause", `{"paused": true, "changed": true}`, "provider " + name + " true"},
				{"/pause", `{"paused": true, "changed": false}`, "provider " + name + " true"},
				{"/resume", `{"paused": false, "changed": true}`, "provider " + name + " false"},
				{"/resume", `{"paused": false, "changed": false}`, "provider " + name + " false"},
			} {
				b.engine.set(func(e *fakeEngine) { e.asked = nil })
				got := b.call(t, http.MethodPost, path+row.verb, "")
				require.Equal(t, http.StatusOK, got.status, got.body)
				assert.JSONEq(t, row.want, got.body)
				assert.Equal(t, []string{row.call}, b.engine.calls())
			}
		})
	}
}

// The name that stands for the whole service within is no provider's.
func TestPauseUnknownProviders(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	const (
		unknown = "no such provider; it has acme"
		service = `no provider is named "*"; the whole service has /v1/pause and /v1/resume`
	)
	for name, detail := range map[string]string{"nobody": unknown, "*": service, "%2A": service, "a%00b": unknown, "%ff": unknown} {
		got := b.call(t, http.MethodPost, "/v1/providers/"+name+"/pause", "")
		require.Equal(t, http.StatusNotFound, got.status, name)
		said := got.problem(t)
		assert.Equal(t, "unknown_provider", said.Code)
		assert.Equal(t, detail, said.Detail, name)
	}
	b.engine.set(func(e *fakeEngine) { e.err = &api.FaultError{Kind: api.FaultUnavailable, Detail: "away"} })
	assert.Equal(t, http.StatusServiceUnavailable, b.call(t, http.MethodPost, "/v1/providers/acme/pause", "").status)
}

func TestTokenOfWhatIsPaused(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	b.engine.set(func(e *fakeEngine) {
		e.err = &api.FaultError{Kind: api.FaultUnavailable, Detail: "it is paused", Reason: credential.ReasonPaused, RetryAfter: 60_000_000_000}
	})
	got := b.call(t, http.MethodGet, "/v1/credentials/acct-1/token", "")
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	assert.Equal(t, "paused", got.problem(t).Reason)
	assert.Equal(t, "60", got.header.Get("Retry-After"))
}
