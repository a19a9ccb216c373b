package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

func await(t *testing.T, p *testproc.Process, expr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	_, err := p.WaitFor(ctx, regexp.MustCompile(expr))
	require.NoError(t, err)
}

// refreshd runs a command against the service and returns what it printed.
func (s *service) refreshd(t *testing.T, in string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "refreshd", args...)
	cmd.Env = append(os.Environ(), "REFRESHD_URL="+s.url, "REFRESHD_KEY="+s.key, "GORACE=atexit_sleep_ms=0")
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.Output()
	require.NoError(t, err)
	return string(out)
}

func (s *service) put(t *testing.T, id string) practice.Minted {
	t.Helper()
	minted, err := s.provider.Mint(practice.MintRequest{Count: 1})
	require.NoError(t, err)
	one := minted[0]
	s.refreshd(t, `{"access_token":"`+one.AccessToken+`","refresh_token":"`+one.RefreshToken+`","expires_in":3600}`,
		"put", id, "--provider", "acme")
	return one
}

func TestServeObeysSignals(t *testing.T) {
	t.Parallel()
	s := startService(t)
	minted := s.put(t, "signals:alice")
	path := filepath.Join(s.dir, "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte("lisen: nowhere\n"), 0o600))
	require.NoError(t, s.Signal(syscall.SIGHUP))
	await(t, s.Process, "lisen.*the old one stays in force")
	assert.Contains(t, s.refreshd(t, "", "refresh", "signals:alice"), "active")
	s.write(t, "config.yaml", "127.0.0.1:0")
	require.NoError(t, s.Signal(syscall.SIGHUP))
	await(t, s.Process, "the configuration was loaded again")

	require.NoError(t, s.Signal(syscall.SIGTERM))
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	state, err := s.Wait(ctx)
	require.NoError(t, err)
	assert.Equal(t, exitOK, state.ExitCode(), "an orderly stop is no failure")
	assert.Contains(t, s.String(), `"why":"told to stop: terminated"`)
	for _, secret := range []string{minted.AccessToken, minted.RefreshToken, clientSecret, s.key} {
		assert.NotContains(t, s.String(), secret)
	}

	// The next start finds what the one before has left, the key as well.
	again := s.serve(t, "127.0.0.1:0")
	s.url = "http://" + again.ReadyMatch()[1]
	assert.Contains(t, s.refreshd(t, "", "get", "signals:alice"), "active")
}

// A second signal ends a service that waits for a provider.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := startService(t)
	s.put(t, "second:alice")
	_, err := s.provider.Configure(practice.SettingsPatch{Latency: new(time.Hour)})
	require.NoError(t, err)
	asking := testproc.Start(t, testproc.Options{
		Path: lookPath(t), Args: []string{"refresh", "second:alice"}, Env: []string{"REFRESHD_URL=" + s.url, "REFRESHD_KEY=" + s.key},
	})
	sent := time.NewTicker(10 * time.Millisecond)
	defer sent.Stop()
	for !s.inAir() {
		select {
		case <-sent.C:
		case <-asking.Done():
			t.Fatalf("it was answered: %s", asking)
		}
	}
	require.NoError(t, s.Signal(syscall.SIGTERM))
	await(t, s.Process, "draining")
	require.NoError(t, s.Signal(syscall.SIGINT))
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	state, err := s.Wait(ctx)
	require.NoError(t, err)
	assert.Equal(t, exitFailure, state.ExitCode())
	assert.Contains(t, s.String(), "ending at once; the journal keeps what was received")
}

// inAir reports whether the provider has an exchange that it has not answered.
func (s *service) inAir() bool {
	for _, entry := range s.provider.Ledger(practice.LedgerQuery{}) {
		if entry.InAir {
			return true
		}
	}
	return false
}

func lookPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("refreshd")
	require.NoError(t, err)
	return path
}

// What happens is printed as it happens, over a restart of the service, until
// somebody interrupts it; that is no failure, and the cursor leads on.
func TestFollowEvents(t *testing.T) {
	t.Parallel()
	s := startService(t)
	s.put(t, "follow:alice")
	follower := testproc.Start(t, testproc.Options{
		Path: lookPath(t), Args: []string{"events", "--follow", "--cursor", "0", "--prefix", "follow:"},
		Env:   []string{"REFRESHD_URL=" + s.url, "REFRESHD_KEY=" + s.key},
		Ready: regexp.MustCompile(`credential\.connected +follow:alice`), ReadyTimeout: readyWithin,
	})
	minted := s.put(t, "follow:bob")
	await(t, follower, `credential\.connected +follow:bob`)
	_, err := s.Stop()
	require.NoError(t, err)
	await(t, follower, "the stream broke off, resuming")
	s.serve(t, strings.TrimPrefix(s.url, "http://"))
	s.refreshd(t, "", "logout", "follow:bob")
	await(t, follower, `credential\.logged_out +follow:bob`)

	require.NoError(t, follower.Signal(syscall.SIGINT))
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	state, err := follower.Wait(ctx)
	require.NoError(t, err)
	assert.Equal(t, exitOK, state.ExitCode())
	found := regexp.MustCompile(`refreshd: cursor ([A-Za-z0-9_-]+)`).FindStringSubmatch(follower.String())
	require.NotNil(t, found, follower.String())
	assert.Equal(t, 1, strings.Count(follower.String(), "credential.connected         follow:alice"), "nothing twice")
	assert.NotContains(t, follower.String(), minted.AccessToken)
	assert.Empty(t, s.refreshd(t, "", "events", "--cursor", found[1], "--prefix", "follow:"), "nothing is left behind it")
}
