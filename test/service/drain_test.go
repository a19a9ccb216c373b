package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/harness"
)

const inFlight = 30

// inTheAir brings refreshes into the air at once and returns when the provider
// has them all. wait waits for their answers.
func inTheAir(t *testing.T, tr *trouble, count int) (wait func() []error) {
	t.Helper()
	errs := make([]error, count)
	var asks sync.WaitGroup
	for n := range count {
		asks.Go(func() { errs[n] = tr.Refresh(context.WithoutCancel(t.Context()), credentialID(n)) })
	}
	eventually(t, patience, func() (bool, string) {
		sum := tr.provider.Summary()
		return sum.InAir == int64(count), fmt.Sprintf("%d in the air", sum.InAir)
	})
	return func() []error {
		asks.Wait()
		return errs
	}
}

// SIGTERM answers and stores what was sent: no refresh is cut off, and the
// process has ended when the longest exchange could have been answered and
// stored, as it is configured.
func TestStopDrains(t *testing.T) {
	t.Parallel()
	stopDrains(t, inFlight, 8*time.Second)
}

func TestSoakStopDrains(t *testing.T) {
	soak(t)
	stopDrains(t, 200, 5*time.Second)
}

func stopDrains(t *testing.T, count int, takes time.Duration) {
	t.Helper()
	// The defaults of the timeout, of recovery.commit and recovery.margin.
	const bound = 20*time.Second + 5*time.Second + 5*time.Second
	tr := newTrouble(t, practice.Options{AccessTTL: time.Hour, Latency: takes}, count)
	wait := inTheAir(t, tr, count)
	told := time.Now()
	require.NoError(t, tr.Signal(syscall.SIGTERM))
	tr.says(t, `"message":"draining`)
	assert.EqualValues(t, count, tr.provider.Summary().InAir, "it was told to stop while they were in the air")
	require.NoError(t, errors.Join(wait()...), "all of them were answered")
	state, err := tr.Wait(t.Context())
	require.NoError(t, err)
	assert.Less(t, time.Since(told), bound)
	assert.Zero(t, state.ExitCode())
	assert.NotContains(t, tr.String(), "not in good order")
	sum := tr.provider.Summary()
	assert.EqualValues(t, count, sum.Presentations)
	assert.EqualValues(t, count, sum.ByOutcome[practice.OutcomeRotated])
	assert.Zero(t, sum.Undelivered)
	t.Logf("%d refreshes in the air, ended %s after the signal", count, time.Since(told).Round(time.Millisecond))

	again := tr.start()
	for id, r := range again.awaitState(t, "active", count) {
		assert.EqualValues(t, 2, r.Generation, id)
		assert.False(t, r.InDoubt, id)
	}
}

// A SIGINT amid the drain ends the process at once; the next one loses nothing.
func TestSecondStopEndsAtOnce(t *testing.T) {
	t.Parallel()
	tr := newTrouble(t, practice.Options{AccessTTL: 20 * time.Second, Latency: time.Minute}, inFlight)
	wait := inTheAir(t, tr, inFlight)
	require.NoError(t, tr.Signal(syscall.SIGTERM))
	tr.says(t, `"message":"draining`)
	require.NoError(t, tr.Signal(syscall.SIGINT))
	state, err := tr.Wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, state.ExitCode())
	assert.Contains(t, tr.String(), "ending at once")
	assert.NotContains(t, wait(), nil, "none of them was answered")
	eventually(t, patience, func() (bool, string) { return tr.provider.Summary().InAir == 0, "calls are still in the air" })

	_, err = tr.provider.Configure(practice.SettingsPatch{Latency: new(time.Duration)})
	require.NoError(t, err)
	again := tr.start()
	eventually(t, patience, func() (bool, string) {
		behind := 0
		for _, r := range again.list(t) {
			if r.State != "active" || r.Generation < 2 || r.InDoubt {
				behind++
			}
		}
		return behind == 0, fmt.Sprintf("%d behind", behind)
	})
	sum := tr.provider.Summary()
	assert.Zero(t, sum.GrantsDead)
	assert.Zero(t, sum.GenerationsPresentedTwice)
	assert.GreaterOrEqual(t, sum.ByOutcome[practice.OutcomeAbandoned], int64(inFlight))
}

// A hundred programs that ask two processes for the same token at once cause
// one exchange.
func TestHundredAsksAreOneExchange(t *testing.T) {
	t.Parallel()
	tr := newTrouble(t, practice.Options{AccessTTL: 20 * time.Second, Latency: time.Second}, 1)
	other := tr.start()
	minted, err := tr.provider.Mint(practice.MintRequest{Count: 1, First: 1})
	require.NoError(t, err)
	// It has 10 s left, and the answer is to have 9 s and the margin of one.
	const id = "acme:wanted"
	tr.put(t, id, minted[0], 10)
	tokens, errs := make([]harness.Token, 100), make([]error, 100)
	var asks sync.WaitGroup
	for n := range tokens {
		at := []*api{tr.api, other.api}[n%2]
		asks.Go(func() { tokens[n], errs[n] = at.Token(t.Context(), id, 9*time.Second) })
	}
	asks.Wait()
	require.NoError(t, errors.Join(errs...))
	different := map[string]bool{} // not compared by an assertion, which would print them
	for _, got := range tokens {
		assert.EqualValues(t, 2, got.Generation)
		different[got.AccessToken] = true
	}
	assert.Len(t, slices.Collect(maps.Values(different)), 1, "all get the same token")
	assert.Len(t, tr.provider.Ledger(practice.LedgerQuery{Grant: minted[0].Grant}), 1)
}
