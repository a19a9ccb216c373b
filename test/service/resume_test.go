package service

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// A provider is paused while its credentials fall due, and resumed when half of
// them are dead and others have seconds to live: these are called first, in the
// order of their deaths, and none of them dies that could be reached in time.
func TestThoseNearestToDeathComeFirstAfterAResumption(t *testing.T) {
	t.Parallel()
	const (
		count, dead = 90, 60 // whose calls alone take longer than the first of the living has
		concurrency = 4
		perSecond   = 10
		held        = 12 * time.Second       // from the first token to the resumption
		shortest    = 4 * time.Second        // what the first of the living has left then
		step        = 200 * time.Millisecond // and each other one more: twice what the limits need
	)
	p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: time.Hour, Latency: 30 * time.Millisecond}})
	h := newHouse(t, p, testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"}).URL())
	h.config["schedule"] = map[string]any{"refresh_at": 0.05, "jitter": 0}
	h.acme()["limits"] = map[string]any{"concurrency": concurrency, "per_second": perSecond}
	at := h.start()
	require.NoError(t, at.Call(t.Context(), http.MethodPost, "/v1/providers/acme/pause", nil, nil))
	minted, err := p.Mint(practice.MintRequest{Count: count})
	require.NoError(t, err)
	began := time.Now()
	place := map[string]int{}
	for n, m := range minted {
		left := held + shortest + time.Duration(n)*step
		if n >= count-dead {
			left = held / 2
		}
		place[m.Grant] = n
		body := map[string]any{"provider": providerName, "token": map[string]any{
			"access_token": m.AccessToken, "refresh_token": m.RefreshToken, "expires_at": began.Add(left).UTC(),
		}}
		require.NoError(t, at.Call(t.Context(), http.MethodPut, harness.CredentialPath(credentialID(n)), body, nil))
	}
	pass(t.Context(), time.Until(began.Add(held)))
	require.Zero(t, p.Summary().Presentations, "it is paused")
	require.NoError(t, at.Call(t.Context(), http.MethodPost, "/v1/providers/acme/resume", nil, nil))
	resumed := time.Now()
	eventually(t, patience, func() (bool, string) {
		n := p.Summary().Rotations
		return n >= count, fmt.Sprintf("%d of %d", n, count)
	})

	calls := p.Ledger(practice.LedgerQuery{})[:count]
	t.Logf("all were called within %s of the resumption", time.Unix(0, calls[count-1].Received).Sub(resumed).Round(time.Millisecond))
	lived := map[string]bool{}
	for n := range count - dead {
		lived[credentialID(n)] = true
	}
	for _, e := range eventLog(t, at.api) {
		assert.False(t, e.Type == "credential.expired" && lived[e.Data.Credential], "%s could be reached in time, and died", e.Data.Credential)
	}
	// Two seconds' worth may be in other hands, as for any backlog.
	off := make([]int, 0, count)
	for i, c := range calls {
		want := place[c.Grant]
		if want >= count-dead {
			off = append(off, max(count-dead-i, 0))
			continue
		}
		off = append(off, max(want-i, i-want))
	}
	slices.Sort(off)
	assert.LessOrEqual(t, off[count*9/10], 2*perSecond, "places by which nine of ten calls were out of order: %v", off)
	assert.Zero(t, presentedOnce(t, p, nil))
}
