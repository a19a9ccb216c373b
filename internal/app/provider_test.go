package app

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/refresh"
	"github.com/refreshd/refreshd/internal/schedule"
)

// counted is a practice provider that counts its connections.
type counted struct {
	*practice.Server

	url string

	mu   sync.Mutex
	open map[net.Conn]bool
	all  int
}

func startCounted(t *testing.T) *counted {
	t.Helper()
	c := &counted{
		Server: practice.New(practice.Options{Clients: []practice.Client{{ID: "demo", Secret: clientSecret}}}),
		open:   map[net.Conn]bool{},
	}
	server := httptest.NewUnstartedServer(c.Handler())
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch state {
		case http.StateNew:
			c.all++
			c.open[conn] = true
		case http.StateClosed, http.StateHijacked:
			delete(c.open, conn)
		case http.StateActive, http.StateIdle:
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(c.Close)
	c.url = server.URL
	return c
}

func (c *counted) count() (open, all int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open), c.all
}

// exchange refreshes a grant that was just minted.
func (c *counted) exchange(t *testing.T, target refresh.Target) {
	t.Helper()
	minted, err := c.Mint(practice.MintRequest{Count: 1})
	require.NoError(t, err)
	require.Nil(t, target.Exchanger.Prepare(t.Context()))
	kept := 0
	outcome := target.Exchanger.Exchange(t.Context(), credential.Presentation{
		Token:   credential.Token{Refresh: credential.NewSecret(minted[0].RefreshToken)},
		MaySend: func() error { return nil },
		Keep: func(found credential.Found) error {
			kept++
			assert.True(t, found.Complete)
			return nil
		},
	})
	require.Equal(t, credential.ClassOK, outcome.Class, outcome.Detail)
	require.Equal(t, 1, kept)
}

func newProviders(t *testing.T) *providers {
	t.Helper()
	ps := &providers{version: "test", log: zerolog.Nop()}
	t.Cleanup(ps.close)
	return ps
}

func (ps *providers) take(t *testing.T, conf *config.Config) refresh.Target {
	t.Helper()
	targets, settle, err := ps.build(conf)
	require.NoError(t, err)
	require.Len(t, targets, 1)
	settle(true)
	return targets[0]
}

func TestUnchangedProviderKeepsItsConnections(t *testing.T) {
	t.Parallel()
	server := startCounted(t)
	f := newFolder(t, server.url+"/token")
	ps := newProviders(t)
	first := ps.take(t, f.load(t))
	server.exchange(t, first)

	f.config["listen"] = "127.0.0.1:1" // nothing that is the provider's
	second := ps.take(t, f.load(t))
	server.exchange(t, second)
	_, all := server.count()
	assert.Equal(t, 1, all, "both exchanges shared a connection")
	assert.Equal(t, first.Settings, second.Settings)

	f.acme(t)["timeout"] = "7s"
	third := ps.take(t, f.load(t))
	assert.NotEqual(t, first.Settings, third.Settings)
	assert.Equal(t, credential.DefaultTimes(7*time.Second), third.Policy.Times)
	eventually(t, "the old connection is closed", func() bool { open, _ := server.count(); return open == 0 })
	server.exchange(t, third)
	server.exchange(t, second) // by who had looked it up before
	eventually(t, "its connection is not kept", func() bool { open, _ := server.count(); return open == 1 })

	delete(f.config, "providers")
	targets, settle, err := ps.build(f.load(t))
	require.NoError(t, err)
	assert.Empty(t, targets)
	settle(true)
	eventually(t, "a provider that was removed is closed", func() bool { open, _ := server.count(); return open == 0 })
}

func TestTargetsThatAreNotTakenOverAreClosed(t *testing.T) {
	t.Parallel()
	server := startCounted(t)
	f := newFolder(t, server.url+"/token")
	ps := newProviders(t)
	current := ps.take(t, f.load(t))
	server.exchange(t, current)

	f.acme(t)["timeout"] = "7s"
	targets, settle, err := ps.build(f.load(t))
	require.NoError(t, err)
	server.exchange(t, targets[0])
	open, all := server.count()
	require.Equal(t, []int{2, 2}, []int{open, all})
	settle(false)
	eventually(t, "only the current one's is left", func() bool { open, _ := server.count(); return open == 1 })
	server.exchange(t, current)
	_, all = server.count()
	assert.Equal(t, 2, all, "the current one went on with the connection it had")
}

func TestFailedBuildChangesNothing(t *testing.T) {
	t.Parallel()
	server := startCounted(t)
	f := newFolder(t, server.url+"/token")
	ps := newProviders(t)
	current := ps.take(t, f.load(t))
	server.exchange(t, current)
	before := ps.built["acme"]

	f.acme(t)["timeout"] = "7s"
	conf := f.load(t)
	bad := conf.Providers["acme"]
	bad.HTTP.CAFile = filepath.Join(t.TempDir(), "missing.pem")
	conf.Providers["zeta"] = bad
	targets, settle, err := ps.build(conf)
	require.ErrorContains(t, err, "providers.zeta: ")
	without(t, err.Error(), clientSecret)
	assert.Nil(t, targets)
	assert.Nil(t, settle)
	assert.Equal(t, before, ps.built["acme"])
	server.exchange(t, current)
	_, all := server.count()
	assert.Equal(t, 1, all)
}

// The settings are known again by a fingerprint, which shows none of them.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	f := newFolder(t, "https://id.acme.example/token")
	base := fingerprint(f.load(t).Providers["acme"])
	assert.Equal(t, base, fingerprint(f.load(t).Providers["acme"]), "the same file, the same settings")
	assert.Len(t, base, 64)
	seen := map[string]string{base: "nothing"}
	differs := func(what string, set config.Provider) {
		t.Helper()
		sum := fingerprint(set)
		if other, ok := seen[sum]; ok {
			t.Errorf("%s: the same as with %s", what, other)
		}
		seen[sum] = what
	}
	set := f.load(t).Providers["acme"]
	set.ClientSecret = credential.NewSecret("another")
	differs("another secret", set)
	set.HTTP.Proxy = credential.NewSecret("http://proxy.example:3128")
	differs("a proxy", set)
	set.HTTP.Proxy = credential.NewSecret("http://user:password@proxy.example:3128")
	differs("a proxy with a password", set)
	set.ClientID = "other"
	differs("another client", set)
	var err error
	set.Fetch, err = schedule.Parse("@every 45m")
	require.NoError(t, err)
	differs("a schedule", set)
	set.HTTP.CAFile = f.write(t, "ca.pem", "one")
	differs("a CA file", set)
	f.write(t, "ca.pem", "two")
	differs("a CA file that was renewed in its place", set)
}

func TestPolicyIsThatOfTheConfiguration(t *testing.T) {
	t.Parallel()
	f := newFolder(t, "https://id.acme.example/token")
	f.config["schedule"] = map[string]any{"refresh_at": 0.5, "jitter": 0.05, "min_interval": "7s"}
	acme := f.acme(t)
	acme["default_lifetime"] = "30m"
	acme["timeout"] = "9s"
	acme["rotation"] = map[string]any{"rotates": "yes", "grace": "1m"}
	acme["refresh_token"] = map[string]any{"idle": "240h", "absolute": "2400h"}
	conf := f.load(t)
	assert.Equal(t, credential.Policy{
		RefreshAt: 0.5, Jitter: 0.05, MinInterval: 7 * time.Second, DefaultLifetime: 30 * time.Minute,
		Rotates: credential.RotatesYes, Grace: time.Minute,
		RefreshIdle: 240 * time.Hour, RefreshAbsolute: 2400 * time.Hour, WarnBefore: warnBefore,
		Times: credential.DefaultTimes(9 * time.Second),
	}, policy(conf, conf.Providers["acme"]))
}

func TestDrainWaitsForTheSlowestProvider(t *testing.T) {
	t.Parallel()
	f := newFolder(t, "https://id.acme.example/token")
	usual := credential.DefaultTimes(0)
	f.acme(t)["timeout"] = "1s"
	assert.Equal(t, usual.Exchange+usual.Commit+usual.Margin, longestAttempt(f.load(t)), "never less than usual")
	f.acme(t)["timeout"] = "3m"
	assert.Equal(t, 3*time.Minute+usual.Commit+usual.Margin, longestAttempt(f.load(t)))
}

func TestPrepareSaysThatNothingWasSent(t *testing.T) {
	t.Parallel()
	f := newFolder(t, "")
	acme := f.acme(t)
	delete(acme, "token_url")
	acme["issuer"] = "http://127.0.0.1:1"
	target := newProviders(t).take(t, f.load(t))
	outcome := target.Exchanger.Prepare(t.Context())
	require.NotNil(t, outcome)
	assert.Equal(t, credential.ClassNotSent, outcome.Class)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.NotNil(t, target.Exchanger.Prepare(gone))
}

// What no provider can be built of is told where the configuration is checked,
// in the same words by all who load it.
func TestWhatCannotBeBuiltIsFoundInTheConfiguration(t *testing.T) {
	t.Parallel()
	request := map[string]any{"method": "POST", "url": "https://shop.example/login", "form": map[string]any{"u": "{{.username}}", "p": "{{.password}}"}}
	for name, tt := range map[string]struct {
		change func(shop, acme map[string]any)
		want   string
	}{
		"a header of the transport": {
			func(shop, _ map[string]any) { shop["send"] = map[string]any{"header": "Idempotency-Key"} },
			`providers.shop.send.header: "Idempotency-Key" says where a request ends`,
		},
		"a path without a name": {
			func(shop, _ map[string]any) {
				shop["login"] = map[string]any{"request": request, "response": map[string]any{"access_token": "a|"}}
			},
			`providers.shop.login.response.access_token: the path "a|": its last part is empty`,
		},
		"a path that is too long": {
			func(shop, _ map[string]any) {
				shop["session"] = map[string]any{"idle_timeout": "1h", "logged_out_when": []any{map[string]any{"json": strings.Repeat("a", 300)}}}
			},
			`providers.shop.session.logged_out_when[0]: the path "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"… has 300 bytes; a path has at most 256`,
		},
		"a status that is no answer": {
			func(_, acme map[string]any) {
				acme["errors"] = []any{map[string]any{"status": 150, "class": "transient"}}
			},
			`providers.acme.errors[0]: invalid error matcher: status 150; give one from 200 to 599`,
		},
		"a proxy of another kind": {
			func(_, acme map[string]any) { acme["http"] = map[string]any{"proxy": "socks5://proxy.example:1080"} },
			`providers.acme.http.proxy: it is not the URL of a proxy; write http://`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFolder(t, "https://id.example/token")
			shop := map[string]any{
				"kind":  "http",
				"login": map[string]any{"request": request, "response": map[string]any{"access_token": "token"}},
			}
			acme := f.acme(t)
			f.config["providers"] = map[string]any{"acme": acme, "shop": shop}
			f.load(t)
			tt.change(shop, acme)

			path := f.save(t)
			_, err := LoadConfig(path, nil)
			require.ErrorContains(t, err, path+":1: "+tt.want)
			found := f.diagnose(t)
			require.Len(t, found, 1)
			assert.Contains(t, found[0].What, path+":1: "+tt.want)
			_, err = CheckProvider(t.Context(), ProviderCheckOptions{Config: path, Name: "shop"})
			require.ErrorContains(t, err, path+":1: "+tt.want)
		})
	}
}
