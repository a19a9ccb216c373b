package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
)

// TestScripts runs what users type. The scripts share one service, under IDs
// that start with their own names, and find it in these variables:
//
//	URL, KEY    of the service, for REFRESHD_URL and REFRESHD_KEY
//	CONFIG      a configuration that leads to it
//	PROVIDER    the URL of the practice provider, which the service knows as acme,
//	            and PROVIDERADDR its address
//	BACKEND     the URL of a backend that signs in, which the service knows as
//	            shop, and as air where its token is a session
//	PASSWORD    that it takes, of any user but those of the test's own words
//	HOOK        the URL of a receiver of events, whose paths /ok, /gone and /fails
//	            say how it answers; the service's own subscription is cli-fixed
//	FREE        an address that nobody listens on
//	OTHER       one where something speaks that is not HTTP
//	SILENT      one where nobody ever says a word
func TestScripts(t *testing.T) {
	t.Parallel()
	s := startService(t)
	free := listen(t, nil)
	other := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "220 mail.example ready\r\n"); _ = c.Close() })
	silent := listen(t, func(net.Conn) {})
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0") // a second per command otherwise
			env.Setenv("URL", s.url)
			env.Setenv("KEY", s.key)
			env.Setenv("CONFIG", s.config)
			env.Setenv("PROVIDER", s.provider.url)
			env.Setenv("BACKEND", s.backend)
			env.Setenv("HOOK", s.hook)
			env.Setenv("PASSWORD", backendPassword)
			env.Setenv("PROVIDERADDR", strings.TrimPrefix(s.provider.url, "http://"))
			env.Setenv("FREE", free)
			env.Setenv("OTHER", other)
			env.Setenv("SILENT", silent)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":     exits,
			"becomes":   becomes,
			"mint":      s.mint,
			"withdraw":  s.withdraw,
			"secret":    secret,
			"refreshed": s.refreshed,
			"readkey":   readKey,
			"keyid":     keyID,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// listen returns a loopback address at which every connection is greeted until
// the end of the test, or, without a greeting, one that nobody listens on.
func listen(t *testing.T, greet func(net.Conn)) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	if greet == nil {
		require.NoError(t, ln.Close())
		return ln.Addr().String()
	}
	var served sync.WaitGroup
	served.Go(func() {
		var open []net.Conn
		for {
			c, err := ln.Accept()
			if err != nil {
				break
			}
			open = append(open, c)
			greet(c)
		}
		for _, c := range open {
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = ln.Close(); served.Wait() })
	return ln.Addr().String()
}

// exits CODE COMMAND… runs a command that must end with that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		ended, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = ended.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// becomesWithin bounds how long becomes asks.
const becomesWithin = time.Minute

// becomes EXPR COMMAND… runs a command until what it prints matches.
func becomes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: becomes EXPR COMMAND…")
	}
	expr, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), becomesWithin)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if expr.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("it never printed %s", args[0])
		}
	}
}

// mint FILE [LIFE] logs a user in at the provider and writes the token to a
// file, as refreshd put takes it. ACCESS and REFRESH are its secrets then,
// GRANT its name at the provider.
func (s *service) mint(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: mint FILE [LIFE]")
	}
	ask := practice.MintRequest{Count: 1, AccessTTL: new(time.Hour)}
	if len(args) == 2 {
		life, err := time.ParseDuration(args[1])
		ts.Check(err)
		ask.AccessTTL = &life
	}
	minted, err := s.provider.Mint(ask)
	ts.Check(err)
	one := minted[0]
	data, err := json.Marshal(map[string]any{
		"access_token": one.AccessToken, "refresh_token": one.RefreshToken, "expires_in": max(one.ExpiresIn, 1),
	})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
	ts.Setenv("ACCESS", one.AccessToken)
	ts.Setenv("REFRESH", one.RefreshToken)
	ts.Setenv("GRANT", one.Grant)
}

// withdraw GRANT has the user end a grant at the provider.
func (s *service) withdraw(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: withdraw GRANT")
	}
	if !s.provider.Revoke(args[0]) {
		ts.Fatalf("the provider knows no grant %s", args[0])
	}
}

// secret NAME… fails if the last command has printed the value of one of these
// variables, or half of it.
func secret(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: secret NAME…")
	}
	for _, name := range args {
		value := ts.Getenv(name)
		if len(value) < 16 {
			ts.Fatalf("%s is no secret: it has %d characters", name, len(value))
		}
		half := value[len(value)/2:]
		for _, from := range []string{"stdout", "stderr"} {
			if strings.Contains(ts.ReadFile(from), half) {
				ts.Fatalf("%s holds the secret %s", from, name)
			}
		}
	}
}

// refreshed ID waits until the service tells that it has refreshed a credential.
func (s *service) refreshed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: refreshed ID")
	}
	ts.Check(s.awaitRefreshed(context.Background(), args[0]))
}

// awaitRefreshed waits until the event log tells that a credential was
// refreshed.
func (s *service) awaitRefreshed(ctx context.Context, id string) error {
	r := &remote{base: s.url, key: s.key, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	query := url.Values{"cursor": {"0"}, "type": {"credential.refreshed"}, "prefix": {id}, "wait": {"30s"}}
	var page struct {
		Events []json.RawMessage `json:"events"`
	}
	if err := r.call(ctx, http.MethodGet, "/v1/events?"+query.Encode(), nil, &page); err != nil {
		return err
	}
	if len(page.Events) == 0 {
		return fmt.Errorf("%s was not refreshed", id)
	}
	return nil
}

// readkey FILE makes the key in a file the one that commands use.
func readKey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: readkey FILE")
	}
	ts.Setenv("REFRESHD_KEY", strings.TrimSpace(ts.ReadFile(args[0])))
}

// keyid NAME makes ID the ID of the key with that name.
func keyID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: keyid NAME")
	}
	ts.Check(ts.Exec("refreshd", "key", "list", "--output", "json"))
	var list struct {
		Keys []apiKey `json:"keys"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &list))
	for _, key := range list.Keys {
		if key.Name == args[0] {
			ts.Setenv("ID", key.ID)
			return
		}
	}
	ts.Fatalf("no key is named %s", args[0])
}

// Every command has a script that asks for its help: whoever adds one is
// reminded to add a test.
func TestEveryCommandIsInAScript(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/script/*.txtar")
	require.NoError(t, err)
	var all strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		all.Write(data)
	}
	root := (&program{}).root()
	for _, cmd := range root.Commands() {
		names := []string{cmd.CommandPath()}
		for _, sub := range cmd.Commands() {
			names = append(names, sub.CommandPath())
		}
		for _, name := range slices.Compact(names) {
			require.Contains(t, all.String(), fmt.Sprintf("%s ", name), "%s is in no script", name)
		}
	}
}
