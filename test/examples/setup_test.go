package examples

import (
	"context"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

const (
	root     = "../.."
	user     = "alice"
	password = "correct horse"
	profile  = `{"name":"Alice"}`
)

// estate is a running refreshd with one backend, which has one user.
type estate struct {
	*harness.House
	*harness.Instance

	t       *testing.T
	backend *backends.Backend
	url     string // of the backend
	id      string // of the user's credential
}

// newEstate prepares one; open starts it. The provider has the given name;
// session is added to its session's settings.
func newEstate(t *testing.T, name string, o backends.Options, session map[string]any) *estate {
	t.Helper()
	testproc.SkipWithoutRedis(t)
	e := &estate{t: t, id: name + ":" + user}
	e.House = harness.NewHouse(t, build(t, "cmd/refreshd"), harness.NewProvider(t, practice.Options{}), "")
	e.backend, e.url = harness.NewBackend(t, o)
	e.backend.SetUser(user, password, profile)
	set := harness.BackendSettings(o.Kind, e.url)
	if o.Refreshes {
		harness.BackendRefresh(set, e.url)
	}
	if clock, ok := set["session"].(map[string]any); ok {
		clock["idle_timeout"] = o.Idle.String()
		maps.Copy(clock, session)
	}
	e.Config["providers"].(map[string]any)[name] = set //nolint:errcheck,forcetypeassert // made by NewHouse
	return e
}

// open starts the service with the configuration as it is, until the end of the
// test.
func (e *estate) open() {
	e.t.Helper()
	e.Instance = e.Start()
	process := e.Process
	e.t.Cleanup(func() { // before it is killed: an embedded redis-server ends with it
		_, err := process.Stop()
		assert.NoError(e.t, err)
	})
}

// close ends the service in good order.
func (e *estate) close() {
	e.t.Helper()
	state, err := e.Stop()
	require.NoError(e.t, err)
	require.Zero(e.t, state.ExitCode())
}

// signIn stores the user's login.
func (e *estate) signIn() {
	e.t.Helper()
	provider, name, _ := strings.Cut(e.id, ":")
	body := map[string]any{"provider": provider, "login": map[string]any{"username": name, "password": password}}
	require.NoError(e.t, e.Call(e.t.Context(), http.MethodPut, harness.CredentialPath(e.id), body, nil))
}

// key makes an API key as an operator does.
func (e *estate) key(args ...string) string {
	e.t.Helper()
	cmd := exec.CommandContext(e.t.Context(), build(e.t, "cmd/refreshd"), append([]string{"key", "create"}, args...)...)
	cmd.Env = append(os.Environ(), "REFRESHD_URL="+e.Base, "REFRESHD_KEY="+e.AdminKey())
	out, err := cmd.Output()
	require.NoError(e.t, err)
	return strings.TrimSpace(string(out))
}

// run runs an example to its end and returns what it printed.
func (e *estate) run(program, key, stdin string, args ...string) (stdout string, err error) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), harness.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "REFRESHD_KEY="+key)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	for _, secret := range append(e.backend.Secrets(), key, password) {
		assert.NotContains(e.t, string(out), secret, "a secret is printed")
	}
	return string(out), err
}

// build returns the program of a folder of the repository.
func build(t *testing.T, folder string) string {
	t.Helper()
	dir, err := filepath.Abs(root)
	require.NoError(t, err)
	return testproc.Build(t, testproc.BuildOptions{Package: "./" + folder, Dir: dir})
}

// says waits until a process has printed what matches.
func says(t *testing.T, p *testproc.Process, pattern string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	_, err := p.WaitFor(ctx, regexp.MustCompile(pattern))
	require.NoError(t, err)
}

// hour is a life that does not end within a test.
const hour = time.Hour
