package redisconn

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// healthy is a server in order, with that setting of appendfsync.
func healthy(fsync string) View {
	return View{
		Kind: KindExternal, At: time.Now(), Role: "master", GoodReplicas: -1,
		Identity: Identity{RunID: "run", ReplID: "repl", Version: "7.2.4"},
		Durability: Durability{
			AppendOnly: "yes", AppendFsync: fsync, Save: "never", LazyFsync: "no", MaxmemoryPolicy: "noeviction", WaitAOF: true,
		},
	}
}

func evicting(v View) View {
	v.Durability.MaxmemoryPolicy = "allkeys-lru"
	return v
}

var errAway = errors.New("away")

func TestPromiseIsKeptOverAnOutage(t *testing.T) {
	t.Parallel()
	noon := time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)
	p := unasked().next(healthy("everysec"), nil, noon)
	assert.Equal(t, LevelEverySecond, p.Level)
	assert.Equal(t, 10*time.Second, p.Loss)
	assert.True(t, p.Confirmed())
	assert.Zero(t, p.AwaySince)

	away := p.next(View{}, errAway, noon).next(View{}, errAway, noon.Add(time.Minute))
	assert.Equal(t, 10*time.Second, away.Loss, "what was not durable then is not now")
	assert.False(t, away.Confirmed(), "nothing is confirmed")
	assert.Equal(t, noon, away.AwaySince, "the first time")

	back := away.next(evicting(healthy("always")), nil, noon)
	assert.False(t, back.Away)
	assert.Zero(t, back.AwaySince)
	assert.Zero(t, back.Loss)
	require.Len(t, back.Trouble(), 1)
	assert.Equal(t, "eviction", back.Trouble()[0].Topic)
	assert.Empty(t, back.next(healthy("always"), nil, noon).Trouble())
}

func TestPromiseBeforeAnythingIsKnown(t *testing.T) {
	t.Parallel()
	var k Keeper
	assert.Equal(t, time.Minute, k.Load().Loss)
	assert.True(t, k.Load().Away)
	k.Stop()
}

func TestEveryLevelHasWords(t *testing.T) {
	t.Parallel()
	said := map[string]bool{}
	for _, level := range Levels() {
		said[Promise{Level: level}.Words()] = true
	}
	assert.Len(t, said, len(Levels()))
}

// A keeper looks every two seconds, hands on what it saw, and ends when told.
func TestKeeperLooksUntilItIsStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var k Keeper
		var looks []Promise
		begun := time.Now()
		k.Start(t.Context(), KeeperOptions{
			View: func(context.Context) (View, error) {
				if time.Since(begun) < 3*time.Second {
					return healthy("always"), nil
				}
				return View{}, errAway
			},
			Looked: func(p Promise) { looks = append(looks, p) },
			Log:    zerolog.Nop(),
		})
		assert.Equal(t, LevelEveryWrite, k.Load().Level, "the first look is done")
		<-time.After(7 * time.Second)
		k.Stop()
		k.Stop()
		require.Len(t, looks, 4)
		assert.False(t, looks[1].Away)
		assert.Equal(t, begun.Add(4*time.Second), looks[3].AwaySince)
		assert.Equal(t, looks[3], k.Load())
	})
}

// A change has a line, its lasting has none; what loses credentials is an
// error.
func TestChangesOfAPromiseAreToldOnce(t *testing.T) {
	t.Parallel()
	another := func(v View) View { v.Identity.RunID = "another"; return v }
	steps := []struct {
		view View
		err  error
		want []string // part of each line
	}{
		{healthy("always"), nil, nil},
		{healthy("always"), nil, nil},
		{evicting(healthy("always")), nil, []string{`"level":"error".*"topic":"eviction","severity":"fail".*maxmemory-policy allkeys-lru`}},
		{evicting(healthy("always")), nil, nil},
		{View{}, errAway, nil},
		{evicting(healthy("always")), nil, nil},
		{healthy("always"), nil, []string{`"level":"info".*"topic":"eviction".*no longer so: maxmemory-policy allkeys-lru`}},
		{healthy("everysec"), nil, []string{`"before":"every_write","durability":"every_second","loss_window":"10s"`}},
		{another(healthy("everysec")), nil, []string{`"level":"warn".*"topic":"run","severity":"warn"`}},
		{another(healthy("everysec")), nil, nil},
	}
	p := unasked().next(healthy("always"), nil, time.Now())
	for i, step := range steps {
		var out bytes.Buffer
		next := p.next(step.view, step.err, time.Now())
		tell(zerolog.New(&out), p, next)
		p = next
		lines := strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\n' })
		require.Len(t, lines, len(step.want), "step %d: %s", i, out.String())
		for n, want := range step.want {
			assert.Regexp(t, want, lines[n], "step %d", i)
		}
	}
}
