package redisconn

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/testproc"
)

const password = "pa55-that-must-not-show"

// withLogin puts user and password into a URL.
func withLogin(url string) credential.Secret {
	return credential.NewSecret(strings.Replace(url, "://", "://:"+password+"@", 1))
}

func asApp(url string) credential.Secret {
	return credential.NewSecret(strings.Replace(url, "://", "://app:"+password+"@", 1))
}

func TestExternal(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := testproc.StartRedis(t, testproc.RedisOptions{Port: true, AppendFsync: "always", Args: []string{"--requirepass", password}})
	c := open(t, Options{URL: withLogin(r.URL()), PoolSize: 3, Log: zerolog.New(&log)})
	assert.Equal(t, KindExternal, c.Kind())
	assert.Zero(t, c.MaxCredentials())
	require.NoError(t, c.Client().Set(t.Context(), "rd:x", "1", 0).Err())
	require.NoError(t, c.QueueClient().Get(t.Context(), "rd:x").Err())
	d := viewOf(t, c).Durability
	assert.True(t, d.EveryWrite())
	id, err := c.Identity(t.Context())
	require.NoError(t, err)
	assert.Len(t, id.RunID, 40)
	assert.Equal(t, 3, c.clients.main.Options().PoolSize)
	assert.NotContains(t, log.String(), password)
	assert.NotContains(t, log.String(), "may lose")
}

func TestExternalThatMayLoseWritesIsSaidSo(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]testproc.RedisOptions{
		`"appendfsync":"everysec"`: {AppendFsync: "everysec"},
		`"appendonly":"no"`:        {Args: []string{"--save", "3600 1"}},
	} {
		var log bytes.Buffer
		r := testproc.StartRedis(t, o)
		open(t, Options{URL: credential.NewSecret(r.URL()), Log: zerolog.New(&log)})
		assert.Contains(t, log.String(), "may lose acknowledged writes", name)
		assert.Contains(t, log.String(), name)
	}
}

// TestExternalRefused: each row is a Redis that must not be used, and what the
// operator is told.
func TestExternalRefused(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		args []string
		url  func(string) credential.Secret
		want []string
	}{
		"wrong password": {
			[]string{"--requirepass", "another"},
			withLogin,
			[]string{"refused the login", "check the user and the password in redis.url"},
		},
		"no password given": {[]string{"--requirepass", password}, credential.NewSecret, []string{"refused the login", "NOAUTH"}},
		"evicting":          {[]string{"--maxmemory-policy", "allkeys-lru"}, credential.NewSecret, []string{"maxmemory-policy is allkeys-lru", "set maxmemory-policy noeviction"}},
		"persists nothing":  {[]string{"--appendonly", "no"}, credential.NewSecret, []string{"persists nothing", "set appendonly yes"}},
		"read-only replica": {[]string{"--replicaof", "127.0.0.1 1"}, credential.NewSecret, []string{"read-only replica", "redis+sentinel://"}},
		"cluster node":      {[]string{"--cluster-enabled", "yes"}, credential.NewSecret, []string{"Redis Cluster", "does not support"}},
		"may not ask INFO":  {strings.Fields("--user default on nopass ~* &* +@all -info"), credential.NewSecret, []string{"+info"}},
		"may not even PING": {strings.Fields("--user app on >" + password + " ~* &* -@all +hello"), asApp, []string{"NOPERM", "the user needs +@all"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := testproc.StartRedis(t, testproc.RedisOptions{Port: true, AppendFsync: "always", Args: row.args})
			_, err := Open(t.Context(), Options{URL: row.url(r.URL())})
			require.Error(t, err)
			for _, want := range row.want {
				require.ErrorContains(t, err, want)
			}
			require.ErrorContains(t, err, r.URL())
			assert.NotContains(t, err.Error(), password)
		})
	}
}

func TestExternalWhereConfigIsForbidden(t *testing.T) {
	t.Parallel()
	r := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always", Args: strings.Fields("--user default on nopass ~* &* +@all -config")})
	c := open(t, Options{URL: credential.NewSecret(r.URL())})
	d := viewOf(t, c).Durability
	assert.Equal(t, Durability{AppendOnly: "yes", MaxmemoryPolicy: "noeviction", WaitAOF: d.WaitAOF}, d)
	assert.False(t, d.EveryWrite(), "what is not known is not promised")
}

func TestExternalThatIsNotThere(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, fmt.Errorf("shutting down"))
	defer cancel()
	var log bytes.Buffer
	_, err := Open(ctx, Options{URL: withLogin("redis://127.0.0.1:1"), Log: zerolog.New(&log)})
	require.ErrorContains(t, err, "waiting for redis://127.0.0.1:1: shutting down")
	assert.NotContains(t, err.Error(), password)
	assert.Contains(t, log.String(), "waiting for Redis")

	client := single(tune(&redis.Options{Addr: "127.0.0.1:1"}, 1, localDial))
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	err = awaitAnswer(t.Context(), client, "redis://127.0.0.1:1", time.Nanosecond, zerolog.Nop())
	require.ErrorContains(t, err, "no answer from redis://127.0.0.1:1 within 1ns")
	require.ErrorContains(t, err, "is it running")
}

// scripted answers a Redis client from a table, for what no server at hand
// does. It lives as long as the test.
func scripted(t *testing.T, answer func(command string) string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() {
		assert.NoError(t, l.Close())
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				for in := bufio.NewReader(conn); ; {
					command, err := readCommand(in)
					if err != nil {
						return
					}
					if _, err := conn.Write([]byte(answer(command))); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "redis://" + l.Addr().String()
}

// readCommand reads one RESP array of strings as words.
func readCommand(in *bufio.Reader) (string, error) {
	header, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSpace(header[1:]))
	if err != nil {
		return "", err
	}
	words := make([]string, n)
	for i := range words {
		if _, err := in.ReadString('\n'); err != nil { // its length
			return "", err
		}
		word, err := in.ReadString('\n')
		if err != nil {
			return "", err
		}
		words[i] = strings.TrimSpace(word)
	}
	return strings.ToUpper(strings.Join(words, " ")), nil
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func TestExternalTooOld(t *testing.T) {
	t.Parallel()
	url := scripted(t, func(command string) string {
		switch command {
		case "PING":
			return "+PONG\r\n"
		case "INFO":
			return bulk("# Server\r\nredis_version:6.2.14\r\nredis_mode:standalone\r\n")
		default:
			return "-ERR unknown command\r\n"
		}
	})
	_, err := Open(t.Context(), Options{URL: credential.NewSecret(url)})
	require.ErrorContains(t, err, "it is Redis 6.2.14, and 7.0 is the oldest that works; upgrade it")
}

func TestExternalThatLoadsIsWaitedFor(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	url := scripted(t, func(command string) string {
		switch {
		case command == "PING" && asked.Add(1) < 5:
			return "-LOADING Redis is loading the dataset in memory\r\n"
		case command == "PING":
			return "+PONG\r\n"
		case command == "INFO":
			return bulk("redis_version:8.0.1\r\nrun_id:abc\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n")
		default:
			return "-ERR unknown command\r\n"
		}
	})
	c := open(t, Options{URL: credential.NewSecret(url), NoServer: true})
	assert.GreaterOrEqual(t, asked.Load(), int32(5))
	id, err := c.Identity(t.Context())
	require.NoError(t, err)
	assert.Equal(t, Identity{RunID: "abc", Version: "8.0.1"}, id)
}

func TestSentinelFindsTheMaster(t *testing.T) {
	t.Parallel()
	r := testproc.StartRedis(t, testproc.RedisOptions{Port: true, AppendFsync: "always"})
	host, port, err := net.SplitHostPort(strings.TrimPrefix(r.URL(), "redis://"))
	require.NoError(t, err)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	sentinel := l.Addr().String()
	require.NoError(t, l.Close())
	_, sentinelPort, err := net.SplitHostPort(sentinel)
	require.NoError(t, err)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "bind 127.0.0.1\nport %s\nsentinel monitor main %s %s 1\n", sentinelPort, host, port), 0o600))
	testproc.Start(t, testproc.Options{
		Path: "redis-server", Args: []string{conf, "--sentinel"}, Ready: regexp.MustCompile(`\+monitor master main`),
	})

	c := open(t, Options{URL: credential.NewSecret("redis+sentinel://127.0.0.1:1," + sentinel + "/main/2")})
	require.NoError(t, c.Client().Set(t.Context(), "rd:x", "1", 0).Err())
	direct := redis.NewClient(&redis.Options{Addr: net.JoinHostPort(host, port), DB: 2})
	t.Cleanup(func() { assert.NoError(t, direct.Close()) })
	assert.Equal(t, "1", direct.Get(t.Context(), "rd:x").Val())
}

func TestAURLIsTuned(t *testing.T) {
	t.Parallel()
	full, err := parseURL(credential.NewSecret("redis+sentinel://u:p%40ss@a:1/main/5?sentinel_username=su&sentinel_password=sp"), 4)
	require.NoError(t, err)
	assert.Equal(t, []any{"main", 5, 4, true, 1}, []any{full.failed.MasterName, full.failed.DB, full.failed.PoolSize, full.failed.ContextTimeoutEnabled, full.failed.DialerRetries})
	one, err := parseURL(credential.NewSecret("redis://h?pool_size=7&dial_timeout=9s"), 4)
	require.NoError(t, err)
	assert.Equal(t, []any{7, 9 * time.Second, true, 1}, []any{one.single.PoolSize, one.single.DialTimeout, one.single.ContextTimeoutEnabled, one.single.DialerRetries})
}

func TestABadURLIsRefused(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), Options{URL: credential.NewSecret("redis://u:pa55@h:65536")})
	require.EqualError(t, err, "redis.url: it cannot be read as a URL with ports from 1 to 65535; write redis://user:password@host:6379/0, and percent-encode what is special in the password")
}
