package chaos

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

// The times of a campaign: short lives and short allowances, so that much
// happens in little time.
const (
	life         = 4 * time.Second
	graceTime    = 60 * time.Second
	exchangeTime = time.Second
	sendTime     = 500 * time.Millisecond
	commitTime   = 500 * time.Millisecond
	marginTime   = 500 * time.Millisecond
	silenceTime  = 2 * time.Second
	quarantine   = 3 * time.Second
	latency      = 10 * time.Millisecond

	diskSize = 64 << 20

	clientID = "campaign"
)

// provider is a practice provider, with a door for each replica.
type provider struct {
	*practice.Server

	name  string
	calls *calls
	doors []string // addresses, by replica
}

// holds asks which generation of which grant a live access token belongs to.
func (p *provider) holds(accessToken string) (grant string, generation uint32, live bool) {
	req := httptest.NewRequest(http.MethodGet, "/resource", nil)
	req.Header.Set("Authorization", "Bearer "+accessToken)
	answer := httptest.NewRecorder()
	p.Handler().ServeHTTP(answer, req)
	if answer.Code != http.StatusOK {
		return "", 0, false
	}
	return holderOf(answer.Body.Bytes())
}

// house is everything that runs.
type house struct {
	t         *testing.T
	dir       string
	secret    string
	hookKey   string
	ways      *links
	redis     *pair
	replicas  []*replica
	providers map[string]*provider
	hook      *link
	receiver  *receiver
}

func buildHouse(t *testing.T, dir, kind string) *house {
	t.Helper()
	h := &house{
		t: t, dir: dir, ways: newLinks(), providers: map[string]*provider{},
		secret: "cs_" + rand.Text(), hookKey: "whsec_" + base64.StdEncoding.EncodeToString([]byte("a secret of thirty-two bytes or so")),
	}
	t.Cleanup(h.ways.close)
	program := option[string](t, flagProgram)
	if program == "" {
		program = testproc.Build(t, testproc.BuildOptions{Package: "github.com/refreshd/refreshd/cmd/refreshd", Tags: "failpoints"})
	}
	h.redis = startPair(t, kind, dir, h.ways)
	for _, name := range providerNames() {
		h.providers[name] = h.newProvider(name)
	}
	h.receiver = newReceiver(t, h.hookKey)
	var err error
	h.hook, err = h.ways.open("hook", h.serve(func(ctx context.Context, ln net.Listener) { serveHTTP(ctx, ln, h.receiver) }))
	require.NoError(t, err)
	for n := range replicas {
		h.replicas = append(h.replicas, h.newReplica(n, program))
	}
	return h
}

func (h *house) newProvider(name string) *provider {
	h.t.Helper()
	o := practice.Options{AccessTTL: life, Latency: latency, Clients: []practice.Client{{ID: clientID, Secret: h.secret}}}
	switch name {
	case grace:
		o.Reuse, o.Grace = practice.ReuseGrace, graceTime
	case plain:
		o.NoRotate = true
	}
	p := &provider{Server: practice.New(o), name: name, calls: &calls{}}
	h.t.Cleanup(p.Close)
	for n := range replicas {
		p.doors = append(p.doors, h.serve(func(ctx context.Context, ln net.Listener) {
			serveHTTP(ctx, ln, p.calls.wrap(n, p.Handler()))
		}))
	}
	return p
}

// serve runs something on a loopback port until the end of the test.
func (h *house) serve(with func(context.Context, net.Listener)) string {
	h.t.Helper()
	ln, err := listen(h.t.Context())
	require.NoError(h.t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	var done sync.WaitGroup
	done.Go(func() { with(ctx, ln) })
	h.t.Cleanup(func() { cancel(); done.Wait() })
	return ln.Addr().String()
}

// serveHTTP serves until ctx ends.
func serveHTTP(ctx context.Context, ln net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	_ = server.Serve(ln) // it ends with ctx
}

func (h *house) newReplica(n int, program string) *replica {
	h.t.Helper()
	dir := folder(h.t, h.dir, laneReplica(n))
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = log.Close() })
	r := &replica{n: n, program: program, dir: dir, log: log, ways: map[string]*link{}, key: h.adminKey}
	if n == thirdHost {
		r.data = folder(h.t, h.dir, "host-b")
		if h.mount(r.data) {
			r.disk = r.data
		}
	} else {
		r.data = folder(h.t, h.dir, "host-a")
	}
	r.toRedis, err = h.ways.open(laneToRedis(n), h.redis.current().address)
	require.NoError(h.t, err)
	providers := map[string]any{}
	for _, name := range providerNames() {
		p := h.providers[name]
		way, err := h.ways.open(laneToProvider(n, name), p.doors[n])
		require.NoError(h.t, err)
		r.ways[name] = way
		near := &tap{to: way.address(), calls: p.calls, conns: map[net.Conn]bool{}}
		base := "http://" + h.serve(near.serve)
		rotation := map[string]any{"rotates": "yes"}
		switch name {
		case grace:
			rotation["grace"] = graceTime.String()
		case plain:
			rotation["rotates"] = "no"
		}
		providers[name] = map[string]any{
			"kind": "oauth2", "token_url": base + "/token", "revoke_url": base + "/revoke", "client_id": clientID,
			"client_secret": map[string]any{"file": filepath.Join(h.dir, "client.secret")}, "client_auth": "basic",
			"rotation": rotation, "timeout": exchangeTime.String(), "default_lifetime": life.String(),
			"limits": map[string]any{"concurrency": 256, "per_second": 2000},
		}
	}
	require.NoError(h.t, os.WriteFile(filepath.Join(h.dir, "client.secret"), []byte(h.secret), 0o600))
	require.NoError(h.t, os.WriteFile(filepath.Join(h.dir, "hook.secret"), []byte(h.hookKey), 0o600))
	require.NoError(h.t, r.configure(map[string]any{
		"listen": "127.0.0.1:0", "data_dir": r.data, "redis": map[string]any{"url": "redis://" + r.toRedis.address()},
		"keyset": map[string]any{"file": filepath.Join(h.dir, "keyset.json")}, "log": map[string]any{"level": "info"},
		"network": map[string]any{"allow": []string{"127.0.0.0/8"}}, "providers": providers,
		"recovery": map[string]any{
			"quarantine": quarantine.String(), "silence": silenceTime.String(), "send": sendTime.String(),
			"commit": commitTime.String(), "margin": marginTime.String(),
		},
		"subscriptions": []any{map[string]any{
			"name": "ui", "url": "http://" + h.hook.address() + "/hook", "format": "webhook", "types": []string{"*"},
			"secret": map[string]any{"file": filepath.Join(h.dir, "hook.secret")},
		}},
	}))
	require.NoError(h.t, r.arm())
	h.t.Cleanup(func() {
		if r.proc == nil {
			return
		}
		if err := r.proc.kill(); err != nil {
			h.t.Errorf("the end of %s: %v", r.name(), err)
		}
	})
	return r
}

// mount gives a folder a small disk of its own, where this process may.
func (h *house) mount(dir string) bool {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+strconv.Itoa(diskSize)); err != nil {
		h.t.Logf("no small disk for %s (%v): a failpoint stands in for it", dir, err)
		return false
	}
	h.t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			err = errors.Join(err, syscall.Unmount(dir, 2)) // MNT_DETACH
			h.t.Logf("the small disk was busy: %v", err)
		}
	})
	return true
}

// adminKey is the key that the first start made.
func (h *house) adminKey() string {
	for _, host := range []string{"host-a", "host-b"} {
		if data, err := os.ReadFile(filepath.Join(h.dir, host, "admin.key")); err == nil {
			return strings.TrimSpace(string(data))
		}
	}
	return ""
}

// lead points every replica's way to Redis at the master.
func (h *house) lead() error {
	var all error
	for _, r := range h.replicas {
		all = errors.Join(all, r.toRedis.lead(h.redis.current().address))
	}
	return all
}

// anyone returns a replica that answers, nil if none does.
func (h *house) anyone(first int) *client {
	for n := range h.replicas {
		if api, _ := h.replicas[(first+n)%len(h.replicas)].reach(); api != nil {
			return api
		}
	}
	return nil
}
