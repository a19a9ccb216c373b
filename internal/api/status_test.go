package api_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
)

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	health := b.call(t, http.MethodGet, "/healthz", "", "Authorization", "")
	assert.Equal(t, http.StatusOK, health.status)
	assert.JSONEq(t, `{"status": "ok"}`, health.body)
	ready := b.call(t, http.MethodGet, "/readyz", "", "Authorization", "")
	assert.Equal(t, http.StatusOK, ready.status)
	assert.JSONEq(t, `{"ready": true, "checks": []}`, ready.body)

	b.service.ready = api.Readiness{Checks: []api.Check{{Name: "redis", Detail: "not reachable"}}}
	ready = b.call(t, http.MethodGet, "/readyz", "", "Authorization", "")
	assert.Equal(t, http.StatusServiceUnavailable, ready.status)
	assert.Equal(t, "application/json", ready.header.Get("Content-Type"))
	assert.JSONEq(t, `{"ready": false, "checks": [{"name": "redis", "ok": false, "detail": "not reachable"}]}`, ready.body)
	assert.Equal(t, http.StatusOK, b.call(t, http.MethodGet, "/healthz", "", "Authorization", "").status, "it lives all the same")
}

func TestStatus(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	got := b.call(t, http.MethodGet, "/v1/status", "")
	require.Equal(t, http.StatusOK, got.status)
	assert.JSONEq(t, `{
		"service": "refreshd", "version": "1.2.3", "owner": "owner-1", "roles": ["api"], "started_at": "2027-01-15T08:00:00Z", "paused": false,
		"redis": {"kind": "external", "durability": "appendfsync always", "shards": 1, "reachable": true, "loss_window_seconds": 0},
		"providers": [{"name": "acme", "kind": "oauth2", "paused": false, "breaker": {"open": false}}],
		"subscriptions": [{"name": "ui", "managed_by": "config", "state": "disabled", "reason": "gone", "detail": "the receiver answered 410", "since": "2027-01-15T08:00:00Z", "lag_seconds": 90}],
		"queues": [{"name": "refresh-00", "paused": false, "pending": 3, "active": 0, "scheduled": 0, "archived": 0, "latency_seconds": 0}]
	}`, got.body)

	b.service.paused = true
	providers := b.call(t, http.MethodGet, "/v1/providers", "")
	require.Equal(t, http.StatusOK, providers.status)
	assert.JSONEq(t, `{"paused": true, "providers": [{"name": "acme", "kind": "oauth2", "paused": false, "breaker": {"open": true, "reason": "client_misconfigured"}},
		{"name": "busy", "kind": "http", "paused": false, "breaker": {"open": false}, "hold": {"until": "2027-01-15T08:00:00Z", "reason": "rate_limited", "detail": "HTTP 429"}}]}`, providers.body)

	b.service.err = errors.New("no")
	assert.Equal(t, http.StatusInternalServerError, b.call(t, http.MethodGet, "/v1/status", "").status)
	assert.Equal(t, http.StatusInternalServerError, b.call(t, http.MethodGet, "/v1/providers", "").status)
}
