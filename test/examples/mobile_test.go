package examples

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// compile checks the TypeScript example and returns what node runs.
func compile(t *testing.T) (node, app string) {
	t.Helper()
	tsc, missing := exec.LookPath("tsc")
	if missing == nil {
		node, missing = exec.LookPath("node")
	}
	if missing != nil {
		t.Skipf("%v; install it (Debian: apt-get install nodejs node-typescript)", missing)
	}
	source, dir := filepath.Join(root, "examples", "mobile"), t.TempDir()
	out, err := exec.CommandContext(t.Context(), tsc, "-p", source, "--outDir", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	text, err := os.ReadFile(filepath.Join(source, "package.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "package.json"), text, 0o600)) //nolint:gosec // a folder of this test
	return node, filepath.Join(dir, "app.js")
}

func TestMobile(t *testing.T) {
	t.Parallel()
	node, app := compile(t)
	e := newEstate(t, "shop", backends.Options{Kind: backends.KindBearer, Life: hour, Refreshes: true}, nil)
	e.open()
	e.Config["listen"] = e.Base[len("http://"):] // the app finds it there again
	e.signIn()
	e.backend.SetUser("bob", password, `{"name":"Bob"}`)
	bob := map[string]any{"provider": "shop", "login": map[string]any{"username": "bob", "password": password}}
	require.NoError(t, e.Call(t.Context(), http.MethodPut, harness.CredentialPath("shop:bob"), bob, nil))
	key := e.key("phone", "--scope", "token:read", "--scope", "event:read", "--subject", "uid-1")
	start := func(id string) *testproc.Process {
		return testproc.Start(t, testproc.Options{
			Path: node, Args: []string{app, e.Base, id, e.url + "/me"}, Env: []string{"REFRESHD_KEY=" + key},
		})
	}

	// The token has died before its time: five calls, five refusals, one refresh.
	e.backend.EndTokens(user)
	alice := start(e.id)
	says(t, alice, `(?m)^v1: signed in, until \S+Z$`)
	says(t, alice, `(?m)^v2: signed in, until \S+Z$`)
	says(t, alice, `(?m)^five calls: 200 200 200 200 200$`)
	assert.Len(t, e.backend.Calls(backends.CallRefresh, user), 1)

	// What is another's does not exist for this key.
	other := start("shop:bob")
	says(t, other, `(?m)^v0: nobody is signed in$`)

	// The service restarts, and the app misses nothing.
	e.close()
	e.open()
	e.backend.SetUser(user, "battery staple", profile)
	e.backend.End(user)
	require.Error(t, e.Refresh(t.Context(), e.id))
	says(t, alice, `(?m)^v3: signed in, until \S+Z$`) // degraded: it may still be mended
	says(t, alice, `(?m)^v4: please sign in again \(login_refused\)$`)
	e.backend.SetUser(user, password, profile)
	e.signIn()
	again := regexp.MustCompile(`(?m)^v5: signed in, .*\nfive calls: 200 200 200 200 200$`)
	harness.Eventually(t, harness.Patience, func() (bool, string) { return again.MatchString(alice.String()), "not back yet" })
	require.NoError(t, e.Call(t.Context(), http.MethodPost, harness.CredentialPath(e.id)+"/logout", nil, nil))
	says(t, alice, `(?m)^v6: signed out$`)
	<-alice.Done() // by itself: there is nothing to wait for

	t.Logf("the app has printed:\n%s", alice)
	_, err := other.Stop()
	require.NoError(t, err)
	assert.NotContains(t, other.String(), "signed in,")
	for _, secret := range append(e.backend.Secrets(), key) {
		assert.NotContains(t, alice.String()+other.String(), secret)
	}
}
