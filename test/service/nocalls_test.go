package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// demand is programs that ask both of two processes for tokens all the time,
// and for new ones.
type demand struct {
	asked   atomic.Int64
	mu      sync.Mutex
	answers map[string]int
	wait    func()
}

// keepAsking asks until ctx ends: each process for every credential in turn, so
// many times a second.
func keepAsking(ctx context.Context, pair [2]*instance, count int, every time.Duration) *demand {
	d := &demand{answers: map[string]int{}}
	var asks sync.WaitGroup
	for _, at := range pair {
		asks.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for n := 0; ; n++ {
				id := credentialID(n / 2 % count)
				var err error
				if n%2 == 0 {
					_, err = at.Token(ctx, id, 0)
				} else {
					err = at.Refresh(ctx, id)
				}
				if ctx.Err() != nil {
					return
				}
				d.note(err)
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	d.wait = asks.Wait
	return d
}

func (d *demand) note(err error) {
	d.asked.Add(1)
	word := "a token"
	if refused, ok := errors.AsType[*harness.Refusal](err); ok {
		word = fmt.Sprintf("%d %s", refused.Status, refused.Reason)
	} else if err != nil {
		word = "no answer" // one of them is being started again
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers[word]++
}

// sweepAgain has the provider's credentials looked at once more: the slot that
// was done is forgotten, and a process that is started in the place of the
// second one finds it open. It returns when all were looked at.
func sweepAgain(t *testing.T, h *house, server *testproc.Redis, pair [2]*instance) *instance {
	t.Helper()
	const ended = `"message":"fetch ended"`
	before := strings.Count(pair[0].String(), ended)
	client := operator(t, server)
	keys, err := client.Keys(t.Context(), "rd:{slots}:*").Result()
	require.NoError(t, err)
	require.NotEmpty(t, keys, "the schedule's first slot was done at the start")
	for _, key := range keys {
		tell(t, client, "DEL", key)
	}
	_, err = pair[1].Stop()
	require.NoError(t, err)
	again := h.start()
	eventually(t, patience, func() (bool, string) {
		return strings.Count(pair[0].String()+again.String(), ended) > before, "no sweep"
	})
	return again
}

// Logins that the provider has ended cost one call each, the one that finds
// out, however often they are asked for and looked at.
func TestDeadCredentialsCostNoCall(t *testing.T) {
	t.Parallel()
	deadCredentials(t, 50, 4*time.Second, 20*time.Millisecond)
}

func TestSoakDeadCredentialsCostNoCall(t *testing.T) {
	soak(t)
	deadCredentials(t, 1000, 10*time.Minute, 5*time.Millisecond)
}

func deadCredentials(t *testing.T, count int, watched, every time.Duration) {
	t.Helper()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: 4 * time.Second}})
	h := newHouse(t, p, server.URL())
	pair := [2]*instance{h.start(), h.start()}
	minted := h.login(pair[0].api, count)
	for _, m := range minted {
		require.True(t, p.Revoke(m.Grant))
	}
	pair[0].awaitState(t, "reauth_required", count)
	eventually(t, patience, func() (bool, string) { return p.Summary().InAir == 0, "calls are in the air" })
	calls := func() map[string]int {
		of := map[string]int{}
		for _, e := range p.Ledger(practice.LedgerQuery{}) {
			if e.Verdict == practice.OutcomeRevoked {
				of[e.Grant]++
			}
		}
		return of
	}
	for _, m := range minted {
		assert.Equal(t, 1, calls()[m.Grant], "%s: one call found out", m.Subject)
	}
	before := p.Summary().Presentations

	ctx, cancel := context.WithTimeout(t.Context(), watched)
	defer cancel()
	asked := keepAsking(ctx, pair, count, every)
	<-ctx.Done()
	asked.wait()
	again := sweepAgain(t, h, server, pair)
	ctx, cancel = context.WithTimeout(t.Context(), watched/2)
	defer cancel()
	more := keepAsking(ctx, [2]*instance{pair[0], again}, count, every)
	<-ctx.Done()
	more.wait()
	sum := p.Summary()
	assert.Equal(t, before, sum.Presentations, "no call after the one that found out")
	for _, d := range []*demand{asked, more} {
		assert.Equal(t, map[string]int{"409 invalid_grant": int(d.asked.Load())}, d.answers)
	}
	all := again.awaitState(t, "reauth_required", count)
	oneEventPerVersion(t, again.api, all)
	t.Logf("%d dead credentials, %d calls in all; asked %d times, and looked at by a sweep",
		count, sum.Presentations, asked.asked.Load()+more.asked.Load())
}

// A client that the provider does not know any more probes once a minute, all
// its processes together, and its credentials are left as they are.
func TestRefusedClientProbesOnceAMinute(t *testing.T) {
	t.Parallel()
	refusedClient(t, 50, 5*time.Second, 20*time.Millisecond)
}

func TestSoakRefusedClientProbesOnceAMinute(t *testing.T) {
	soak(t)
	refusedClient(t, 1000, 10*time.Minute, 5*time.Millisecond)
}

func refusedClient(t *testing.T, count int, watched, every time.Duration) {
	t.Helper()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: 6 * time.Second}})
	h := newHouse(t, p, server.URL())
	pair := [2]*instance{h.start(), h.start()}
	changed := p.secret + "-changed"
	p.SetClientSecret(clientID, changed)
	stream := watch(t, pair[0].api)
	h.login(pair[0].api, count)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := keepAsking(ctx, pair, count, every)
	eventually(t, patience, func() (bool, string) {
		return stream.ofType("client.misconfigured") > 0, "nobody has found out"
	})
	// What was in the air when the breaker opened may still arrive.
	var first int64
	eventually(t, patience, func() (bool, string) {
		sum := p.Summary()
		quiet := sum.InAir == 0 && sum.ClientErrors == first
		first = sum.ClientErrors
		return quiet, "calls are still in the air"
	})
	found := stream.find("client.misconfigured", "")
	require.NotEmpty(t, found)
	quiet := time.Now()
	pass(t.Context(), watched)
	before := asked.asked.Load()
	again := sweepAgain(t, h, server, pair)
	sum, lasted := p.Summary(), time.Since(quiet)
	cancel()
	asked.wait()
	probes := sum.ClientErrors - first
	assert.LessOrEqual(t, probes, int64(lasted/time.Minute)+1, "at most a probe a minute, all processes together")
	last := time.Time{}
	for n, e := range p.Ledger(practice.LedgerQuery{}) {
		at := time.Unix(0, e.Received)
		if int64(n) >= first && !last.IsZero() {
			assert.GreaterOrEqual(t, at.Sub(last), 59*time.Second, "between two probes")
		}
		last = at
	}
	assert.Positive(t, before, "programs asked all the time")
	assert.Equal(t, 1, stream.ofType("client.misconfigured"), "one alert")
	for id, r := range again.list(t) {
		assert.Contains(t, []string{"active", "expired"}, r.State, id)
		assert.EqualValues(t, 1, r.Generation, id)
		assert.False(t, r.InDoubt, id)
	}
	t.Logf("%d calls before the breaker was seen to be open, %d probes in %s; asked %d times: %v", first, probes, lasted.Round(time.Second), asked.asked.Load(), asked.answers)

	h.writeSecret("client.secret", changed)
	pair[0].hangUp(t)
	again.hangUp(t)
	awaitGeneration(t, again.api, count, 2)
	again.awaitState(t, "active", count)
	assert.Zero(t, presentedOnce(t, p, nil))
	sum = p.Summary()
	assert.Empty(t, sum.Violations)
	assert.Zero(t, sum.GrantsDead)
	assert.Equal(t, http.StatusOK, statusOf(again.Refresh(t.Context(), credentialID(0))))
	oneEventPerVersion(t, again.api, again.list(t), stream)
}

func statusOf(err error) int {
	if refused, ok := errors.AsType[*harness.Refusal](err); ok {
		return refused.Status
	}
	if err != nil {
		return 0
	}
	return http.StatusOK
}
