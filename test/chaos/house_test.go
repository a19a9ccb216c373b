package chaos

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// The times of a campaign: short lives and short allowances, so that much
// happens in little time.
const (
	life         = 4 * time.Second  // of the access tokens of most providers
	lastingLife  = 20 * time.Second // of the others'
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

// lifeOf is how long a provider's access tokens live.
func lifeOf(name string) time.Duration {
	if name == lasting {
		return lastingLife
	}
	return life
}

// provider is a practice provider, with a door for each replica.
type provider struct {
	harness.Provider

	name  string
	calls *calls
	doors []string // addresses, by replica
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
	receiver  *harness.Receiver
	program   string
	keyset    string
}

func buildHouse(t *testing.T, dir, kind string) *house {
	t.Helper()
	h := &house{
		t: t, dir: dir, keyset: filepath.Join(dir, "keyset.json"), ways: newLinks(), providers: map[string]*provider{},
		secret: "cs_" + rand.Text(), hookKey: "whsec_" + base64.StdEncoding.EncodeToString([]byte("a secret of thirty-two bytes or so")),
	}
	t.Cleanup(h.ways.close)
	h.program = option[string](t, flagProgram)
	if h.program == "" {
		h.program = testproc.Build(t, testproc.BuildOptions{Package: "github.com/refreshd/refreshd/cmd/refreshd", Tags: "failpoints"})
	}
	h.redis = startPair(t, kind, dir, h.ways)
	for _, name := range providerNames() {
		h.providers[name] = h.newProvider(name)
	}
	h.receiver = harness.NewReceiver(t, h.hookKey)
	var err error
	h.hook, err = h.ways.open("hook", addressOf(h.receiver.URL))
	require.NoError(t, err)
	for n := range replicas {
		h.replicas = append(h.replicas, h.newReplica(n))
	}
	return h
}

func (h *house) newProvider(name string) *provider {
	h.t.Helper()
	o := practice.Options{AccessTTL: lifeOf(name), Latency: latency, Clients: []practice.Client{{ID: clientID, Secret: h.secret}}}
	switch name {
	case grace:
		o.Reuse, o.Grace = practice.ReuseGrace, graceTime
	case plain:
		o.NoRotate = true
	}
	p := &provider{Provider: harness.Provider{Server: practice.New(o), Secret: h.secret}, name: name, calls: &calls{}}
	h.t.Cleanup(p.Close)
	for n := range replicas {
		p.doors = append(p.doors, addressOf(harness.Serve(h.t, harness.ServeHTTP(p.calls.wrap(n, p.Handler())))))
	}
	return p
}

// addressOf is what a URL leads to.
func addressOf(url string) string { return strings.TrimPrefix(url, "http://") }

func (h *house) newReplica(n int) *replica {
	h.t.Helper()
	dir := folder(h.t, h.dir, laneReplica(n))
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = log.Close() })
	r := &replica{n: n, program: h.program, dir: dir, log: log, ways: map[string]*link{}, key: h.adminKey}
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
		base := harness.Serve(h.t, near.serve)
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
			"rotation": rotation, "timeout": exchangeTime.String(), "default_lifetime": lifeOf(name).String(),
			"limits": map[string]any{"concurrency": 256, "per_second": 2000},
		}
	}
	require.NoError(h.t, os.WriteFile(filepath.Join(h.dir, "client.secret"), []byte(h.secret), 0o600))
	require.NoError(h.t, os.WriteFile(filepath.Join(h.dir, "hook.secret"), []byte(h.hookKey), 0o600))
	require.NoError(h.t, r.configure(map[string]any{
		"listen": "127.0.0.1:0", "data_dir": r.data, "redis": map[string]any{"url": "redis://" + r.toRedis.address()},
		"keyset": map[string]any{"file": h.keyset}, "log": map[string]any{"level": "info"},
		"schedule": map[string]any{"min_interval": "0s"},
		"network":  map[string]any{"allow": []string{"127.0.0.0/8"}}, "providers": providers,
		"recovery": map[string]any{
			"quarantine": quarantine.String(), "silence": silenceTime.String(), "send": sendTime.String(),
			"commit": commitTime.String(), "margin": marginTime.String(),
		},
		"subscriptions": []any{map[string]any{
			"name": "ui", "url": "http://" + h.hook.address() + "/hook", "format": "webhook", "types": []string{"*"},
			"secret": map[string]any{"file": filepath.Join(h.dir, "hook.secret")},
			// Waits that fit a run: after two failures, five minutes would be the third.
			"retry": slices.Repeat([]string{"1s"}, 30),
		}},
	}))
	require.NoError(h.t, r.dropRules(""))
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

// mountName and the process's ID name a small disk in the list of mounts.
const mountName = "refreshd-chaos-"

// unmountLeft takes away the small disks of campaigns that were killed.
func unmountLeft(t *testing.T) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts") // a line each: name, folder, kind, options
	if err != nil {
		return // no Linux, no small disks
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		pid, isOurs := strings.CutPrefix(fields[0], mountName)
		if !isOurs {
			continue
		}
		if n, err := strconv.Atoi(pid); err == nil && syscall.Kill(n, 0) == nil {
			continue // it is in use
		}
		if err := syscall.Unmount(fields[1], 2); err != nil { // MNT_DETACH
			t.Logf("the small disk of an earlier campaign: %v", err)
		}
	}
}

// mount gives a folder a small disk of its own, where this process may.
func (h *house) mount(dir string) bool {
	unmountLeft(h.t)
	if err := syscall.Mount(mountName+strconv.Itoa(os.Getpid()), dir, "tmpfs", 0, "mode=0700,size="+strconv.Itoa(diskSize)); err != nil {
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
func (h *house) anyone(first int) *harness.API {
	for n := range h.replicas {
		if api, _ := h.replicas[(first+n)%len(h.replicas)].reach(); api != nil {
			return api
		}
	}
	return nil
}
