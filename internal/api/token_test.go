package api_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
)

const tokenReply = `{
	"access_token": "` + accessToken + `", "token_type": "Bearer", "scope": "read write",
	"expires_at": "2027-01-15T09:00:00Z", "expires_in": 3600, "version": 7, "generation": 4, "send": {"as": "bearer"}
}`

func TestGetToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := b.call(t, http.MethodGet, "/v1/credentials/acct-1/token", "")
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.JSONEq(t, tokenReply, got.body)
	assert.Equal(t, "application/json", got.header.Get("Content-Type"))
	assert.Equal(t, "no-store", got.header.Get("Cache-Control"))
	assert.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
}

func TestMinTTL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"60s": "1m0s", "5m": "5m0s", "90": "1m30s", "": "0s", "0": "0s", "1500ms": "1.5s", "8784h": "8784h0m0s",
		"-1s": "", "-5": "", "abc": "", "1e9": "", "8785h": "", "99999999999": "", "1e400": "", "60 s": "", "0x10": "", "NaN": "", "5dd": "",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			b := setupWithout(t)
			got := b.call(t, http.MethodGet, "/v1/credentials/acct-1/token?min_ttl="+url.QueryEscape(text), "")
			if want != "" {
				require.Equal(t, http.StatusOK, got.status, got.body)
				assert.Equal(t, []string{"token acct-1 " + want}, b.engine.calls())
				return
			}
			require.Equal(t, http.StatusUnprocessableEntity, got.status)
			assert.Equal(t, "query.min_ttl", got.problem(t).Errors[0].Location)
			assert.Empty(t, b.engine.calls())
		})
	}
}

func TestTokenFaults(t *testing.T) {
	t.Parallel()
	since := noon - 60_000
	for name, row := range map[string]struct {
		err    error
		status int
		code   string
		check  func(*testing.T, answer, api.Problem)
	}{
		"not found": {err: &api.FaultError{Kind: api.FaultNotFound, Detail: "d"}, status: 404, code: "not_found"},
		"reauth required": {
			err:    &api.FaultError{Kind: api.FaultState, Detail: "d", State: credential.StateReauthRequired, Reason: credential.ReasonInvalidGrant, Since: since},
			status: 409, code: "reauth_required",
			check: func(t *testing.T, _ answer, p api.Problem) {
				t.Helper()
				assert.Equal(t, "invalid_grant", p.Reason)
				assert.Equal(t, "reauth_required", p.State)
				assert.Equal(t, since.Time(), *p.Since)
			},
		},
		"logged out": {
			err:    &api.FaultError{Kind: api.FaultState, Detail: "d", State: credential.StateLoggedOut, Reason: credential.ReasonOwner, Since: since},
			status: 409, code: "logged_out",
		},
		"not refreshable": {err: &api.FaultError{Kind: api.FaultNotRefreshable, Detail: "d"}, status: 409, code: "not_refreshable"},
		"min_ttl": {
			err: &api.FaultError{Kind: api.FaultMinTTL, Detail: "d"}, status: 422, code: "min_ttl",
			check: func(t *testing.T, _ answer, p api.Problem) {
				t.Helper()
				assert.Equal(t, "query.min_ttl", p.Errors[0].Location)
			},
		},
		"unavailable": {
			err:    &api.FaultError{Kind: api.FaultUnavailable, Detail: "d", Reason: credential.ReasonRateLimited, RetryAfter: 2100 * time.Millisecond},
			status: 503, code: "unavailable",
			check: func(t *testing.T, a answer, p api.Problem) {
				t.Helper()
				assert.Equal(t, "3", a.header.Get("Retry-After"), "rounded up")
				assert.Equal(t, 3, p.RetryAfter)
				assert.Equal(t, "rate_limited", p.Reason)
			},
		},
		"unavailable, for how long is not known": {
			err: &api.FaultError{Kind: api.FaultUnavailable, Detail: "d"}, status: 503, code: "unavailable",
			check: func(t *testing.T, a answer, _ api.Problem) {
				t.Helper()
				assert.Equal(t, "1", a.header.Get("Retry-After"))
			},
		},
		"provider not configured": {
			err: &api.FaultError{Kind: api.FaultUnknownProvider, Detail: "d"}, status: 503, code: "unknown_provider",
			check: func(t *testing.T, a answer, _ api.Problem) {
				t.Helper()
				assert.Equal(t, "60", a.header.Get("Retry-After"))
			},
		},
		"fresh rejected": {err: &api.FaultError{Kind: api.FaultFreshRejected, Detail: "d"}, status: 409, code: "fresh_rejected"},
		"out of time":    {err: context.DeadlineExceeded, status: 503, code: "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupWithout(t)
			b.engine.set(func(e *fakeEngine) { e.err = row.err })
			for _, got := range []answer{
				b.call(t, http.MethodGet, "/v1/credentials/acct-1/token", ""),
				b.call(t, http.MethodPost, "/v1/credentials/acct-1/refresh", `{"rejected_generation": 4}`),
			} {
				require.Equal(t, row.status, got.status, got.body)
				p := got.problem(t)
				assert.Equal(t, row.code, p.Code)
				if row.check != nil && (p.Code != "min_ttl" || len(p.Errors) > 0) {
					row.check(t, got, p)
				}
			}
		})
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for _, body := range []string{`{"rejected_generation": 7}`, `{}`, ``} {
		got := b.call(t, http.MethodPost, "/v1/credentials/acct-1/refresh", body)
		require.Equal(t, http.StatusOK, got.status, got.body)
		assert.JSONEq(t, tokenReply, got.body)
		assert.Equal(t, "no-store", got.header.Get("Cache-Control"))
	}
	assert.Equal(t, []string{"refresh acct-1 7", "refresh acct-1 0", "refresh acct-1 0"}, b.engine.calls())
	assert.Equal(t, http.StatusNotFound, b.call(t, http.MethodPost, "/v1/credentials/nobody/refresh", "").status)

	b.engine.set(func(e *fakeEngine) { e.queued = true })
	got := b.call(t, http.MethodPost, "/v1/credentials/acct-1/refresh", `{"rejected_generation": 7}`)
	require.Equal(t, http.StatusAccepted, got.status)
	assert.JSONEq(t, `{"queued": true}`, got.body)
}

// TestCallerWhoGoes makes sure that a caller who gives up ends its own wait.
func TestCallerWhoGoes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	reached := make(chan struct{})
	b.engine.set(func(e *fakeEngine) { e.reached = reached })
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.server.URL+"/v1/credentials/acct-1/token", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+b.admin)
	done := make(chan error, 1)
	go func() {
		res, err := b.server.Client().Do(r)
		if err == nil {
			err = res.Body.Close()
		}
		done <- err
	}()
	<-reached
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	b.log.wait(t, `"status":503`)
}
