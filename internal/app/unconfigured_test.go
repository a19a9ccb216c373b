package app

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/doctor"
	"github.com/refreshd/refreshd/internal/testproc"
)

// toldUnconfigured is the warning about two credentials of acme.
const toldUnconfigured = `"level":"warn","component":"app","provider":"acme","credentials":2,"config":"[^"]*config.yaml",.*"message":"live credentials belong to a provider that the configuration does not have`

// TestACredentialOutlivesItsProvider: whoever takes a provider out of the
// configuration, or writes its name in another way, is told what becomes of its
// credentials, wherever he may look; they go on once it is back.
func TestACredentialOutlivesItsProvider(t *testing.T) {
	t.Parallel()
	provider := startProvider(t)
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	f := newFolder(t, provider.url+"/token")
	f.config["redis"] = map[string]any{"url": server.URL()}
	r := run(t, f, everything())
	for _, id := range []string{"alice", "bob", "carol"} {
		status, answer := r.call(http.MethodPut, "/v1/credentials/"+id, loginBody(provider.mint(t)))
		require.Equal(t, http.StatusCreated, status, answer)
	}
	status, answer := r.call(http.MethodPost, "/v1/credentials/bob/logout", nil)
	require.Equal(t, http.StatusOK, status, answer)
	_, before := r.call(http.MethodGet, "/v1/credentials/alice", nil)

	acme := f.acme(t)
	f.config["providers"] = map[string]any{"akme": acme}
	f.save(t)
	r.reload <- struct{}{}
	r.log.await(t, 1, `the configuration was loaded again`)
	for method, call := range map[string]struct {
		path string
		body map[string]any
	}{
		http.MethodPost: {"/refresh", map[string]any{}},
		http.MethodPut:  {"/presence", map[string]any{"presence": "active"}},
	} {
		status, answer = r.call(method, "/v1/credentials/alice"+call.path, call.body)
		assert.Equal(t, http.StatusServiceUnavailable, status, call.path)
		assert.Equal(t, "unknown_provider", answer["code"], call.path)
		assert.Equal(t, `the configuration has no such provider: "acme"; it has akme; if the name is right, put it there and send SIGHUP`, answer["detail"], call.path)
	}
	status, answer = r.call(http.MethodGet, "/v1/credentials/alice/token", nil)
	assert.Equal(t, http.StatusOK, status, "it is valid: %v", answer)
	found := about(f.diagnose(t), doctor.TopicProviders)
	require.Len(t, found, 1)
	assert.Equal(t, doctor.Warn, found[0].Severity)
	assert.Equal(t, "live credentials belong to provider acme, which the configuration does not have", found[0].What)
	assert.Contains(t, found[0].Consequence, "2 credentials ")
	assert.Contains(t, found[0].Remedy, f.dir)
	r.log.await(t, 1, toldUnconfigured)
	_, told := r.call(http.MethodGet, "/v1/status", nil)
	assert.Equal(t, []any{map[string]any{"name": "acme", "credentials": 2.0}}, told["unconfigured_providers"])
	status, _ = r.call(http.MethodGet, "/readyz", nil)
	assert.Equal(t, http.StatusOK, status)
	require.NoError(t, r.end())
	assert.Equal(t, 1, strings.Count(r.log.String(), "belong to a provider"))

	again := run(t, f, everything())
	again.log.await(t, 1, toldUnconfigured)
	_, after := again.call(http.MethodGet, "/v1/credentials/alice", nil)
	for _, what := range []string{"state", "version", "generation", "expires_at", "due_at"} {
		assert.Equal(t, before[what], after[what], what)
	}

	// It is counted anew, without another look at everything.
	status, answer = again.call(http.MethodPost, "/v1/credentials/carol/logout", nil)
	require.Equal(t, http.StatusOK, status, answer)
	_, told = again.call(http.MethodGet, "/v1/status", nil)
	assert.Equal(t, []any{map[string]any{"name": "acme", "credentials": 1.0}}, told["unconfigured_providers"])

	f.config["providers"] = map[string]any{"acme": acme}
	f.save(t)
	again.reload <- struct{}{}
	again.log.await(t, 1, `the configuration was loaded again`)
	status, answer = again.call(http.MethodPost, "/v1/credentials/alice/refresh", map[string]any{})
	assert.Equal(t, http.StatusOK, status, answer)
	_, told = again.call(http.MethodGet, "/v1/status", nil)
	assert.NotContains(t, told, "unconfigured_providers")
	require.NoError(t, again.end())
	assert.Equal(t, 1, strings.Count(again.log.String(), "belong to a provider"))
	assert.Empty(t, about(f.diagnose(t), doctor.TopicProviders))
}
