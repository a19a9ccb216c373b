package service

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
	"github.com/refreshd/refreshd/test/oracle"
)

// killAtOnce is a kill amid very many exchanges.
type killAtOnce struct {
	flights int
	life    time.Duration // of the tokens
	grace   time.Duration // 0: strict
	first   time.Duration // until the first reply
	spread  time.Duration // until the last one after it
	kills   int
	seed    uint64
}

// A process is killed with very many refreshes in the air, while their replies
// come in. Its neighbour takes all of them up. Against a strict provider only
// those logins are lost whose reply the ledger counts as not delivered, or as
// delivered in the moment of the kill; where there is a grace none is.
func TestKilledWithManyInTheAir(t *testing.T) {
	t.Parallel()
	t.Run("strict", func(t *testing.T) {
		t.Parallel()
		killAtOnce{flights: 60, life: 9 * time.Second, first: 1500 * time.Millisecond, spread: time.Second, kills: 1, seed: 4}.run(t)
	})
	t.Run("grace", func(t *testing.T) {
		t.Parallel()
		killAtOnce{
			flights: 60, life: 9 * time.Second, grace: time.Minute, first: 1500 * time.Millisecond, spread: time.Second, kills: 1, seed: 2,
		}.run(t)
	})
}

func TestSoakKilledWithManyInTheAir(t *testing.T) {
	soak(t)
	for _, grace := range []time.Duration{0, time.Minute} {
		t.Run(fmt.Sprintf("grace %s", grace), func(t *testing.T) {
			killAtOnce{flights: 1000, life: 40 * time.Second, grace: grace, first: 10 * time.Second, spread: 3 * time.Second, kills: 5, seed: 3}.run(t)
		})
	}
}

func (k killAtOnce) run(t *testing.T) {
	t.Helper()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	o := practice.Options{AccessTTL: k.life}
	if k.grace > 0 {
		o.Reuse, o.Grace = practice.ReuseGrace, k.grace
	}
	p := newProvider(t, providerOptions{Options: o})
	h := newHouse(t, p, server.URL())
	h.acme()["limits"] = map[string]any{"concurrency": 2 * k.flights, "per_second": 20 * k.flights}
	h.acme()["rotation"] = map[string]any{"rotates": "yes", "grace": k.grace.String()}
	pair := [2]*instance{h.start(), h.start()}
	var living atomic.Pointer[api]
	living.Store(pair[1].api)
	stream := watchAt(t, living.Load)
	grants := make([]string, k.flights) // the newest of each credential
	k.login(t, h, pair[0].api, grants, nil)
	draw := rand.New(rand.NewPCG(k.seed, 0))

	ended := 0
	var deaths []kill
	for n := range k.kills {
		victim, survivor := pair[n%2], pair[(n+1)%2]
		k.slow(t, p, draw.Uint64())
		began := time.Now()
		wait := k.inTheAir(t, p, victim)
		starved := watchStarvation(victim.PID())
		pass(t.Context(), k.first+time.Duration(draw.Int64N(int64(k.spread)))-time.Since(began))
		death := kill{owner: victim.owner, before: time.Now()}
		err := victim.Signal(syscall.SIGKILL)
		death.after = time.Now() // it runs no more; that it is gone takes longer
		death.starved = starved()
		require.NoError(t, err)
		require.NoError(t, victim.Kill())
		deaths = append(deaths, death)
		wait()
		match := survivor.says(t, takenUp(victim.owner))
		p.ClearFaults()
		pair[n%2] = h.start()
		living.Store(pair[n%2].api) // the next one that dies is the other one
		all := settled(t, survivor.api, k.flights, k.life+patience)
		t.Logf("kill %d: %s replies in the journal, %s attempts open, settled %s after", n+1, match[1], match[2], time.Since(death.after).Round(time.Second))
		lost := k.judge(t, p, all, death)
		ended += len(lost)
		if k.grace > 0 {
			assert.Empty(t, lost, "within the grace none is lost")
		}
		k.login(t, h, survivor.api, grants, lost)
	}
	again := presentedOnce(t, p, pair[0].api, deaths...)
	sum := p.Summary()
	t.Logf("ledger: %d presentations, %d rotations, %d undelivered, %d presented again after a lost reply; %d of %d logins lost in %d kills",
		sum.Presentations, sum.Rotations, sum.Undelivered, again, ended, k.flights, k.kills)
	if k.grace > 0 {
		assert.Zero(t, sum.GrantsDead)
	}
	var ids []string
	for n := range k.flights {
		ids = append(ids, credentialID(n))
	}
	at := pair[0].api
	works(t, p, at, ids[:min(len(ids), 100)])
	all := settled(t, at, k.flights, patience)
	stream.awaitAll(t, patience, all)
	oneEventPerVersion(t, at, all, stream)
}

// login logs users in: all at first, afterwards those that were lost.
func (k killAtOnce) login(t *testing.T, h *house, at *api, grants []string, lost []string) {
	t.Helper()
	for n := range grants {
		id := credentialID(n)
		if grants[n] != "" && !slices.Contains(lost, id) {
			continue
		}
		minted, err := h.provider.Mint(practice.MintRequest{Count: 1, First: n})
		require.NoError(t, err)
		grants[n] = minted[0].Grant
		at.put(t, id, minted[0], minted[0].ExpiresIn)
	}
}

// slow spreads the replies, half of which the provider decides on beforehand:
// those are lost with the process.
func (k killAtOnce) slow(t *testing.T, p *provider, seed uint64) {
	t.Helper()
	const steps = 10
	for n := range steps {
		f := practice.Fault{
			Kind: practice.KindSlow, Rotate: practice.MomentAfter, Delay: k.first + k.spread*time.Duration(n)/steps,
			Probability: 1 / float64(steps-n), Seed: seed + uint64(n),
		}
		if n%2 == 1 {
			f.Rotate = practice.MomentBefore
		}
		_, err := p.AddFault(f)
		require.NoError(t, err)
	}
}

// inTheAir asks one process to refresh everything and returns when the provider
// has all of it, at least for a moment. On a busy machine some are not begun in
// time, and refused: they are asked for again.
func (k killAtOnce) inTheAir(t *testing.T, p *provider, victim *instance) (wait func()) {
	t.Helper()
	var asks sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	for n := range k.flights {
		asks.Go(func() {
			// Those in flight are answered by nobody.
			err := victim.Refresh(context.WithoutCancel(t.Context()), credentialID(n))
			for range 30 {
				refused, is := errors.AsType[*harness.Refusal](err)
				if !is || refused.Status != http.StatusServiceUnavailable {
					break
				}
				pass(t.Context(), 100*time.Millisecond)
				err = victim.Refresh(context.WithoutCancel(t.Context()), credentialID(n))
			}
			mu.Lock()
			defer mu.Unlock()
			answers[fmt.Sprint(err)]++
		})
	}
	most := int64(0)
	eventually(t, patience, func() (bool, string) {
		most = max(most, p.Summary().InAir)
		mu.Lock()
		defer mu.Unlock()
		return most == int64(k.flights), fmt.Sprintf("at most %d in the air; answered were %v", most, answers)
	})
	return asks.Wait
}

// judge returns the credentials that were lost, each of which must be one whose
// reply was not delivered, but for the few that were being read.
func (k killAtOnce) judge(t *testing.T, p *provider, all map[string]harness.Record, death kill) (lost []string) {
	t.Helper()
	newest := map[string]practice.Entry{} // by subject: what spent the newest generation
	undelivered, dying := 0, 0
	for _, e := range p.Ledger(practice.LedgerQuery{}) {
		if e.RotatedAt == 0 {
			continue
		}
		newest[e.Subject] = e
		switch {
		case !e.Delivered:
			undelivered++
		case died([]kill{death}, e):
			dying++
		}
	}
	read, oldest := 0, practice.Entry{}
	for id, r := range all {
		if r.State != "reauth_required" {
			continue
		}
		lost = append(lost, id)
		assert.Equal(t, "lost_rotation", r.Reason, id)
		e := newest["user-"+strings.TrimPrefix(id, "acme:user-")]
		if !e.Delivered {
			continue
		}
		read++
		if oldest.RepliedAt == 0 || e.RepliedAt < oldest.RepliedAt {
			oldest = e
		}
		assert.True(t, died([]kill{death}, e), "%s is lost, although its reply was delivered %s", id, death.age(e))
	}
	assert.LessOrEqual(t, read, readAtOnce, "lost while they were being read")
	t.Logf("%d logins lost, %d of them while the reply was being read; %d replies undelivered in all, %d delivered less than %s before the kill, or while the machine kept its process waiting",
		len(lost), read, undelivered, dying, oracle.Dying)
	if read > 0 {
		t.Logf("the oldest that was lost was delivered %s", death.age(oldest))
	}
	return lost
}
