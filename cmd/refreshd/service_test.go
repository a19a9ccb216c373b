package main

import (
	"cmp"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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
	"github.com/refreshd/refreshd/internal/testproc"
)

// readyWithin bounds a start on a machine that is busy with other tests.
const readyWithin = time.Minute

var readyLine = regexp.MustCompile(`"listen":"([^"]+)".*"message":"ready"`)

// provider is a practice provider on a loopback port.
type provider struct {
	*practice.Server

	url string
}

func startProvider(t testing.TB) *provider {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &provider{
		Server: practice.New(practice.Options{AccessTTL: time.Hour, Clients: []practice.Client{{ID: "demo", Secret: clientSecret}}}),
		url:    "http://" + ln.Addr().String(),
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(t.Context(), ln) }()
	t.Cleanup(func() { assert.NoError(t, <-served) })
	return p
}

// startHook starts a receiver that answers as the path says: ok, gone or fails.
func startHook(t testing.TB) string {
	t.Helper()
	statuses := map[string]int{"/ok": http.StatusNoContent, "/gone": http.StatusGone, "/fails": http.StatusInternalServerError}
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(statuses[r.URL.Path])
	}))
	t.Cleanup(hook.Close)
	return hook.URL
}

// clientSecret is that of the service at the provider.
const clientSecret = "cs-canary-of-the-client+/%"

// service is a real refreshd serve, with the in-process store and a practice
// provider.
type service struct {
	*testproc.Process

	provider *provider
	backend  string // URL of a backend that signs in
	hook     string // URL of a receiver of events
	dir      string
	path     string // its PATH; "" is one without a redis-server
	config   string // leads the command line to it
	url      string
	key      string
}

func startService(t testing.TB) *service {
	t.Helper()
	return startServiceWith(t, "")
}

// startServiceWith is startService with a PATH, on which it may find a
// redis-server.
func startServiceWith(t testing.TB, path string) *service {
	t.Helper()
	s := &service{provider: startProvider(t), backend: startBackend(t), hook: startHook(t), dir: t.TempDir(), path: path}
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "client.secret"), []byte(clientSecret+"\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "wrong.secret"), []byte("another-secret-canary\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "hook.secret"), []byte("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"), 0o600))
	s.Process = s.serve(t, "127.0.0.1:0")
	address := s.ReadyMatch()[1]
	s.url = "http://" + address
	s.config = s.write(t, "client.yaml", address)
	key, err := os.ReadFile(filepath.Join(s.dir, "data", "admin.key"))
	require.NoError(t, err)
	s.key = strings.TrimSpace(string(key))
	return s
}

// serve starts a process in the service's folder.
func (s *service) serve(t testing.TB, listen string) *testproc.Process {
	t.Helper()
	path, err := exec.LookPath("refreshd")
	require.NoError(t, err)
	return testproc.Start(t, testproc.Options{
		Path: path, Args: []string{"serve", "--config", s.write(t, "config.yaml", listen)}, Dir: s.dir,
		// A PATH without redis-server has it use the in-process store.
		Env:   []string{"PATH=" + cmp.Or(s.path, s.dir), "HOME=" + s.dir, "ACME_SECRET=" + clientSecret},
		Ready: readyLine, ReadyTimeout: readyWithin,
	})
}

// write writes a configuration. JSON is YAML, too.
func (s *service) write(t testing.TB, name, listen string) string {
	t.Helper()
	data, err := json.Marshal(map[string]any{
		"listen":  listen,
		"network": map[string]any{"allow": []string{"127.0.0.1"}},
		"subscriptions": []any{
			map[string]any{
				"name": "cli-fixed", "url": s.hook + "/ok", "types": []string{"credential.*"}, "secret": map[string]any{"file": "./hook.secret"},
			},
			map[string]any{"name": "soc", "format": "caep", "delivery": "poll", "audience": "https://soc.example"},
		},
		"providers": map[string]any{
			"acme": map[string]any{
				"kind": "oauth2", "token_url": s.provider.url + "/token", "revoke_url": s.provider.url + "/revoke",
				"client_id": "demo", "client_secret": map[string]any{"file": "./client.secret"}, "rotation": map[string]any{"rotates": "yes"},
			},
			"other": map[string]any{
				"kind": "oauth2", "token_url": s.provider.url + "/token",
				"client_id": "demo", "client_secret": map[string]any{"file": "./client.secret"},
			},
			"wrong": map[string]any{
				"kind": "oauth2", "token_url": s.provider.url + "/token",
				"client_id": "demo", "client_secret": map[string]any{"file": "./wrong.secret"},
			},
			"shop": shopSettings(s.backend),
			"air":  airlineSettings(s.backend),
			"busy": shopSettings(s.backend),
		},
		"ssf": map[string]any{"issuer": "https://refreshd.example"},
	})
	require.NoError(t, err)
	path := filepath.Join(s.dir, name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}
