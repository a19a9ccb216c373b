package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// operator is a client of the Redis under a running service.
func operator(t *testing.T, r *testproc.Redis) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(r.URL())
	require.NoError(t, err)
	opts.DisableIdentity = true
	client := redis.NewClient(opts)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	return client
}

// tell sends one command as redis-cli would.
func tell(t *testing.T, client *redis.Client, words ...any) {
	t.Helper()
	require.NoError(t, client.Do(t.Context(), words...).Err(), "%v", words)
}

// serviceOn is one process over a Redis, with credentials that live long.
func serviceOn(t *testing.T, r *testproc.Redis, count int) *trouble {
	t.Helper()
	h := newHouse(t, newProvider(t, providerOptions{Options: practice.Options{AccessTTL: time.Hour}}), r.URL())
	tr := &trouble{house: h, instance: h.start()}
	tr.minted = h.login(tr.api, count)
	return tr
}

// answers makes a call and returns its status, and what was told with it.
func (a *api) answers(t *testing.T, method, path string, body any) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := a.Call(ctx, method, path, body, nil)
	var refused *harness.Refusal
	switch {
	case err == nil:
		return http.StatusOK, ""
	case errors.As(err, &refused):
		return refused.Status, refused.Detail
	default:
		t.Fatalf("%s %s: %v", method, path, err)
		return 0, ""
	}
}

// A Redis that can be reached and refuses is no fault of the service: what can
// be served is served, the rest is 503 with a word why, and all of it works
// again afterwards, without a restart.
func TestRedisThatRefusesChanges(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		spoil, mend func(t *testing.T, r *testproc.Redis, client *redis.Client)
		puts        bool // logins, logouts and deletions are stored all the same
		word        string
	}{
		"out of memory": {
			spoil: func(t *testing.T, _ *testproc.Redis, c *redis.Client) {
				t.Helper()
				tell(t, c, "CONFIG", "SET", "maxmemory", "1")
			},
			mend: func(t *testing.T, _ *testproc.Redis, c *redis.Client) {
				t.Helper()
				tell(t, c, "CONFIG", "SET", "maxmemory", "0")
			},
			puts: true, word: "out of memory",
		},
		"read-only replica": {
			spoil: func(t *testing.T, _ *testproc.Redis, c *redis.Client) {
				t.Helper()
				tell(t, c, "REPLICAOF", "127.0.0.1", "1")
			},
			mend: func(t *testing.T, _ *testproc.Redis, c *redis.Client) {
				t.Helper()
				tell(t, c, "REPLICAOF", "NO", "ONE")
			},
			word: "read-only replica",
		},
		"disk full": {
			// A folder in the way of the snapshot fails it as a full disk does.
			spoil: func(t *testing.T, r *testproc.Redis, c *redis.Client) {
				t.Helper()
				require.NoError(t, os.MkdirAll(filepath.Join(r.Dir(), "dump.rdb", "in the way"), 0o700))
				tell(t, c, "CONFIG", "SET", "save", "3600 1000000")
				tell(t, c, "BGSAVE")
				eventually(t, patience, func() (bool, string) {
					info, err := c.Info(t.Context(), "persistence").Result()
					return err == nil && regexp.MustCompile(`rdb_last_bgsave_status:err`).MatchString(info), "the snapshot did not fail"
				})
			},
			mend: func(t *testing.T, _ *testproc.Redis, c *redis.Client) {
				t.Helper()
				tell(t, c, "CONFIG", "SET", "save", "")
			},
			word: "cannot write to its disk",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
			tr := serviceOn(t, server, 3)
			client := operator(t, server)
			row.spoil(t, server, client)

			status, _ := tr.answers(t, http.MethodGet, "/v1/credentials", nil)
			assert.Equal(t, http.StatusOK, status, "what is stored is listed")
			_, err := tr.Token(t.Context(), credentialID(0), 0)
			require.NoError(t, err, "and handed out")
			status, detail := tr.answers(t, http.MethodPost, harness.CredentialPath(credentialID(1))+"/refresh", nil)
			assert.Equal(t, http.StatusServiceUnavailable, status)
			assert.Contains(t, detail, row.word)
			minted, err := tr.provider.Mint(practice.MintRequest{Count: 1, First: 10})
			require.NoError(t, err)
			status, detail = tr.answers(t, http.MethodPut, harness.CredentialPath("acme:new"), login(minted[0], 3600))
			if row.puts {
				assert.Equal(t, http.StatusOK, status, "a login that somebody has just made is not thrown away")
				status, detail = tr.answers(t, http.MethodPost, harness.CredentialPath("acme:new")+"/logout", nil)
				assert.Equal(t, http.StatusOK, status, detail)
				status, detail = tr.answers(t, http.MethodDelete, harness.CredentialPath("acme:new"), nil)
				assert.Equal(t, http.StatusOK, status, detail)
			} else {
				assert.Equal(t, http.StatusServiceUnavailable, status)
				assert.Contains(t, detail, row.word)
			}
			assert.Zero(t, tr.provider.Summary().Presentations, "nothing is sent whose beginning could not be stored")

			row.mend(t, server, client)
			for n := range 3 {
				eventually(t, patience, func() (bool, string) {
					status, detail := tr.answers(t, http.MethodPost, harness.CredentialPath(credentialID(n))+"/refresh", nil)
					return status == http.StatusOK, fmt.Sprintf("%d %s", status, detail)
				})
			}
			eventually(t, patience, func() (bool, string) {
				status, detail := tr.answers(t, http.MethodPut, harness.CredentialPath("acme:new"), login(minted[0], 3600))
				return status == http.StatusOK, fmt.Sprintf("%d %s", status, detail)
			})
			assert.Empty(t, tr.provider.Summary().Violations)
		})
	}
}

// CLIENT PAUSE halts every command, and a flush of the scripts loses them all:
// neither costs anything but time.
func TestRedisPausedAndScriptsFlushed(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	tr := serviceOn(t, server, 2)
	client := operator(t, server)
	_, err := tr.Token(t.Context(), credentialID(0), 0)
	require.NoError(t, err)
	for _, kind := range []string{"WRITE", "ALL"} {
		tell(t, client, "SCRIPT", "FLUSH")
		tell(t, client, "CLIENT", "PAUSE", 1500, kind)
		_, err := tr.Token(t.Context(), credentialID(0), 0)
		require.NoError(t, err, "it is in memory")
		eventually(t, patience, func() (bool, string) {
			status, detail := tr.answers(t, http.MethodPost, harness.CredentialPath(credentialID(1))+"/refresh", nil)
			require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, status, detail)
			return status == http.StatusOK, detail
		})
	}
	assert.Empty(t, tr.provider.Summary().Violations)
	assert.NotContains(t, tr.String(), `"level":"error"`)
}

// A service that is started before its Redis waits for it.
func TestRedisThatComesLater(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	require.NoError(t, server.Stop())
	h := newHouse(t, newProvider(t, providerOptions{Options: practice.Options{AccessTTL: time.Hour}}), server.URL())
	h.save()
	p := testproc.Start(t, testproc.Options{
		Path: program(t), Args: []string{"serve"}, Dir: h.dir,
		Ready: regexp.MustCompile(`waiting for Redis`), ReadyTimeout: patience,
	})
	require.NoError(t, server.Restart(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	match, err := p.WaitFor(ctx, readyLine)
	require.NoError(t, err)
	at := newAPI(t, "http://"+match[1], h.adminKey())
	h.login(at, 1)
	require.NoError(t, at.Refresh(t.Context(), credentialID(0)))
	_, err = p.Stop()
	require.NoError(t, err)
}

// A Redis that comes back empty under a running service: whoever asks is
// answered, nothing is called a fault of the service, and the next start has
// everything in order again, its admin key first.
func TestRedisThatComesBackEmpty(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	tr := serviceOn(t, server, 2)
	_, err := tr.Token(t.Context(), credentialID(0), 0)
	require.NoError(t, err)
	var page struct {
		Events []struct{ Event struct{ Type string } }
		Cursor string
	}
	require.NoError(t, tr.Call(t.Context(), http.MethodGet, "/v1/events?cursor=0&wait=0s", nil, &page))
	require.NotEmpty(t, page.Events)
	before := page.Cursor
	require.NoError(t, server.Kill())
	require.NoError(t, os.RemoveAll(filepath.Join(server.Dir(), "appendonlydir")))
	require.NoError(t, server.Restart(t.Context()))
	eventually(t, patience, func() (bool, string) {
		var told struct {
			Ready  bool `json:"ready"`
			Checks []struct {
				Name, Detail string
				OK           bool
			} `json:"checks"`
		}
		if err := tr.Call(t.Context(), http.MethodGet, "/readyz", nil, &told); err != nil {
			return false, err.Error()
		}
		words := fmt.Sprintf("%+v", told)
		return told.Ready && !told.Checks[0].OK && strings.Contains(words, "Redis has come back empty"), words
	})
	for range 20 {
		// Whoever was known goes on being known, and what was served is served.
		_, err := tr.Token(t.Context(), credentialID(0), 0)
		require.NoError(t, err)
		status, detail := tr.answers(t, http.MethodGet, "/v1/status", nil)
		require.Equal(t, http.StatusOK, status, detail)
		status, detail = tr.answers(t, http.MethodGet, "/v1/credentials", nil)
		require.Equal(t, http.StatusServiceUnavailable, status, "a list would lack what is gone")
		require.Contains(t, detail, "Redis has come back empty")
	}
	require.NoError(t, tr.Call(t.Context(), http.MethodGet, "/v1/events?cursor="+before, nil, &page))
	require.NotEmpty(t, page.Events, "whoever followed the log is told that it is not what it was")
	assert.Equal(t, "stream.reset", page.Events[0].Event.Type)
	after := page.Cursor
	page.Events = nil
	require.NoError(t, tr.Call(t.Context(), http.MethodGet, "/v1/events?cursor="+after, nil, &page))
	for _, one := range page.Events {
		assert.NotEqual(t, "stream.reset", one.Event.Type, "once")
	}
	eventually(t, patience, func() (bool, string) { // what is known is put back first
		status, words := tr.answers(t, http.MethodDelete, harness.CredentialPath("acme:never-was"), nil)
		assert.Equal(t, http.StatusServiceUnavailable, status, "it may have been there")
		return strings.Contains(words, "Redis has come back empty"), words
	})
	stranger := tr.with("rdk_" + strings.Repeat("A", 43))
	status, detail := stranger.answers(t, http.MethodGet, "/v1/status", nil)
	assert.Equal(t, http.StatusServiceUnavailable, status, "whether there was such a key cannot be told")
	assert.Contains(t, detail, "Redis has come back empty")
	_, err = tr.Stop()
	require.NoError(t, err)
	again := tr.start()
	again.Key = tr.adminKey()
	minted, err := tr.provider.Mint(practice.MintRequest{Count: 1, First: 10})
	require.NoError(t, err)
	eventually(t, patience, func() (bool, string) { // whoever else knows the old data has the time to say so
		status, words := again.answers(t, http.MethodPut, harness.CredentialPath("acme:new"), login(minted[0], 3600))
		return status == http.StatusOK, words
	})
	require.NoError(t, again.Refresh(t.Context(), "acme:new"))
	assert.Empty(t, tr.provider.Summary().Violations)
}

// One record that cannot be read, and somebody else's keys beside ours, hide
// nothing else.
func TestForeignKeysUnderThePrefix(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	tr := serviceOn(t, server, 4)
	client := operator(t, server)
	keys, err := client.Keys(t.Context(), "rd:*:cred:"+credentialID(1)).Result()
	require.NoError(t, err)
	require.Len(t, keys, 1)
	tell(t, client, "HSET", keys[0], "h", "1 somebody else's")
	tell(t, client, "SET", "rd:{refresh-00}:cred:acme:user-9", "somebody else's")
	tell(t, client, "SET", "rd:somebody", "else's")

	var page struct {
		Credentials []harness.Record `json:"credentials"`
		Unreadable  []string         `json:"unreadable"`
	}
	require.NoError(t, tr.Call(t.Context(), http.MethodGet, "/v1/credentials", nil, &page))
	assert.Len(t, page.Credentials, 3)
	assert.Equal(t, []string{credentialID(1)}, page.Unreadable)
	for _, n := range []int{0, 2, 3} {
		require.NoError(t, tr.Refresh(t.Context(), credentialID(n)))
	}
	status, _ := tr.answers(t, http.MethodPut, harness.CredentialPath("acme:user-9"), login(tr.minted[0], 3600))
	assert.NotEqual(t, http.StatusOK, status, "it is not overwritten")
	value, err := client.Get(t.Context(), "rd:{refresh-00}:cred:acme:user-9").Result()
	require.NoError(t, err)
	assert.Equal(t, "somebody else's", value)
	assert.NotContains(t, tr.String(), "somebody else's")
}
