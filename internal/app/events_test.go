package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
)

// shardLogs is an event log in memory, by shard.
type shardLogs struct {
	logs  [][]credential.LogEntry
	epoch string
}

func (s *shardLogs) Shards() int   { return len(s.logs) }
func (s *shardLogs) Epoch() string { return s.epoch }

func (s *shardLogs) TrimmedTo(context.Context, int) (string, error) { return event.Start, nil }

func (s *shardLogs) LastEvent(_ context.Context, shard int) (string, error) {
	return position(len(s.logs[shard])), nil
}

func (s *shardLogs) Events(_ context.Context, shard int, after string, count int, _ time.Duration) ([]credential.LogEntry, error) {
	var seen int
	if _, err := fmt.Sscanf(after+"-0", "%d-", &seen); err != nil {
		return nil, err
	}
	rest := s.logs[shard][seen:]
	return rest[:min(count, len(rest))], nil
}

func position(n int) string { return fmt.Sprintf("%d-0", n) }

// fill returns logs with so many events each, whose JSON is over 1,000 bytes.
func fill(shards ...int) *shardLogs {
	s := &shardLogs{logs: make([][]credential.LogEntry, len(shards)), epoch: "E1"}
	for shard, n := range shards {
		for i := range n {
			s.logs[shard] = append(s.logs[shard], credential.LogEntry{
				Position: position(i + 1),
				Event: credential.Event{
					ID: credential.ID(fmt.Sprintf("c-%d", shard)), Type: credential.EventRefreshed, Version: uint64(i + 1),
					Labels: map[string]string{"team": strings.Repeat("x", 1000)},
				},
			})
		}
	}
	return s
}

func (s *shardLogs) open(t *testing.T, cursor string) api.EventReader {
	t.Helper()
	events := apiEvents{log: event.NewLog(s, zerolog.Nop()), source: "urn:test", now: func() credential.Millis { return 1 << 40 }}
	reader, err := events.Open(t.Context(), cursor, api.EventFilter{})
	require.NoError(t, err)
	return reader
}

// What a reader is handed is bounded in bytes and over all shards, and a shard
// that always has more keeps no other back.
func TestEventsAreReadInBoundedParts(t *testing.T) {
	t.Parallel()
	logs := fill(100, 3, 0, 3)
	reader := logs.open(t, "0")
	told := map[string]int{}
	cursors := map[string]bool{}
	for reads := 1; ; reads++ {
		list, atEnd, err := reader.Read(t.Context(), 64, 4<<10)
		require.NoError(t, err)
		if atEnd {
			break
		}
		size := 0
		for _, e := range list {
			size += len(e.JSON)
			id, _, _ := strings.Cut(strings.SplitAfter(string(e.JSON), `"subject":"`)[1], `"`)
			told[id]++
			assert.Contains(t, string(e.JSON), fmt.Sprintf(`"version":%d,`, told[id]), "in order, and each once")
			assert.False(t, cursors[e.Cursor], "a cursor names one event")
			cursors[e.Cursor] = true
		}
		assert.Less(t, size, 4<<10+2<<10)
		if reads == 4 {
			assert.Equal(t, 3, told["c-1"])
			assert.Equal(t, 3, told["c-3"])
		}
		// Whoever comes back with the cursor of the last event goes on behind it.
		if len(list) > 0 {
			assert.Equal(t, list[len(list)-1].Cursor, reader.Cursor())
		}
	}
	assert.Equal(t, map[string]int{"c-0": 100, "c-1": 3, "c-3": 3}, told)
	one, atEnd, err := logs.open(t, "0").Read(t.Context(), 64, 1)
	require.NoError(t, err)
	assert.False(t, atEnd)
	assert.Len(t, one, 1, "an event that is longer than all that may be read")
}

// A log that has lost its entries is another one: who reads it is told, and a
// cursor from before begins anew.
func TestReadersOfAReplacedLog(t *testing.T) {
	t.Parallel()
	logs := fill(2)
	reader := logs.open(t, "0")
	_, _, err := reader.Read(t.Context(), 64, 1)
	require.NoError(t, err)
	before := reader.Cursor()

	logs.epoch = "E1-lost"
	_, _, err = reader.Read(t.Context(), 64, 1)
	require.ErrorIs(t, err, api.ErrLogReplaced)
	assert.Equal(t, before, reader.Cursor())
	reader = logs.open(t, before)
	assert.True(t, reader.Reset())
	list, _, err := reader.Read(t.Context(), 64, 1<<20)
	require.NoError(t, err)
	assert.Len(t, list, 2, "all that is left")
	assert.False(t, logs.open(t, reader.Cursor()).Reset(), "once")

	logs.epoch = "E1"
	assert.True(t, logs.open(t, reader.Cursor()).Reset(), "the data are back")
	assert.False(t, logs.open(t, before).Reset())
}

func TestEpochOfALostInstallation(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	lost := &installation{}
	log := logStore{s, lost}
	assert.Equal(t, s.Epoch(), log.Epoch())
	lost.why.Store(&lostInstallation{why: errors.New("gone")})
	assert.NotEqual(t, s.Epoch(), log.Epoch())
}
