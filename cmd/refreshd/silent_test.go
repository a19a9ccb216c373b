package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/testproc"
)

// process is one that status tells of.
type process struct {
	Owner         string  `json:"owner"`
	Self          bool    `json:"self"`
	Ready         bool    `json:"ready"`
	Silent        bool    `json:"silent"`
	SilentSeconds float64 `json:"silent_seconds"`
}

// other waits until status tells that the other of two processes is as wanted.
func (s *service) other(t *testing.T, wanted func(process) bool) process {
	t.Helper()
	deadline := time.NewTimer(readyWithin)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var status struct {
			Recovery struct {
				Processes []process `json:"processes"`
			} `json:"recovery"`
		}
		require.NoError(t, json.Unmarshal([]byte(s.refreshd(t, "", "status")), &status))
		for _, one := range status.Recovery.Processes {
			if !one.Self && wanted(one) {
				return one
			}
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never so: %+v", status.Recovery.Processes)
		}
	}
}

// A process that is stopped keeps its place among the others, but is not shown
// as one that is ready.
func TestStatusTellsOfAStoppedProcess(t *testing.T) {
	t.Parallel()
	redis := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	s := &service{provider: startProvider(t), dir: t.TempDir()}
	start := func() *testproc.Process {
		data, err := json.Marshal(map[string]any{
			"listen": "127.0.0.1:0", "redis": map[string]any{"url": redis.URL()}, "recovery": map[string]any{"silence": "6s"},
			"providers": map[string]any{"acme": map[string]any{
				"kind": "oauth2", "token_url": s.provider.url + "/token", "client_id": "demo", "client_secret": clientSecret,
			}},
		})
		require.NoError(t, err)
		path := filepath.Join(s.dir, "config.yaml")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return testproc.Start(t, testproc.Options{
			Path: lookPath(t), Args: []string{"serve", "--config", path}, Dir: s.dir, Ready: readyLine, ReadyTimeout: readyWithin,
		})
	}
	s.Process = start()
	s.url = "http://" + s.ReadyMatch()[1]
	key, err := os.ReadFile(filepath.Join(s.dir, "data", "admin.key"))
	require.NoError(t, err)
	s.key = strings.TrimSpace(string(key))
	second := start()
	assert.Regexp(t, `"took":"[0-9.]+m?s"`, second.String(), "durations in the log have units")
	well := s.other(t, func(p process) bool { return p.Ready })
	assert.LessOrEqual(t, well.SilentSeconds, 6.0, "a tenth of a second is rounded")

	require.NoError(t, second.Pause())
	stopped := s.other(t, func(p process) bool { return p.Silent })
	assert.Equal(t, well.Owner, stopped.Owner)
	assert.False(t, stopped.Ready)
	assert.GreaterOrEqual(t, stopped.SilentSeconds, 6.0)
	longer := s.other(t, func(p process) bool { return p.SilentSeconds > stopped.SilentSeconds })
	assert.True(t, longer.Silent)
	assert.Regexp(t, `warn +processes +processes of the service's machine whose heartbeat stands still, and whose journal's lock is held: 1 \(\w+\), one for \d+s — .* until they go on or are killed`, s.refreshd(t, "", "doctor", "--config", filepath.Join(s.dir, "config.yaml")))

	require.NoError(t, second.Resume())
	s.other(t, func(p process) bool { return p.Ready && !p.Silent })
}
