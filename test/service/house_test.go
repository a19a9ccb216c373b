package service

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/oracle"
)

const (
	// patience bounds waits for what comes soon unless something is broken, on
	// a machine that is busy with other tests.
	patience = 60 * time.Second
	// look is the step of waits that have nothing to wait on.
	look = 20 * time.Millisecond

	providerName = "acme"
	clientID     = "demo"
)

// program is the program under test, built with the race detector where there
// is a C compiler for it, as the test itself was.
func program(t testing.TB) string {
	t.Helper()
	return testproc.Build(t, testproc.BuildOptions{Package: "github.com/refreshd/refreshd/cmd/refreshd", Race: raceDetector})
}

// eventually asks until the answer is yes. The last word of ask tells why not.
func eventually(t testing.TB, limit time.Duration, ask func() (bool, string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		ok, why := ask()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not after %s: %s", limit, why)
		}
	}
}

// provider is a practice provider on a loopback port.
type provider struct {
	*practice.Server

	url    string
	secret string

	mu     sync.Mutex
	minted []oracle.Change // when each grant was handed out, and until when its access token is good
}

// Mint makes grants and notes when.
func (p *provider) Mint(req practice.MintRequest) ([]practice.Minted, error) {
	now := time.Now()
	minted, err := p.Server.Mint(req)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range minted {
		p.minted = append(p.minted, oracle.Change{
			Credential: m.Subject, Kind: oracle.KindLogin, Grant: m.Grant, At: now, ExpiresAt: now.Add(time.Duration(m.ExpiresIn) * time.Second),
		})
	}
	return minted, err
}

// logins are the grants that were handed out.
func (p *provider) logins() []oracle.Change {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.minted)
}

type providerOptions struct {
	practice.Options

	wire  func(net.Listener) net.Listener // nil leaves the listener as it is
	front func(http.Handler) http.Handler // nil leaves the provider's answers as they are
}

func newProvider(t testing.TB, o providerOptions) *provider {
	t.Helper()
	p := &provider{secret: "cs_" + rand.Text() + "+/%"} // some of it changes when it is encoded
	o.Clients = []practice.Client{{ID: clientID, Secret: p.secret}}
	p.Server = practice.New(o.Options)
	run := p.Serve
	if o.front != nil {
		run = func(ctx context.Context, ln net.Listener) error {
			stop := context.AfterFunc(ctx, p.Close)
			defer stop()
			return serveHTTP(ctx, ln, o.front(p.Handler()))
		}
	}
	p.url = serve(t, o.wire, run)
	return p
}

// serve runs something on a loopback port until the end of the test.
func serve(t testing.TB, wire func(net.Listener) net.Listener, run func(context.Context, net.Listener) error) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := ln.Addr().String()
	if wire != nil {
		ln = wire(ln)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // processes end before what they use
	done := make(chan error, 1)
	go func() { done <- run(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	return "http://" + address
}

// serveHTTP serves until ctx ends.
func serveHTTP(ctx context.Context, ln net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: patience}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// house is a data folder with a configuration: what processes share.
type house struct {
	t        testing.TB
	dir      string
	config   map[string]any
	provider *provider
}

// newHouse makes the folder. Its name is short: an embedded redis-server has
// its socket in there.
func newHouse(t testing.TB, p *provider, redisURL string) *house {
	t.Helper()
	dir, err := os.MkdirTemp("", "rds-") //nolint:usetesting // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	h := &house{t: t, dir: dir, provider: p}
	h.config = map[string]any{
		"listen":   "127.0.0.1:0",
		"data_dir": "./data",
		"redis":    map[string]any{"url": redisURL},
		"network":  map[string]any{"allow": []string{"127.0.0.0/8"}},
		"log":      map[string]any{"level": "info"},
		"schedule": map[string]any{"min_interval": "0s"}, // lives are of seconds here
		"providers": map[string]any{providerName: map[string]any{
			"kind": "oauth2", "token_url": p.url + "/token", "revoke_url": p.url + "/revoke",
			"client_id": clientID, "client_secret": map[string]any{"file": "./client.secret"}, "client_auth": "basic",
			"rotation": map[string]any{"rotates": "yes"},
			// The clients here ask for all tokens in the same moment; the limits
			// of a careful default would make some of them wait.
			"limits": map[string]any{"concurrency": 256, "per_second": 1000},
		}},
	}
	h.writeSecret("client.secret", p.secret)
	return h
}

func (h *house) writeSecret(name, secret string) {
	h.t.Helper()
	h.write(name, []byte(secret+"\n"))
}

// write replaces a file as a whole, as an operator's tools do.
func (h *house) write(name string, data []byte) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	require.NoError(h.t, os.WriteFile(path+".new", data, 0o600))
	require.NoError(h.t, os.Rename(path+".new", path))
}

// acme are the settings of the one provider.
func (h *house) acme() map[string]any {
	return h.config["providers"].(map[string]any)[providerName].(map[string]any) //nolint:errcheck,forcetypeassert // made by newHouse
}

// save writes the configuration. JSON is YAML, too.
func (h *house) save() {
	h.t.Helper()
	data, err := json.MarshalIndent(h.config, "", "  ")
	require.NoError(h.t, err)
	h.write("config.yaml", data)
}

// adminKey is the key that the first start made.
func (h *house) adminKey() string {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.dir, "data", "admin.key"))
	require.NoError(h.t, err)
	return strings.TrimSpace(string(data))
}

var readyLine = regexp.MustCompile(`"listen":"([^"]+)","redis":"([^"]+)","owner":"([^"]+)".*"message":"ready"`)

// instance is one running refreshd serve.
type instance struct {
	*testproc.Process
	*api

	owner string
	redis string // its kind
}

// start saves the configuration and runs a process until the end of the test,
// at which it is told to stop: an embedded redis-server ends with it.
func (h *house) start(env ...string) *instance {
	h.t.Helper()
	return h.startAs("api,scheduler,worker", env...)
}

// startAs is start for a process with some roles only.
func (h *house) startAs(roles string, env ...string) *instance {
	h.t.Helper()
	return h.ready(h.launch(roles, env...))
}

// launch is startAs, but returns before the process is ready.
func (h *house) launch(roles string, env ...string) *testproc.Process {
	h.t.Helper()
	h.save()
	p := testproc.Start(h.t, testproc.Options{
		Path: program(h.t), Args: []string{"serve", "--roles", roles}, Dir: h.dir, Env: env, OutputLimit: 32 << 20,
	})
	h.t.Cleanup(func() {
		if _, err := p.Stop(); err != nil {
			h.t.Errorf("end of the test: %v", err)
		}
		if strings.Contains(p.String(), "DATA RACE") {
			h.t.Error("the race detector has something to say, see the output")
		}
	})
	return p
}

// ready waits until a process serves.
func (h *house) ready(p *testproc.Process) *instance {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	match, err := p.WaitFor(ctx, readyLine)
	require.NoError(h.t, err)
	return &instance{
		Process: p, api: newAPI(h.t, "http://"+match[1], h.adminKey()), redis: match[2], owner: match[3],
	}
}

// says waits until the process has logged a line that matches.
func (i *instance) says(t testing.TB, pattern string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	match, err := i.WaitFor(ctx, regexp.MustCompile(pattern))
	require.NoError(t, err)
	return match
}

func (i *instance) hangUp(t testing.TB) {
	t.Helper()
	require.NoError(t, i.Signal(syscall.SIGHUP))
}

// credentialID names the credential of the user with that number.
func credentialID(n int) string { return fmt.Sprintf("acme:user-%d", n) }

// login mints grants at the provider and stores them.
func (h *house) login(at *api, count int) []practice.Minted {
	h.t.Helper()
	all := make([]practice.Minted, count)
	for n := range all { // one by one: a token's life counts from when it was minted
		minted, err := h.provider.Mint(practice.MintRequest{Count: 1, First: n})
		require.NoError(h.t, err)
		all[n] = minted[0]
		at.put(h.t, credentialID(n), minted[0], minted[0].ExpiresIn)
	}
	return all
}
