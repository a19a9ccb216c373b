package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// A killed process held every permit of the provider. They come back when its
// work is taken up: nobody waits until their lease ends, 105 s after they were
// taken.
func TestPermitsOfTheDeadComeBack(t *testing.T) {
	t.Parallel()
	permitsComeBack(t, 8, 1)
}

func TestSoakPermitsOfTheDeadComeBack(t *testing.T) {
	soak(t)
	permitsComeBack(t, 200, 5)
}

func permitsComeBack(t *testing.T, permits, kills int) {
	t.Helper()
	const timeout, lease = 80 * time.Second, 105 * time.Second // send, timeout, commit and margin, and 10 s
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: 15 * time.Second}})
	h := newHouse(t, p, server.URL())
	h.acme()["timeout"] = timeout.String() // so that a slow machine is not taken for a lease that ended
	h.acme()["limits"] = map[string]any{"concurrency": permits, "per_second": 10000}
	victim, survivor := h.start(), h.start()
	minted, err := p.Mint(practice.MintRequest{Count: 2 * permits})
	require.NoError(t, err)
	for n, m := range minted {
		survivor.put(t, credentialID(n), m, int64(time.Hour/time.Second)) // none is due but those that are asked for
	}
	for range kills {
		slow, err := p.AddFault(practice.Fault{Kind: practice.KindSlow, Rotate: practice.MomentAfter, Delay: time.Minute})
		require.NoError(t, err)
		eventually(t, patience, func() (bool, string) { return p.Summary().InAir == 0, "calls are still in the air" })
		taken := time.Now()
		var asks sync.WaitGroup
		for n := range permits {
			asks.Go(func() { _ = victim.Refresh(context.WithoutCancel(t.Context()), credentialID(n)) })
		}
		eventually(t, patience, func() (bool, string) {
			have := p.Summary().InAir
			return have == int64(permits), fmt.Sprintf("%d in the air", have)
		})
		err = survivor.Refresh(t.Context(), credentialID(permits))
		var refused *harness.Refusal
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, http.StatusServiceUnavailable, refused.Status, "all permits are out")
		require.True(t, p.RemoveFault(slow))

		require.NoError(t, victim.Kill())
		asks.Wait()
		survivor.says(t, takenUp(victim.owner))
		errs := make([]error, permits)
		for n := range permits {
			asks.Go(func() { errs[n] = survivor.Refresh(t.Context(), credentialID(permits+n)) })
		}
		asks.Wait()
		require.NoError(t, errors.Join(errs...), "the others get their turn at once")
		assert.Less(t, time.Since(taken), lease, "before any lease could have ended by itself")
		// What the dead one had in the air is in doubt; its owner logs in again.
		fresh, err := p.Mint(practice.MintRequest{Count: permits})
		require.NoError(t, err)
		for n, m := range fresh {
			survivor.put(t, credentialID(n), m, int64(time.Hour/time.Second))
		}
		victim, survivor = survivor, h.start()
	}
	assert.Zero(t, presentedOnce(t, p, nil))
	assert.Zero(t, p.Summary().ReuseDetected)
}
