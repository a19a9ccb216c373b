package service

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client/eventlog"
	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

// readerRules is the Redis user that docs/events.md gives a reader of the log.
const readerRules = "resetkeys resetchannels -@all ~rd:{refresh-*}:events %R~rd:{refresh-*}:trimmed %R~rd:meta " +
	"+hmget +get +xreadgroup +xack +xautoclaim +xinfo|groups +xgroup|create"

var printedEvent = regexp.MustCompile(`(?m)^(\S+)/(\d+)/[0-9a-f]{8} (\S+) (\S+)$`)

// The example reads the log as a consumer group: every version of every
// credential in order, across kills of its own and with no more rights in Redis
// than it needs.
func TestReaderOfTheLogInRedis(t *testing.T) {
	t.Parallel()
	const count = 12
	r := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always", Port: true})
	admin := redisAt(t, r.URL())
	manual, err := os.ReadFile("../../docs/events.md")
	require.NoError(t, err)
	require.Contains(t, string(manual), "ACL SETUSER app on >PASSWORD "+readerRules)
	user := append([]any{"acl", "setuser", "app", "on", ">hush"}, words(readerRules)...)
	require.NoError(t, admin.Do(t.Context(), user...).Err())
	url := strings.Replace(r.URL(), "redis://", "redis://app:hush@", 1)

	p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: time.Hour}})
	h := newHouse(t, p, r.URL())
	h.config["redis"].(map[string]any)["shards"] = 2 //nolint:errcheck,forcetypeassert // made by newHouse
	s := h.start()
	h.login(s.api, count)
	example := testproc.Build(t, testproc.BuildOptions{Package: "github.com/refreshd/refreshd/examples/stream"})
	start := func() *testproc.Process {
		return testproc.Start(t, testproc.Options{Path: example, Args: []string{"--group", "mail"}, Env: []string{"REDIS_URL=" + url}})
	}

	first := start()
	awaitVersion(t, 1, count, first)
	require.NoError(t, first.Kill())
	refreshAll(t, s.api, count) // nobody reads meanwhile
	second := start()
	awaitVersion(t, 2, count, first, second)
	refreshAll(t, s.api, count)
	awaitVersion(t, 3, count, first, second)
	state, err := second.Stop()
	require.NoError(t, err)
	assert.Zero(t, state.ExitCode(), second.String())

	// What it was handed and never acknowledged comes first.
	refreshAll(t, s.api, 1)
	stream := streamOf(t, admin, credentialID(0))
	handed, err := admin.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "mail", Consumer: "app-1", Streams: []string{stream, ">"}}).Result()
	require.NoError(t, err)
	require.NotEmpty(t, handed[0].Messages)
	refreshAll(t, s.api, count)
	third := start()
	awaitVersion(t, 4, count, first, second, third)
	awaitVersion(t, 5, 1, first, second, third)
	assert.NotContains(t, third.String(), "missing")
	_, err = third.Stop()
	require.NoError(t, err)

	// Where entries were trimmed that it has not read, it says so.
	refreshAll(t, s.api, 1)
	refreshAll(t, s.api, 1)
	newest, err := admin.XRevRangeN(t.Context(), stream, "+", "-", 2).Result()
	require.NoError(t, err)
	require.Len(t, newest, 2)
	require.NoError(t, admin.XTrimMinID(t.Context(), stream, newest[0].ID).Err())
	require.NoError(t, admin.Set(t.Context(), strings.Replace(stream, ":events", ":trimmed", 1), newest[1].ID, 0).Err())
	fourth := start()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = fourth.WaitFor(ctx, regexp.MustCompile(regexp.QuoteMeta("events of "+stream+" are missing")))
	require.NoError(t, err)
	_, err = fourth.WaitFor(ctx, regexp.MustCompile(regexp.QuoteMeta(credentialID(0))+"/7/"))
	require.NoError(t, err)

	reader := redisAt(t, url)
	require.ErrorContains(t, reader.HGetAll(t.Context(), strings.Replace(stream, ":events", ":cred:"+credentialID(0), 1)).Err(), "NOPERM")
	require.ErrorContains(t, reader.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: []string{"e", "x"}}).Err(), "NOPERM")
	require.ErrorContains(t, reader.Del(t.Context(), stream).Err(), "NOPERM")
}

func words(s string) []any {
	var list []any
	for word := range strings.FieldsSeq(s) {
		list = append(list, word)
	}
	return list
}

func redisAt(t *testing.T, url string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(url)
	require.NoError(t, err)
	c := redis.NewClient(o)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// streamOf is the log in which a credential's events are.
func streamOf(t *testing.T, c *redis.Client, id string) string {
	t.Helper()
	for shard := range 2 {
		entries, err := c.XRange(t.Context(), eventlog.Stream(shard), "-", "+").Result()
		require.NoError(t, err)
		for _, entry := range entries {
			e, err := eventlog.Decode("urn:x", entry.ID, entry.Values["e"].(string)) //nolint:errcheck,forcetypeassert // a panic fails the test as well
			require.NoError(t, err)
			if e.Subject == id {
				return eventlog.Stream(shard)
			}
		}
	}
	t.Fatalf("%s has no events", id)
	return ""
}

func refreshAll(t *testing.T, at *api, count int) {
	t.Helper()
	for n := range count {
		require.NoError(t, at.Refresh(t.Context(), credentialID(n)))
	}
}

// awaitVersion waits until the processes, one after the other, have printed a
// version of each credential, and then holds each credential's order: a version
// that was printed before may come again, with those after it, and none is left
// out.
func awaitVersion(t *testing.T, version, count int, processes ...*testproc.Process) {
	t.Helper()
	eventually(t, patience, func() (bool, string) {
		last := map[string]int{}
		for _, p := range processes {
			for _, m := range printedEvent.FindAllStringSubmatch(p.String(), -1) {
				var n int
				_, err := fmt.Sscan(m[2], &n)
				require.NoError(t, err)
				require.LessOrEqual(t, n, last[m[1]]+1, "a version of %s was left out:\n%s", m[1], p)
				last[m[1]] = n
			}
		}
		for n := range count {
			if last[credentialID(n)] < version {
				return false, fmt.Sprintf("version %d of %s; the last process said:\n%s", last[credentialID(n)], credentialID(n), processes[len(processes)-1])
			}
		}
		return true, ""
	})
}
