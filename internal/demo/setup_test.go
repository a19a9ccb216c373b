package demo

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/practice"
)

func options() Options {
	return Options{Refreshd: "refreshd", Credentials: 50, AccessTTL: 20 * time.Second}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	require.NoError(t, options().Validate())
	for flag, change := range map[string]func(*Options){
		"--refreshd":    func(o *Options) { o.Refreshd = "" },
		"--credentials": func(o *Options) { o.Credentials = 0 },
		"--access-ttl":  func(o *Options) { o.AccessTTL = time.Second },
		"--for":         func(o *Options) { o.For = -1 },
	} {
		o := options()
		change(&o)
		err := o.Validate()
		require.ErrorIs(t, err, ErrOptions)
		assert.ErrorContains(t, err, flag)
	}
}

func TestChildIsNotLedAstrayByTheEnvironment(t *testing.T) {
	t.Parallel()
	o := options()
	o.Env = []string{"PATH=/bin", "REFRESHD_REDIS_URL=redis://elsewhere", "NOTIFY_SOCKET=/run/x", "WATCHDOG_USEC=1", "NO_COLOR=1"}
	assert.Equal(t, []string{"PATH=/bin", "NO_COLOR=1"}, o.childEnv())
	assert.Equal(t, "1", o.env("NO_COLOR"))
	assert.Empty(t, o.env("NO_COLO"))
}

// The configuration that is written is one that refreshd takes, without a
// word of warning.
func TestConfigIsValid(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 50, maxCredentials} {
		o := options()
		o.Credentials, o.AccessTTL = n, minAccessTTL
		dir := folder(t.TempDir())
		require.NoError(t, dir.write(configText("127.0.0.1:7420", "http://127.0.0.1:7421", perSecond(o)), credential.NewSecret("hush")))
		conf, err := config.Load(dir.config(), nil, nil)
		require.NoError(t, err)
		assert.Empty(t, conf.Warnings)
		assert.Equal(t, filepath.Dir(dir.adminKey()), conf.DataDir)
		p := conf.Providers[providerName]
		assert.Equal(t, "hush", p.ClientSecret.Reveal())
		assert.GreaterOrEqual(t, p.Limits.PerSecond, 2*float64(n)/minAccessTTL.Seconds())
	}
}

// One that somebody kills as it is told to stop was not stopped by us.
func TestChildThatIsKilledAsItStops(t *testing.T) {
	t.Parallel()
	dir := folder(t.TempDir())
	program := filepath.Join(string(dir), "dies")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\ntrap 'kill -9 $$' TERM\necho ready\nwhile :; do sleep 0.05; done\n"), 0o700))
	c, err := startChild(dir, Options{Refreshd: program})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return tail(dir.log(), 1) == "ready" }, time.Minute, time.Millisecond)
	err = c.stop(t.Context(), time.Minute)
	require.ErrorIs(t, err, ErrChildEnded)
	assert.ErrorContains(t, err, "signal: killed")
}

func TestFreeAddress(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	got, err := freeAddress(t.Context(), taken.Addr().String())
	require.NoError(t, err)
	assert.NotEqual(t, taken.Addr().String(), got)
	_, err = freeAddress(t.Context(), "nonsense")
	require.Error(t, err)
}

func TestFaultIsA503(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	o := options()
	o.Out = &out
	d := &demo{o: o, board: newBoard(), out: newOutput(o), provider: practice.New(practice.Options{})}
	require.NoError(t, d.injectFault())
	faults := d.provider.Faults()
	require.Len(t, faults, 1)
	assert.True(t, faults[0].Active)
	assert.Equal(t, http.StatusServiceUnavailable, faults[0].Fault.Status)
	assert.Equal(t, faultLasts, faults[0].Fault.For)
	assert.Contains(t, out.String(), "  -- the provider answers 503 for 3s\n")
	assert.Contains(t, d.board.notice, "503")
}

// A reader that has gone ends the demo.
func TestOutputKeepsItsFirstError(t *testing.T) {
	t.Parallel()
	o := options()
	o.Out = gone{}
	out := newOutput(o)
	out.begin(somewhere())
	out.tick(newBoard(), noon())
	require.ErrorIs(t, out.err, io.ErrClosedPipe)
}

type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A service that answers, and does not know the key, is somebody else's.
func TestReadyMeansOurOwn(t *testing.T) {
	t.Parallel()
	keyFile := filepath.Join(t.TempDir(), "admin.key")
	require.NoError(t, os.WriteFile(keyFile, []byte("ours\n"), 0o600))
	for key, want := range map[string]string{"ours": "kind (how)", "theirs": ""} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" && r.Header.Get("Authorization") != "Bearer "+key {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, err := io.WriteString(w, `{"redis":{"kind":"kind","durability":"how"}}`)
			assert.NoError(t, err)
		}))
		t.Cleanup(server.Close)
		s := newService(server.Listener.Addr().String(), 1)
		t.Cleanup(s.close)
		ended := make(chan struct{})
		close(ended)
		store, err := s.awaitReady(t.Context(), keyFile, ended)
		assert.Equal(t, want, store)
		if want == "" {
			require.ErrorIs(t, err, ErrChildEnded)
		}
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(path, []byte("1\n2\n3\n"), 0o600))
	assert.Equal(t, "2\n3", tail(path, 2))
	assert.Equal(t, "1\n2\n3", tail(path, 9))
	assert.Contains(t, tail(path+".no", 2), "no such file")
}
