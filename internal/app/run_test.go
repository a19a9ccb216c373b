package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

// The tests of this file set variables of the process, or a logger of go-redis
// that all share: they run one after the other.

// running is a service in this process.
type running struct {
	*folder

	t      *testing.T
	log    *logged
	reload chan struct{}
	stop   context.CancelCauseFunc
	ended  chan struct{}
	err    error // of Run, once it has ended
	base   string
	key    string
	client *http.Client
}

// run runs the service with the in-process store until the end of the test.
func run(t *testing.T, f *folder, roles Roles) *running {
	t.Helper()
	if f.config["redis"] == nil {
		t.Setenv("PATH", f.dir) // there is no redis-server in there
	}
	r := begin(t, f, roles)
	found := r.log.await(t, 1, `"listen":"([^"]*)".*"message":"ready"`)
	r.base = "http://" + found[1]
	key, err := os.ReadFile(filepath.Join(f.dir, "data", "admin.key"))
	require.NoError(t, err)
	r.key = strings.TrimSpace(string(key))
	return r
}

func begin(t *testing.T, f *folder, roles Roles) *running {
	t.Helper()
	ctx, stop := context.WithCancelCause(t.Context())
	r := &running{
		folder: f, t: t, log: newLogged(), reload: make(chan struct{}), stop: stop, ended: make(chan struct{}),
		client: &http.Client{Timeout: patience, Transport: &http.Transport{}},
	}
	path := f.save(t)
	go func() {
		defer close(r.ended)
		r.err = Run(ctx, Options{Config: path, Roles: roles, Version: "test", LogTo: r.log, Reload: r.reload})
	}()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		stop(nil)
		<-r.ended
		if t.Failed() {
			t.Logf("log of the service:\n%s", r.log)
		}
	})
	return r
}

// end stops the service and returns what Run did.
func (r *running) end() error {
	r.t.Helper()
	r.stop(fmt.Errorf("%w: by the test", ErrStopped))
	select {
	case <-r.ended:
		return r.err
	case <-time.After(patience):
		r.t.Fatalf("it did not end:\n%s", r.log)
		return nil
	}
}

// call makes a call with the admin key and returns status and answer.
func (r *running) call(method, path string, body any) (int, map[string]any) {
	r.t.Helper()
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		require.NoError(r.t, err)
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.base+path, content)
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+r.key)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.client.Do(req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	var answer map[string]any
	require.NoError(r.t, json.Unmarshal(data, &answer))
	return resp.StatusCode, answer
}

func loginBody(minted practice.Minted) map[string]any {
	return map[string]any{"provider": "acme", "token": map[string]any{
		"access_token": minted.AccessToken, "refresh_token": minted.RefreshToken, "expires_in": 3600,
	}}
}

func (p *practiceProvider) mint(t *testing.T) practice.Minted {
	t.Helper()
	minted, err := p.Mint(practice.MintRequest{Count: 1})
	require.NoError(t, err)
	return minted[0]
}

func everything() Roles { return Roles{API: true, Scheduler: true, Worker: true} }

func TestRunFromStartToStopAndAgain(t *testing.T) {
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	systemd := supervise(t, 10*time.Millisecond).keep(t)
	r := run(t, f, everything())
	systemd.await(t, 1, "^READY=1\n(WATCHDOG=1\n)+")

	status, ready := r.call(http.MethodGet, "/readyz", nil)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, true, ready["ready"])
	assert.Contains(t, fmt.Sprint(ready["checks"]), "in-process store")

	minted := provider.mint(t)
	status, record := r.call(http.MethodPut, "/v1/credentials/run:alice", loginBody(minted))
	require.Equal(t, http.StatusCreated, status, record)
	status, token := r.call(http.MethodPost, "/v1/credentials/run:alice/refresh", map[string]any{})
	require.Equal(t, http.StatusOK, status, token)
	refreshed, _ := token["access_token"].(string)
	require.NotEqual(t, minted.AccessToken, refreshed)
	require.NotEmpty(t, refreshed)

	status, told := r.call(http.MethodGet, "/v1/status", nil)
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, "test", told["version"])
	assert.Equal(t, []any{"api", "scheduler", "worker"}, told["roles"])
	assert.Contains(t, fmt.Sprint(told["redis"]), "kind:embedded-memory")
	assert.Contains(t, fmt.Sprint(told["providers"]), "schedule:@every 15m")

	// The settings are loaded again, or the old ones stay.
	r.reload <- struct{}{}
	systemd.await(t, 1, "RELOADING=1\n(WATCHDOG=1\n)*READY=1\n")
	r.log.await(t, 1, `the configuration was loaded again`)
	f.write(t, "config.yaml", "lisen: nowhere\n")
	r.reload <- struct{}{}
	r.log.await(t, 1, `"level":"error".*lisen.*the configuration was not loaded again, the old one stays in force`)
	status, _ = r.call(http.MethodPost, "/v1/credentials/run:alice/refresh", map[string]any{})
	assert.Equal(t, http.StatusOK, status, "the old provider goes on")
	delete(f.config, "providers")
	f.config["offline_reads"] = "1m"
	f.save(t)
	r.reload <- struct{}{}
	r.log.await(t, 1, `"key":"offline_reads".*this key has changed; it takes effect with the next start`)
	r.log.await(t, 2, `the configuration was loaded again`)
	r.log.await(t, 1, `"provider":"acme","credentials":1,.*belong to a provider that the configuration does not have`)
	delete(f.config, "offline_reads")
	f.save(t)
	r.reload <- struct{}{}
	r.log.await(t, 3, `the configuration was loaded again`)
	assert.Equal(t, 1, strings.Count(r.log.String(), "this key has changed"), "the file has again what runs")
	status, answer := r.call(http.MethodPut, "/v1/credentials/run:bob", loginBody(provider.mint(t)))
	assert.Equal(t, http.StatusUnprocessableEntity, status, "acme is gone: %v", answer)
	_, before := r.call(http.MethodGet, "/v1/credentials/run:alice", nil)

	// Stopped while somebody follows the events.
	following, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.base+"/v1/events", nil)
	require.NoError(t, err)
	following.Header.Set("Authorization", "Bearer "+r.key)
	stream, err := r.client.Do(following)
	require.NoError(t, err)
	require.NoError(t, r.end())
	_, err = io.Copy(io.Discard, stream.Body)
	require.NoError(t, err, "the stream was ended, not cut")
	require.NoError(t, stream.Body.Close())
	systemd.await(t, 1, "(RELOADING=1\n(WATCHDOG=1\n)*READY=1\n(WATCHDOG=1\n)*){4}STOPPING=1\n")
	r.log.await(t, 1, `"why":"told to stop: by the test".*draining`)
	r.log.await(t, 1, `"message":"stopped"`)
	without(t, r.log.String(), minted.AccessToken, minted.RefreshToken, refreshed, clientSecret, r.key)

	// Everything is there after the next start, the key too.
	f.config["providers"] = newFolder(t, provider.url+"/token").config["providers"]
	again := run(t, f, everything())
	assert.Equal(t, r.key, again.key)
	status, record = again.call(http.MethodGet, "/v1/credentials/run:alice", nil)
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, before["version"], record["version"])
	status, token = again.call(http.MethodPost, "/v1/credentials/run:alice/refresh", map[string]any{})
	require.Equal(t, http.StatusOK, status, token)
	require.NoError(t, again.end())
	for _, entry := range provider.Ledger(practice.LedgerQuery{Grant: minted.Grant}) {
		assert.Equal(t, "rotated", string(entry.Outcome))
	}
}

func TestRunReloadsWhenASecretsFileChanges(t *testing.T) {
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	r := run(t, f, everything())
	minted := provider.mint(t)
	status, answer := r.call(http.MethodPut, "/v1/credentials/run:alice", loginBody(minted))
	require.Equal(t, http.StatusCreated, status, answer)
	provider.SetClientSecret("demo", "cs-the-next-canary")
	f.write(t, "client.secret", "cs-the-next-canary")
	r.log.await(t, 1, `the configuration was loaded again`)
	status, answer = r.call(http.MethodPost, "/v1/credentials/run:alice/refresh", map[string]any{})
	require.Equal(t, http.StatusOK, status, answer)
	require.NoError(t, r.end())
	without(t, r.log.String(), "cs-the-next-canary")
}

func TestRunWithMetricsAlone(t *testing.T) {
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f.config["metrics_listen"] = ln.Addr().String()
	require.NoError(t, ln.Close()) // for the service to have
	r := run(t, f, Roles{Worker: true})
	assert.Equal(t, "http://", r.base, "no API")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ln.Addr().String(), nil)
	require.NoError(t, err)
	resp, err := r.client.Do(req)
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Contains(t, string(data), "\ngo_goroutines ")
	without(t, string(data), clientSecret)
	require.NoError(t, r.end())
}

func TestRunRefusesABadFile(t *testing.T) {
	f := newFolder(t, "not a URL")
	r := begin(t, f, everything())
	<-r.ended
	require.ErrorContains(t, r.err, "providers.acme.token_url")
	assert.Empty(t, r.log.String())
	assert.NoDirExists(t, filepath.Join(f.dir, "data"))
}

// A folder that cannot be used is named, with what it has to be.
func TestRunRefusesAFolderThatCannotBeUsed(t *testing.T) {
	for what, spoil := range map[string]func(data string) error{
		"data_dir: mkdir ": func(data string) error { return os.WriteFile(data, nil, 0o600) },
		"journal folder: mkdir ": func(data string) error {
			return errors.Join(os.Mkdir(data, 0o700), os.WriteFile(filepath.Join(data, "journal"), nil, 0o600))
		},
		"name of the journal folder: ": func(data string) error { return os.MkdirAll(filepath.Join(data, "journal", "place"), 0o700) },
	} {
		f := newFolder(t, "https://id.acme.example/token")
		data := filepath.Join(f.dir, "data")
		require.NoError(t, spoil(data))
		t.Setenv("PATH", f.dir)
		r := begin(t, f, everything())
		<-r.ended
		require.ErrorContains(t, r.err, what)
		require.ErrorContains(t, r.err, data)
		require.ErrorContains(t, r.err, "; it must be a folder, mode 0700, owned by the user that runs refreshd")
	}
}

// What fails late in a start is undone from there on: the folder is free again.
func TestRunThatCannotListenUndoesItsStart(t *testing.T) {
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	f.config["listen"] = strings.TrimPrefix(provider.url, "http://")
	t.Setenv("PATH", f.dir)
	r := begin(t, f, everything())
	<-r.ended
	require.ErrorContains(t, r.err, "listen: ")
	require.ErrorContains(t, r.err, "address already in use; stop what listens there")
	f.config["listen"] = "127.0.0.1:0"
	require.NoError(t, run(t, f, everything()).end())
}

func TestRunToldToStopWhileItWaitsForRedis(t *testing.T) {
	f := newFolder(t, "https://id.acme.example/token")
	f.config["redis"] = map[string]any{"url": "redis://127.0.0.1:1"}
	r := begin(t, f, everything())
	r.log.await(t, 1, `(?i)redis`)
	require.NoError(t, r.end(), "it did as it was told")
}

// A second certificate takes the place of the first without a restart.
func TestRunServesTheRenewedCertificate(t *testing.T) {
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	f.config["tls"] = map[string]any{"cert": "./cert.pem", "key": "./key.pem"}
	first := f.certificate(t, 1)
	r := run(t, f, everything())
	r.base = "https" + strings.TrimPrefix(r.base, "http")
	assert.Equal(t, first, r.presented(t))
	f.write(t, "cert.pem", "not a certificate")
	r.reload <- struct{}{}
	r.log.await(t, 1, `was not loaded again`)
	assert.Equal(t, first, r.presented(t))
	second := f.certificate(t, 2)
	r.reload <- struct{}{}
	r.log.await(t, 1, `was loaded again`)
	assert.Equal(t, second, r.presented(t))
	require.NoError(t, r.end())
}

// presented is the serial number of the certificate that the service shows.
func (r *running) presented(t *testing.T) string {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // looks at what is presented, whoever signed it
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(r.base, "https://"))
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // only looked at
	secure, ok := conn.(*tls.Conn)
	require.True(t, ok)
	return secure.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// While Redis is away, tokens that were served go on being served, and whoever
// asks is told how things are.
func TestServiceWithoutItsRedis(t *testing.T) {
	redis := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	f.config["redis"] = map[string]any{"url": redis.URL()}
	r := run(t, f, everything())
	status, ready := r.call(http.MethodGet, "/readyz", nil)
	require.Equal(t, http.StatusOK, status)
	assert.Contains(t, fmt.Sprint(ready["checks"]), "appendfsync always")
	minted := provider.mint(t)
	status, answer := r.call(http.MethodPut, "/v1/credentials/run:alice", loginBody(minted))
	require.Equal(t, http.StatusCreated, status, answer)
	token := func() {
		t.Helper()
		status, answer := r.call(http.MethodGet, "/v1/credentials/run:alice/token", nil)
		require.Equal(t, http.StatusOK, status, answer)
		assert.Equal(t, minted.AccessToken, answer["access_token"])
	}
	token()

	require.NoError(t, redis.Pause()) // takes connections and says nothing
	status, ready = r.call(http.MethodGet, "/readyz", nil)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, fmt.Sprint(ready["checks"]), "not reachable")
	require.NoError(t, redis.Resume())
	require.NoError(t, redis.Stop())
	status, ready = r.call(http.MethodGet, "/readyz", nil)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, fmt.Sprint(ready["checks"]), "not reachable")
	token()
	status, told := r.call(http.MethodGet, "/v1/status", nil)
	require.Equal(t, http.StatusOK, status, "told, not refused: %v", told)
	assert.Contains(t, fmt.Sprint(told["redis"]), "reachable:false")
	status, _ = r.call(http.MethodPut, "/v1/credentials/run:bob", loginBody(provider.mint(t)))
	assert.Equal(t, http.StatusServiceUnavailable, status)

	require.NoError(t, redis.Restart(t.Context()))
	eventually(t, "Redis is found again", func() bool {
		_, told := r.call(http.MethodGet, "/v1/status", nil)
		return strings.Contains(fmt.Sprint(told["redis"]), "reachable:true")
	})
	token()
	require.NoError(t, r.end())
	without(t, r.log.String(), minted.AccessToken, minted.RefreshToken)
}

// Who asks a Redis that has lost everything for records and lists is never told
// that there is nothing: neither right after its data were deleted, nor after it
// came back empty.
func TestAnEmptyRedisIsNotShown(t *testing.T) {
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "everysec"})
	opts, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(opts)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	f.config["redis"] = map[string]any{"url": server.URL()}
	r := run(t, f, everything())
	status, answer := r.call(http.MethodPut, "/v1/credentials/run:alice", loginBody(provider.mint(t)))
	require.Equal(t, http.StatusCreated, status, answer)
	for _, path := range []string{"/v1/credentials", "/v1/credentials/run:alice"} {
		status, answer = r.call(http.MethodGet, path, nil)
		require.Equal(t, http.StatusOK, status, answer)
	}

	require.NoError(t, client.FlushAll(t.Context()).Err())
	for _, path := range []string{"/v1/credentials", "/v1/credentials/run:alice", "/v1/credentials/run:alice/user-data"} {
		status, answer = r.call(http.MethodGet, path, nil)
		assert.Equal(t, http.StatusServiceUnavailable, status, "%s: %v", path, answer)
	}

	require.NoError(t, server.Stop())
	require.NoError(t, server.Restart(t.Context()))
	eventually(t, "everything is put back that was kept, or told to be missing", func() bool {
		status, answer := r.call(http.MethodGet, "/v1/credentials/run:alice", nil)
		require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, status, answer)
		return status == http.StatusOK
	})
	status, answer = r.call(http.MethodGet, "/v1/credentials", nil)
	assert.Equal(t, http.StatusServiceUnavailable, status, answer)
	require.NoError(t, r.end())
}

// A process without the worker's role has no journal. It leaves the refresh to
// one that has.
func TestProcessWithoutAJournalAsksOneThatHas(t *testing.T) {
	redis := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	f.config["redis"] = map[string]any{"url": redis.URL()}
	front := run(t, f, Roles{API: true})
	back := begin(t, f, Roles{Worker: true, Scheduler: true})
	back.log.await(t, 1, `"message":"ready"`)
	files, err := filepath.Glob(filepath.Join(f.dir, "data", "journal", "*.wal"))
	require.NoError(t, err)
	assert.Len(t, files, 1, "the worker's")
	minted := provider.mint(t)
	status, answer := front.call(http.MethodPut, "/v1/credentials/run:alice", loginBody(minted))
	require.Equal(t, http.StatusCreated, status, answer)
	status, answer = front.call(http.MethodPost, "/v1/credentials/run:alice/refresh", map[string]any{})
	require.Equal(t, http.StatusOK, status, answer)
	assert.NotEqual(t, minted.AccessToken, answer["access_token"])
	back.log.await(t, 1, `"credential":"run:alice".*`+string(credential.EventRefreshed))
	require.NoError(t, front.end())
	require.NoError(t, back.end())
}
