package service

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

// longExchange is a provider that takes its time.
type longExchange struct {
	credentials int
	takes       time.Duration // the provider's answer
	timeout     time.Duration
	life        time.Duration
	lasts       time.Duration
	recovery    map[string]any
	apart       bool          // each replica has a data_dir of its own, as on a machine of its own
	stop        time.Duration // one replica at a time stands still for so long, amid exchanges; 0: none
}

// shortTimes make every time that a worker might go by shorter than the
// exchange, the way through a quarantine too.
func shortTimes() map[string]any {
	return map[string]any{"send": "300ms", "commit": "300ms", "margin": "300ms", "silence": "2s", "quarantine": "6s"}
}

// Two replicas are asked for the same credentials all the time while the
// provider takes longer than anything else that one could go by: every
// generation is presented once.
func TestLongExchanges(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		apart bool
		stop  time.Duration
	}{
		{"one data_dir", false, 0},
		{"two data_dirs", true, 0},
		{"one data_dir, stopped", false, 4 * time.Second},
		{"two data_dirs, stopped", true, 4 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			longExchange{
				credentials: 4, takes: 3 * time.Second, timeout: 4 * time.Second, life: 10 * time.Second, lasts: 7 * time.Second,
				recovery: shortTimes(), apart: row.apart, stop: row.stop,
			}.run(t)
		})
	}
}

func TestSoakLongExchanges(t *testing.T) {
	soak(t)
	t.Parallel()
	for _, row := range []struct {
		takes, timeout, life, lasts time.Duration
	}{
		{12 * time.Second, 20 * time.Second, time.Minute, 3 * time.Minute},
		{90 * time.Second, 5 * time.Minute, 10 * time.Minute, 6 * time.Minute},
	} {
		for _, apart := range []bool{false, true} {
			for _, stop := range []time.Duration{0, row.takes + row.takes/4} {
				t.Run(fmt.Sprintf("%s, apart %t, stopped for %s", row.takes, apart, stop), func(t *testing.T) {
					t.Parallel() // they wait, and compute nothing
					longExchange{
						credentials: 20, takes: row.takes, timeout: row.timeout, life: row.life, lasts: row.lasts, apart: apart, stop: stop,
					}.run(t)
				})
			}
		}
	}
}

func (l longExchange) run(t *testing.T) {
	t.Helper()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: l.life, Latency: l.takes}})
	h := newHouse(t, p, server.URL())
	h.acme()["timeout"] = l.timeout.String()
	if l.recovery != nil {
		h.config["recovery"] = l.recovery
	}
	pair := [2]*instance{h.start()}
	if l.apart {
		pair[1] = h.elsewhere().start()
	} else {
		pair[1] = h.start()
	}
	stream := watch(t, pair[0].api)
	h.login(pair[0].api, l.credentials)

	ctx, cancel := context.WithTimeout(t.Context(), l.lasts)
	defer cancel()
	var asks sync.WaitGroup
	for _, at := range pair {
		for n := range l.credentials {
			asks.Go(func() { askAllTheTime(ctx, at.api, credentialID(n), l.takes) })
		}
	}
	stops := 0
	for l.stop > 0 && ctx.Err() == nil {
		eventually(t, patience+l.takes, func() (bool, string) {
			return p.Summary().InAir > 0, "no exchange to be stopped amid"
		})
		victim := pair[stops%2]
		require.NoError(t, victim.Pause())
		pass(t.Context(), l.stop)
		require.NoError(t, victim.Resume())
		stops++
		pass(ctx, l.takes)
	}
	<-ctx.Done()
	asks.Wait()
	_, err := p.Configure(practice.SettingsPatch{Latency: new(time.Duration)})
	require.NoError(t, err)
	settled(t, pair[0].api, l.credentials, l.life+l.timeout+patience)
	eventually(t, l.timeout+patience, func() (bool, string) { return p.Summary().InAir == 0, "calls are in the air" })
	all := settled(t, pair[1].api, l.credentials, l.life+l.timeout+patience)
	stream.awaitAll(t, patience, all)
	sum := p.Summary()
	t.Logf("ledger: %d presentations, %d rotations in %s, %d stops", sum.Presentations, sum.Rotations, l.lasts, stops)
	assert.Zero(t, presentedOnce(t, p, nil), "presented again")
	assert.Empty(t, sum.Violations)
	assert.Zero(t, sum.GrantsDead)
	assert.Zero(t, sum.Undelivered)
	assert.GreaterOrEqual(t, sum.Rotations, int64(l.credentials), "each was refreshed")
	for id, r := range all {
		assert.Equal(t, "active", r.State, id)
	}
	oneEventPerVersion(t, pair[1].api, all, stream)
}

// askAllTheTime is a program that wants its token, and another one, all the
// time. What it is told meanwhile is of no interest.
func askAllTheTime(ctx context.Context, at *api, id string, patient time.Duration) {
	for ctx.Err() == nil {
		once, cancel := context.WithTimeout(ctx, patient)
		_, _ = at.Token(once, id, 0)
		_ = at.Refresh(once, id)
		cancel()
		pass(ctx, 100*time.Millisecond)
	}
}

// elsewhere is the house of a replica on another machine: it shares the keyset
// and Redis, and has a data_dir of its own.
func (h *house) elsewhere() *house {
	h.t.Helper()
	other := newHouse(h.t, h.provider, "")
	other.config = maps.Clone(h.config)
	require.NoError(h.t, os.Mkdir(filepath.Join(other.dir, "data"), 0o700))
	for _, name := range []string{"admin.key", "keyset.json"} {
		require.NoError(h.t, os.Link(filepath.Join(h.dir, "data", name), filepath.Join(other.dir, "data", name)))
	}
	return other
}

// A provider's answer is waited for as long as it says, up to 5 minutes.
func TestLongestTimeout(t *testing.T) {
	t.Parallel()
	h := newHouse(t, newProvider(t, providerOptions{}), "redis://127.0.0.1:1/0")
	for timeout, code := range map[string]int{"5m": 0, "5m1s": 2} {
		h.acme()["timeout"] = timeout
		h.save()
		out, got := h.runOnce(t, "config", "check")
		assert.Equal(t, code, got, "%s: %s", timeout, out)
		if code != 0 {
			assert.Contains(t, out, "providers.acme.timeout: "+timeout)
		}
	}
}
