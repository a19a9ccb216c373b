package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// asServer set to 1 makes the test binary run the program instead of the
// tests: the process under test is then built with the race detector whenever
// the tests are.
const asServer = "THIRDPARTY_TEST_AS_SERVER"

const (
	testID     = "app"
	testSecret = "s3cret"
	// waitLimit bounds each wait for the process.
	waitLimit = 30 * time.Second
)

func TestMain(m *testing.M) {
	if os.Getenv(asServer) == "1" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// provider is a running process and a client of it.
type provider struct {
	base string
	http *http.Client
}

// startProvider runs the program until the end of the test, where it is asked
// to stop and must do so in order.
func startProvider(t *testing.T, args ...string) *provider {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	args = append([]string{"--listen", "127.0.0.1:0", "--client", testID + ":" + testSecret, "--users", "2"}, args...)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*waitLimit)
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = append(os.Environ(), asServer+"=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &provider{http: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 20},
		Timeout:       waitLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(func() {
		defer cancel()
		p.http.CloseIdleConnections()
		assert.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		assert.NoError(t, cmd.Wait(), "ends in order: %s", &stderr)
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	base, ok := strings.CutPrefix(strings.TrimSpace(line), "thirdparty: listening on ")
	require.True(t, ok, "the line of readiness: %q", line)
	p.base = base
	return p
}

// answer is a token endpoint's answer, and the others' as far as they have
// these members.
type answer struct {
	status int
	header http.Header

	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope"`
	ExpiresIn    int    `json:"expires_in"`
	Error        string `json:"error"`
	Active       bool   `json:"active"`
}

func (p *provider) post(t *testing.T, path string, form url.Values, auth func(*http.Request)) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.base+path, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	auth(r)
	res, err := p.http.Do(r)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	a := answer{status: res.StatusCode, header: res.Header}
	if len(body) > 0 {
		require.NoError(t, json.Unmarshal(body, &a))
	}
	return a
}

// asApp authenticates as RFC 6749, section 2.3.1 says: both halves form-encoded.
func asApp(r *http.Request) { basic(testID, testSecret)(r) }

func basic(id, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

// login gets a first grant through the resource owner's password.
func (p *provider) login(t *testing.T, user string) answer {
	t.Helper()
	a := p.post(t, "/token", url.Values{
		"grant_type": {"password"}, "username": {user}, "password": {"password-of-" + user}, "scope": {"offline read"},
	}, asApp)
	require.Equal(t, http.StatusOK, a.status)
	require.NotEmpty(t, a.RefreshToken)
	return a
}

func (p *provider) refresh(t *testing.T, token string) answer {
	t.Helper()
	return p.post(t, "/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, asApp)
}

func (p *provider) active(t *testing.T, token string) bool {
	t.Helper()
	a := p.post(t, "/introspect", url.Values{"token": {token}}, asApp)
	require.Equal(t, http.StatusOK, a.status)
	return a.Active
}

func (p *provider) get(t *testing.T, path string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.base+path, http.NoBody)
	require.NoError(t, err)
	res, err := p.http.Do(r)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode)
	return string(body)
}

func records(t *testing.T, ndjson string) []record {
	t.Helper()
	var all []record
	for line := range strings.Lines(ndjson) {
		var r record
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		all = append(all, r)
	}
	return all
}
