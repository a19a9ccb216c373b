package service

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
	"github.com/refreshd/refreshd/client/eventlog"
	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

var openStreams = regexp.MustCompile(`(?m)^refreshd_event_streams (\d+)$`)

// A program that connects a thousand times, and takes an event each time, has
// every event in order, and leaves no stream open.
func TestAThousandReconnects(t *testing.T) {
	t.Parallel()
	const times = 1000
	p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: time.Hour}}) // nothing comes by itself
	h := newHouse(t, p, "")
	at := h.start()
	h.login(at.api, 20)
	refreshAll(t, at.api, 20)
	seen := newHistory("reconnecting")
	f := &follower{history: seen, where: func() *api { return at.api }, cursor: "0"}
	for n := range times {
		done, err := f.connect(t.Context(), func() bool { return true })
		require.NoError(t, err)
		require.True(t, done)
		if n%40 == 39 {
			f.cursor = "0" // from the start again
		}
	}
	seen.awaitAll(t, patience, at.list(t))
	assert.Equal(t, 40, seen.count())
	eventually(t, patience, func() (bool, string) {
		match := openStreams.FindStringSubmatch(metricsOf(t, at.api))
		require.NotNil(t, match)
		return match[1] == "0", match[1] + " streams are open"
	})
}

func metricsOf(t *testing.T, at *api) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.Base+"/metrics", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+at.Key)
	resp, err := at.HTTP.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

// Whoever goes on from an event that was trimmed with others behind it is told
// that some are missing, and gets those that are left.
func TestAWatchIsToldOfTrimmedEvents(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	h := newHouse(t, newProvider(t, providerOptions{}), server.URL())
	at := h.start()
	h.login(at.api, 1)
	c := sdk(t, at.api)
	first := watched(t, c, client.FromStart, 1)[0]
	for range 3 {
		require.NoError(t, at.Refresh(t.Context(), credentialID(0)))
	}

	// As the trim of what is older than the log's retention leaves it.
	direct, stream := redisOf(t, server), eventlog.Stream(0)
	newest, err := direct.XRevRangeN(t.Context(), stream, "+", "-", 2).Result()
	require.NoError(t, err)
	require.Len(t, newest, 2)
	require.NoError(t, direct.Set(t.Context(), eventlog.Trimmed(0), newest[1].ID, 0).Err())
	require.NoError(t, direct.XTrimMinID(t.Context(), stream, newest[0].ID).Err())

	// A process that was started since has nothing of it in memory.
	second := h.start()
	got := watched(t, sdk(t, second.api), first.Cursor, 2)
	assert.True(t, got[0].IsReset())
	assert.EqualValues(t, 4, got[1].Version)
	assert.True(t, strings.HasPrefix(got[1].ID, credentialID(0)+"/4/"))
	assert.False(t, watched(t, c, got[0].Cursor, 1)[0].IsReset(), "told once")
}

// watched are the next n events from a place in the log.
func watched(t *testing.T, c *client.Client, from string, n int) (list []client.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for e, err := range c.Watch(ctx, client.Filter{}, from) {
		require.NoError(t, err)
		if list = append(list, e); len(list) == n {
			break
		}
	}
	require.Len(t, list, n)
	return list
}
