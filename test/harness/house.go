package harness

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/testproc"
)

// House is a data folder with a configuration: what processes of one machine
// share.
type House struct {
	Dir string
	// Config is config.yaml. It is written with every start.
	Config map[string]any

	t       testing.TB
	program string
}

// NewHouse makes a folder with a configuration for one provider, which
// processes of the given program will use. Its name is short: an embedded
// redis-server has its socket in there.
func NewHouse(t testing.TB, program string, p *Provider, redisURL string) *House {
	t.Helper()
	dir, err := os.MkdirTemp("", "rds-") //nolint:usetesting // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	h := &House{Dir: dir, t: t, program: program}
	h.Config = map[string]any{
		"listen":   "127.0.0.1:0",
		"data_dir": "./data",
		"redis":    map[string]any{"url": redisURL},
		"network":  map[string]any{"allow": []string{"127.0.0.0/8"}},
		"log":      map[string]any{"level": "info"},
		"schedule": map[string]any{"min_interval": "0s"}, // lives are of seconds here
		"providers": map[string]any{ProviderName: map[string]any{
			"kind": "oauth2", "token_url": p.URL + "/token", "revoke_url": p.URL + "/revoke",
			"client_id": ClientID, "client_secret": map[string]any{"file": "./client.secret"}, "client_auth": "basic",
			"rotation": map[string]any{"rotates": "yes"},
			"limits":   map[string]any{"concurrency": 256, "per_second": 1000},
		}},
	}
	h.WriteSecret("client.secret", p.Secret)
	return h
}

// Neighbour is another house on the same Redis, with the same keyset and key:
// what a replica on another machine is. It is made after the first start.
func (h *House) Neighbour(t testing.TB) *House {
	t.Helper()
	dir, err := os.MkdirTemp("", "rds-") //nolint:usetesting // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	other := &House{Dir: dir, Config: maps.Clone(h.Config), t: t, program: h.program}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "data"), 0o700))
	for _, name := range []string{"client.secret", "hook.secret", "data/keyset.json", "data/admin.key"} {
		data, err := os.ReadFile(filepath.Join(h.Dir, name)) //nolint:gosec // a folder of this test
		if os.IsNotExist(err) {
			continue
		}
		require.NoError(t, err)
		other.Write(name, data)
	}
	return other
}

// WriteSecret writes a file that only its owner can read.
func (h *House) WriteSecret(name, secret string) {
	h.t.Helper()
	h.Write(name, []byte(secret+"\n"))
}

// Write replaces a file as a whole, as an operator's tools do.
func (h *House) Write(name string, data []byte) {
	h.t.Helper()
	path := filepath.Join(h.Dir, name)
	require.NoError(h.t, os.WriteFile(path+".new", data, 0o600)) //nolint:gosec // a folder of this test
	require.NoError(h.t, os.Rename(path+".new", path))
}

// Provider are the settings of the one provider.
func (h *House) Provider() map[string]any {
	return h.Config["providers"].(map[string]any)[ProviderName].(map[string]any) //nolint:errcheck,forcetypeassert // made by NewHouse
}

// Subscribe adds a receiver of all events to the configuration.
func (h *House) Subscribe(r *Receiver) {
	h.WriteSecret("hook.secret", r.Secret)
	h.Config["subscriptions"] = []any{map[string]any{
		"name": "ui", "url": r.URL + "/hook", "format": "webhook", "types": []string{"*"},
		"secret": map[string]any{"file": "./hook.secret"},
	}}
}

// Save writes the configuration. JSON is YAML, too.
func (h *House) Save() {
	h.t.Helper()
	data, err := json.MarshalIndent(h.Config, "", "  ")
	require.NoError(h.t, err)
	h.Write("config.yaml", data)
}

// AdminKey is the key that the first start made.
func (h *House) AdminKey() string {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.Dir, "data", "admin.key"))
	require.NoError(h.t, err)
	return strings.TrimSpace(string(data))
}

var readyLine = regexp.MustCompile(`"listen":"([^"]+)","redis":"([^"]+)","owner":"([^"]+)".*"message":"ready"`)

// Instance is one running refreshd serve.
type Instance struct {
	*testproc.Process
	*API

	Owner string
	Redis string // its kind
}

// Start saves the configuration and runs a process until the end of the test.
func (h *House) Start(env ...string) *Instance {
	h.t.Helper()
	p := h.Run(env...)
	i, err := h.Ready(h.t.Context(), p)
	require.NoError(h.t, err)
	return i
}

// Run is Start, but returns before the process is ready; it may never be.
func (h *House) Run(env ...string) *testproc.Process {
	h.t.Helper()
	h.Save()
	return testproc.Start(h.t, testproc.Options{
		Path: h.program, Args: []string{"serve"}, Dir: h.Dir, Env: env, OutputLimit: 8 << 20,
	})
}

// Ready waits until a process serves.
func (h *House) Ready(ctx context.Context, p *testproc.Process) (*Instance, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	match, err := p.WaitFor(ctx, readyLine)
	if err != nil {
		return nil, err
	}
	return &Instance{
		Process: p, API: NewAPI(h.t, "http://"+match[1], h.AdminKey()), Redis: match[2], Owner: match[3],
	}, nil
}
