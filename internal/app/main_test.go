package app

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
)

func TestMain(m *testing.M) {
	// After a failed dial, go-redis probes once a second in a goroutine that
	// sees that its pool was closed only when it wakes up.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// patience bounds waits for what happens at once unless something is broken.
const patience = time.Minute

// clientSecret is that of the client at the practice provider.
const clientSecret = "cs-canary-of-the-client+/%"

// practiceProvider is a practice provider on a loopback port.
type practiceProvider struct {
	*practice.Server

	url string
}

func startProvider(t *testing.T) *practiceProvider {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &practiceProvider{
		Server: practice.New(practice.Options{AccessTTL: time.Hour, Clients: []practice.Client{{ID: "demo", Secret: clientSecret}}}),
		url:    "http://" + ln.Addr().String(),
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(t.Context(), ln) }()
	t.Cleanup(func() { assert.NoError(t, <-served) })
	return p
}

// folder is a configuration in a folder of its own.
type folder struct {
	dir    string
	config map[string]any
}

// newFolder is one with the provider acme at tokenURL.
func newFolder(t *testing.T, tokenURL string) *folder {
	t.Helper()
	f := &folder{dir: t.TempDir(), config: map[string]any{
		"listen": "127.0.0.1:0",
		"log":    map[string]any{"level": "debug"},
		"providers": map[string]any{"acme": map[string]any{
			"kind": "oauth2", "token_url": tokenURL, "client_id": "demo",
			"client_secret": map[string]any{"file": "./client.secret"}, "rotation": map[string]any{"rotates": "yes"},
		}},
	}}
	f.write(t, "client.secret", clientSecret)
	return f
}

func (f *folder) acme(t *testing.T) map[string]any {
	t.Helper()
	all, ok := f.config["providers"].(map[string]any)
	require.True(t, ok)
	acme, ok := all["acme"].(map[string]any)
	require.True(t, ok)
	return acme
}

func (f *folder) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(f.dir, name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// save writes the configuration. JSON is YAML, too.
func (f *folder) save(t *testing.T) string {
	t.Helper()
	data, err := json.Marshal(f.config)
	require.NoError(t, err)
	return f.write(t, "config.yaml", string(data))
}

func (f *folder) load(t *testing.T) *config.Config {
	t.Helper()
	conf, err := LoadConfig(f.save(t), nil)
	require.NoError(t, err)
	return conf
}

// logged is a log that can be waited on.
type logged struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newLogged() *logged { return &logged{changed: make(chan struct{})} }

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	close(l.changed)
	l.changed = make(chan struct{})
	return len(p), nil
}

func (l *logged) look() (string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String(), l.changed
}

func (l *logged) String() string {
	text, _ := l.look()
	return text
}

// await waits until the expression matches the n-th time.
func (l *logged) await(t *testing.T, n int, expr string) []string {
	t.Helper()
	re := regexp.MustCompile(expr)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		text, changed := l.look()
		if found := re.FindAllStringSubmatch(text, n); len(found) == n {
			return found[n-1]
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%q was not logged %d times:\n%s", expr, n, text)
		}
	}
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("never: " + what)
		}
	}
}

func newKeyset(t *testing.T) *seal.Keyset {
	t.Helper()
	keys, _, err := seal.Open(filepath.Join(t.TempDir(), "keyset.json"), seal.Options{})
	require.NoError(t, err)
	return keys
}

// openStore is a store over the in-process Redis.
func openStore(t *testing.T) *store.Store {
	t.Helper()
	conn, err := redisconn.Open(t.Context(), redisconn.Options{DataDir: t.TempDir(), NoServer: true, Log: zerolog.Nop()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	s, err := store.New(t.Context(), store.Options{
		Client: conn.Client(), Keyset: newKeyset(t), Owner: "test", Memory: true,
		RunID: func(context.Context) (string, error) { return "run", nil },
	})
	require.NoError(t, err)
	return s
}

// without fails if text holds one of the secrets.
func without(t *testing.T, text string, secrets ...string) {
	t.Helper()
	for i, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("holds secret %d", i)
		}
	}
}
