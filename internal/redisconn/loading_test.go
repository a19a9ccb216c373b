package redisconn

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// restarting is a server whose runs have these INFO lines each; run is the present
// one. It counts how often its settings were asked for.
func restarting(t *testing.T, run *atomic.Int32, asked *atomic.Int32, runs ...string) string {
	t.Helper()
	settings := "*4\r\n" + bulk("appendfsync") + bulk("everysec") + bulk("save") + bulk("")
	return scripted(t, func(command string) string {
		switch {
		case command == "PING":
			return "+PONG\r\n"
		case command == "INFO":
			return bulk("redis_version:7.0.15\r\nredis_mode:standalone\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n" + runs[run.Load()])
		case strings.HasPrefix(command, "CONFIG GET "):
			asked.Add(1)
			return settings
		default:
			return "-ERR unknown command\r\n"
		}
	})
}

// Redis turns its append-only file off while it loads it, and INFO says so: it is
// no setting. What was known before stays, and nothing is told but the other run.
func TestWhatIsToldWhileLoadingIsNotTaken(t *testing.T) {
	t.Parallel()
	var run, asked atomic.Int32
	c := open(t, Options{NoServer: true, URL: credential.NewSecret(restarting(t, &run, &asked,
		"run_id:one\r\nloading:0\r\naof_enabled:1\r\n",
		"run_id:two\r\nloading:1\r\naof_enabled:0\r\n",
		"run_id:two\r\nloading:0\r\naof_enabled:1\r\n",
	))})
	p := unasked().next(viewOf(t, c), nil, time.Now())
	require.Equal(t, LevelEverySecond, p.Level)

	look := func(on int32) (next Promise, lines []string) {
		run.Store(on)
		v, err := c.View(t.Context())
		next = p.next(v, err, time.Now())
		var out bytes.Buffer
		tell(zerolog.New(&out), p, next)
		return next, strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\n' })
	}
	before := asked.Load()
	now, lines := look(1)
	assert.Empty(t, lines)
	assert.True(t, now.Away, "it takes no other command")
	assert.Equal(t, LevelEverySecond, now.Level)
	assert.Equal(t, everysecLoss, now.Loss)
	assert.Equal(t, before, asked.Load(), "the settings are asked for when it has loaded")

	p = now
	now, lines = look(2)
	require.Len(t, lines, 1)
	assert.Contains(t, lines[0], `"topic":"run"`)
	assert.False(t, now.Away)
	assert.Equal(t, LevelEverySecond, now.Level)
	assert.Greater(t, asked.Load(), before, "those of another run")
}

// A server that loads is no other to those who only look, nor to those who start.
func TestAServerThatLoadsIsSaidToLoad(t *testing.T) {
	t.Parallel()
	var run, asked atomic.Int32
	o := Options{NoServer: true, URL: credential.NewSecret(restarting(t, &run, &asked, "run_id:one\r\nloading:1\r\naof_enabled:0\r\n"))}
	_, looked := Look(t.Context(), o)
	_, opened := Open(t.Context(), o)
	for name, err := range map[string]error{"Look": looked, "Open": opened} {
		require.Error(t, err, name)
		assert.True(t, Loads(err), "%s: %v", name, err)
		assert.Regexp(t, `redis\.url: redis://.* is loading its data: .*; wait$`, err.Error(), name)
	}
	assert.Zero(t, asked.Load())
}
