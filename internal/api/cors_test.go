package api_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/api"
)

const page = "https://app.example:8443"

func withOrigins(list ...string) func(*api.Options) {
	return func(o *api.Options) { o.Origins = func() []string { return list } }
}

// shared lists the CORS headers of an answer.
func (a answer) shared() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(a.header)), func(name string) bool {
		return !strings.HasPrefix(name, "Access-Control-")
	})
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	b := setupWithout(t, withOrigins("http://localhost:3000", page))
	ask := func(path, origin string, headers ...string) answer {
		return b.call(t, http.MethodOptions, path, "", append([]string{"Authorization", "", "Origin", origin, "Access-Control-Request-Method", "PUT"}, headers...)...)
	}
	for _, path := range []string{"/v1/credentials/acct-1", "/v1/credentials/acct-2", "/v1/events", "/v1/nowhere"} {
		for _, origin := range []string{page, "http://localhost:3000"} {
			got := ask(path, origin, "Access-Control-Request-Headers", "authorization,if-match")
			assert.Equal(t, http.StatusNoContent, got.status)
			assert.Empty(t, got.body)
			assert.Equal(t, origin, got.header.Get("Access-Control-Allow-Origin"))
			assert.Equal(t, []string{"Origin"}, got.header.Values("Vary"))
			assert.Equal(t, "GET, PUT, POST, DELETE", got.header.Get("Access-Control-Allow-Methods"))
			assert.Equal(t, "Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID, Accept", got.header.Get("Access-Control-Allow-Headers"))
			assert.Equal(t, "600", got.header.Get("Access-Control-Max-Age"))
			assert.Len(t, got.shared(), 4, "no credentials mode")
		}
	}
	for name, got := range map[string]answer{
		"another origin":  ask("/v1/credentials", "https://app.example"),
		"a longer one":    ask("/v1/credentials", page+".evil.example"),
		"null":            ask("/v1/credentials", "null"),
		"none":            ask("/v1/credentials", ""),
		"the monitor":     ask("/monitoring/", page),
		"the metrics":     ask("/metrics", page),
		"another path":    ask("/v1", page),
		"no such request": ask("/v1/credentials", "https://app.example", "Access-Control-Request-Method", ""),
	} {
		assert.Equal(t, http.StatusUnauthorized, got.status, name)
		assert.Empty(t, got.shared(), name)
	}
	assert.Empty(t, b.engine.calls())
	plain := ask("/v1/credentials", page, "Access-Control-Request-Method", "")
	assert.Equal(t, http.StatusUnauthorized, plain.status, "it asks for the methods, not for leave")
}

func TestSharedAnswers(t *testing.T) {
	t.Parallel()
	b := setup(t, withOrigins(page), withMonitoring)
	exposed := "ETag, Retry-After, WWW-Authenticate, Allow"
	for _, row := range []struct {
		method, path string
		status       int
		headers      []string
	}{
		{"GET", "/v1/credentials/acct-1", http.StatusOK, nil},
		{"GET", "/v1/credentials/none", http.StatusNotFound, nil},
		{"GET", "/v1/credentials", http.StatusUnauthorized, []string{"Authorization", ""}},
		{"GET", "/v1/credentials?x=1", http.StatusUnprocessableEntity, nil},
		{"POST", "/v1/events/tickets", http.StatusCreated, nil},
		{"PATCH", "/v1/credentials", http.StatusMethodNotAllowed, nil},
		{"GET", "/v1/credentials/acct-1", http.StatusUnsupportedMediaType, []string{"Content-Encoding", "gzip"}},
	} {
		got := b.call(t, row.method, row.path, "", append(row.headers, "Origin", page)...)
		assert.Equal(t, row.status, got.status, row.path)
		assert.Equal(t, page, got.header.Get("Access-Control-Allow-Origin"), row.path)
		assert.Equal(t, exposed, got.header.Get("Access-Control-Expose-Headers"), row.path)
		assert.Equal(t, []string{"Access-Control-Allow-Origin", "Access-Control-Expose-Headers"}, got.shared(), row.path)
		assert.Equal(t, "Origin", got.header.Get("Vary"), row.path)

		foreign := b.call(t, row.method, row.path, "", append(row.headers, "Origin", "https://evil.example")...)
		assert.Equal(t, row.status, foreign.status, row.path)
		assert.Empty(t, foreign.shared(), row.path)
		assert.Equal(t, "Origin", foreign.header.Get("Vary"), "a cache must not give it to the other")
	}
	for _, path := range []string{"/monitoring/", "/metrics", "/openapi.json", "/healthz"} {
		got := b.call(t, http.MethodGet, path, "", "Origin", page)
		assert.Equal(t, http.StatusOK, got.status, path)
		assert.Empty(t, got.shared(), path)
	}
	f, _ := b.follow(t, "/v1/events?ticket="+b.ticket(t, "").Ticket, "Authorization", "", "Origin", page)
	assert.Equal(t, page, f.res.Header.Get("Access-Control-Allow-Origin"))
	f.close()
}

// TestOriginsChange: they are looked up for each request, and without any the
// API knows nothing of all this.
func TestOriginsChange(t *testing.T) {
	t.Parallel()
	var list atomic.Pointer[[]string]
	list.Store(&[]string{})
	b := setupWithout(t, func(o *api.Options) { o.Origins = func() []string { return *list.Load() } })
	get := func() answer { return b.call(t, http.MethodGet, "/v1/credentials", "", "Origin", page) }
	assert.Empty(t, get().shared())
	assert.Empty(t, get().header.Values("Vary"))
	list.Store(&[]string{page})
	assert.NotEmpty(t, get().shared())
	list.Store(&[]string{})
	assert.Empty(t, get().shared())

	none := setupWithout(t)
	assert.Empty(t, none.call(t, http.MethodGet, "/v1/credentials", "", "Origin", page).shared())
}
