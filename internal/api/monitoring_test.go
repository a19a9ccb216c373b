package api_test

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
)

// monitored is a bundle with the real task monitor over one queue.
func monitored(t *testing.T) *bundle {
	t.Helper()
	redis := miniredis.RunT(t)
	option := asynq.RedisClientOpt{Addr: redis.Addr()}
	client := asynq.NewClient(option)
	_, err := client.EnqueueContext(t.Context(), asynq.NewTask("refresh:batch", []byte(`{}`)), asynq.Queue("refresh-00"))
	require.NoError(t, err)
	require.NoError(t, client.Close())
	pages := asynqmon.New(asynqmon.Options{RootPath: "/monitoring", RedisConnOpt: option})
	t.Cleanup(func() { assert.NoError(t, pages.Close()) })
	return setup(t, func(o *api.Options) { o.Monitoring = pages })
}

func basic(key string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("anybody:"+key))
}

// TestMonitoringPage: everything that the page has in line carries the nonce of
// its policy, and nothing is loaded from elsewhere.
func TestMonitoringPage(t *testing.T) {
	t.Parallel()
	b := monitored(t)
	nonces := map[string]bool{}
	for _, path := range []string{"/monitoring/", "/monitoring/queues/refresh-00", "/monitoring/index.html"} {
		got := b.call(t, http.MethodGet, path, "", "Authorization", basic(b.admin))
		require.Equal(t, http.StatusOK, got.status, path)
		assert.Equal(t, "text/html; charset=utf-8", got.header.Get("Content-Type"))
		policy := got.header.Get("Content-Security-Policy")
		nonce := regexp.MustCompile(`'nonce-([^']+)'`).FindStringSubmatch(policy)[1]
		assert.False(t, nonces[nonce], "a nonce that was used before")
		nonces[nonce] = true
		for directive := range strings.SplitSeq(policy, "; ") {
			assert.NotContains(t, directive, "unsafe")
			assert.NotContains(t, directive, "http")
			assert.NotContains(t, directive, "*")
		}
		assert.Contains(t, policy, "default-src 'none'; ")
		assert.Contains(t, policy, "frame-ancestors 'none'")
		assert.NotContains(t, got.body, "fonts.googleapis.com")
		assert.NotRegexp(t, `(src|href)="(https?:)?//`, got.body)
		assert.NotContains(t, got.body, "manifest.json")
		inLine := regexp.MustCompile(`<script[^>]*>`).FindAllString(got.body, -1)
		assert.Len(t, inLine, 4)
		for _, script := range inLine {
			if !strings.Contains(script, " src=") {
				assert.Equal(t, `<script nonce="`+nonce+`">`, script)
			}
		}
		assert.Contains(t, got.body, `<meta property="csp-nonce" content="`+nonce+`"/>`)
	}
	script := regexp.MustCompile(`src="(/monitoring/static/[^"]+)"`)
	page := b.call(t, http.MethodGet, "/monitoring/", "").body
	for _, match := range script.FindAllStringSubmatch(page, -1) {
		got := b.call(t, http.MethodGet, match[1], "")
		assert.Equal(t, http.StatusOK, got.status)
		assert.Contains(t, got.header.Get("Content-Type"), "javascript")
		assert.Greater(t, len(got.body), 10_000)
	}
	icon := b.call(t, http.MethodGet, "/monitoring/favicon-32x32.png", "")
	assert.Equal(t, http.StatusOK, icon.status)
	assert.Equal(t, "image/png", icon.header.Get("Content-Type"))
}

func TestMonitoringKeys(t *testing.T) {
	t.Parallel()
	b := monitored(t)
	reader := b.keys.add("", api.ScopeTokenRead, api.ScopeCredentialWrite, api.ScopeEventRead)
	for header, status := range map[string]int{
		"Bearer " + b.admin:                    200,
		basic(b.admin):                         200,
		"Bearer " + reader:                     403,
		basic(reader):                          403,
		basic("wrong"):                         401,
		"Basic !":                              401,
		"Basic " + strings.Repeat("a", 20_000): 401,
		"":                                     401,
	} {
		got := b.call(t, http.MethodGet, "/monitoring/api/queues", "", "Authorization", header)
		require.Equal(t, status, got.status, header)
		if status == 401 {
			challenges := strings.Join(got.header.Values("WWW-Authenticate"), "\n")
			assert.Contains(t, challenges, `Basic realm="refreshd", charset="UTF-8"`, "a browser has to be asked")
			assert.Contains(t, challenges, `Bearer realm="refreshd"`)
		}
	}
	// Elsewhere a browser's unasked password opens nothing.
	assert.Equal(t, 401, b.call(t, http.MethodGet, "/v1/credentials", "", "Authorization", basic(b.admin)).status)
}

// TestMonitoringFromElsewhere: another site cannot make a browser change
// something with the password that it remembers.
func TestMonitoringFromElsewhere(t *testing.T) {
	t.Parallel()
	b := monitored(t)
	pause := func(headers ...string) int {
		return b.call(t, http.MethodPost, "/monitoring/api/queues/refresh-00:pause", "",
			append([]string{"Authorization", basic(b.admin)}, headers...)...).status
	}
	assert.Equal(t, http.StatusForbidden, pause("Sec-Fetch-Site", "cross-site"))
	assert.Equal(t, http.StatusForbidden, pause("Origin", "https://evil.example"))
	assert.Equal(t, http.StatusNoContent, pause("Sec-Fetch-Site", "same-origin"))
	assert.Equal(t, http.StatusBadRequest, b.call(t, http.MethodGet, "/monitoring/../v1/keys", "").status)
	res := b.call(t, http.MethodGet, "/monitoring/api/queues", "")
	assert.Contains(t, res.body, `"paused":true`)
}
