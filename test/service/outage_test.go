package service

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// trouble is a house with one process, some credentials and a subscriber.
type trouble struct {
	*house
	*instance

	stream *follower
	minted []practice.Minted
}

func newTrouble(t *testing.T, o practice.Options, count int) *trouble {
	t.Helper()
	redis := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	h := newHouse(t, newProvider(t, providerOptions{Options: o}), redis.URL())
	tr := &trouble{house: h, instance: h.start()}
	tr.stream = watch(t, tr.api)
	tr.minted = h.login(tr.api, count)
	return tr
}

// watch follows the event stream of a process until the end of the test.
func watch(t testing.TB, at *api) *follower {
	t.Helper()
	return watchAt(t, func() *api { return at })
}

// watchAt is watch where the process may be another one each time.
func watchAt(t testing.TB, where func() *api) *follower {
	t.Helper()
	f := &follower{history: newHistory("stream"), where: where, cursor: "0"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.follow(t.Context(), nil)
	}()
	t.Cleanup(func() { <-done })
	return f
}

func (tr *trouble) awaitEvents(t *testing.T, kind string, count int) {
	t.Helper()
	eventually(t, patience, func() (bool, string) {
		have := tr.stream.ofType(kind)
		return have >= count, fmt.Sprintf("%d of %d %s", have, count, kind)
	})
}

// A provider that answers 503 for a while degrades credentials. They come back
// by themselves, and nobody is logged out.
func TestOutageLogsNobodyOut(t *testing.T) {
	t.Parallel()
	outage(t, 12, 6*time.Second, 5*time.Second)
}

func TestSoakOutageLogsNobodyOut(t *testing.T) {
	soak(t)
	outage(t, 200, 20*time.Second, 30*time.Second)
}

func outage(t *testing.T, count int, life, lasts time.Duration) {
	t.Helper()
	tr := newTrouble(t, practice.Options{AccessTTL: life}, count)
	tr.awaitState(t, "active", count)
	began := time.Now()
	_, err := tr.provider.AddFault(practice.Fault{Kind: practice.KindStatus, Status: http.StatusServiceUnavailable})
	require.NoError(t, err)
	tr.awaitEvents(t, "credential.degraded", count)
	eventually(t, lasts+patience, func() (bool, string) { return time.Since(began) > lasts, "watched long enough" })
	tr.provider.ClearFaults()
	tr.awaitEvents(t, "credential.recovered", count)
	all := tr.awaitState(t, "active", count)
	tr.stream.awaitAll(t, patience, all)
	assert.Zero(t, tr.stream.ofType("credential.reauth_required"))
	assert.Zero(t, tr.stream.ofType("credential.logged_out"))
	for _, e := range tr.stream.find("credential.degraded", "") {
		assert.Equal(t, "provider_unavailable", e.Data.Reason)
	}
	sum := tr.provider.Summary()
	assert.Empty(t, sum.Violations)
	assert.Zero(t, sum.GrantsDead)
	assert.Positive(t, sum.ByOutcome["fault:status"])
}

// A client that the provider does not accept is one alert. Its calls stop but
// for a probe a minute, its credentials are left alone, and they go on when
// the secret is put right.
func TestClientMisconfigured(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		right func(t *testing.T, tr *trouble, secret string)
	}{
		{"a secret's file and SIGHUP", func(t *testing.T, tr *trouble, secret string) {
			t.Helper()
			tr.writeSecret("client.secret", secret)
			tr.hangUp(t)
		}},
		{"a secret's file alone", func(t *testing.T, tr *trouble, secret string) {
			t.Helper()
			tr.writeSecret("client.secret", secret)
		}},
		{"the configuration and SIGHUP", func(t *testing.T, tr *trouble, secret string) {
			t.Helper()
			tr.writeSecret("other.secret", secret)
			tr.acme()["client_secret"] = map[string]any{"file": "./other.secret"}
			tr.save()
			tr.hangUp(t)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			misconfigured(t, 12, 6*time.Second, 8*time.Second, row.right)
		})
	}
}

func TestSoakClientMisconfigured(t *testing.T) {
	soak(t)
	misconfigured(t, 200, 20*time.Second, 150*time.Second, func(t *testing.T, tr *trouble, secret string) {
		t.Helper()
		tr.writeSecret("client.secret", secret)
		tr.hangUp(t)
	})
}

func misconfigured(t *testing.T, count int, life, watched time.Duration, right func(t *testing.T, tr *trouble, secret string)) {
	t.Helper()
	tr := newTrouble(t, practice.Options{AccessTTL: life}, count)
	changed := tr.provider.secret + "-changed"
	tr.provider.SetClientSecret(clientID, changed)
	tr.awaitEvents(t, "client.misconfigured", 1)
	// What was in the air when the breaker opened may still arrive.
	var calls int64
	eventually(t, patience, func() (bool, string) {
		sum := tr.provider.Summary()
		quiet := sum.InAir == 0 && sum.ClientErrors == calls
		calls = sum.ClientErrors
		return quiet, "calls are still in the air"
	})
	began := time.Now()
	tr.awaitEvents(t, "credential.expired", count)
	eventually(t, watched+patience, func() (bool, string) { return time.Since(began) > watched, "watched long enough" })
	probes := tr.provider.Summary().ClientErrors - calls
	assert.LessOrEqual(t, probes, int64(time.Since(began)/time.Minute)+1, "at most a probe a minute")
	assert.Equal(t, 1, tr.stream.ofType("client.misconfigured"), "one alert")
	assert.Zero(t, tr.stream.ofType("credential.reauth_required"))
	assert.Zero(t, tr.stream.ofType("credential.degraded"))
	tr.awaitState(t, "expired", count)
	_, err := tr.Token(t.Context(), credentialID(0), 0)
	var refused *harness.Refusal
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusServiceUnavailable, refused.Status)
	assert.Equal(t, "client_misconfigured", refused.Reason)
	t.Logf("%d calls before all of them stopped, %d probes in %s", calls, probes, time.Since(began).Round(time.Second))

	right(t, tr, changed)
	tr.awaitEvents(t, "client.recovered", 1)
	all := tr.awaitState(t, "active", count)
	tr.stream.awaitAll(t, patience, all)
	assert.Equal(t, 1, tr.stream.ofType("client.misconfigured"), "one alert")
	assert.Equal(t, 1, tr.stream.ofType("client.recovered"))
	assert.Empty(t, tr.provider.Summary().Violations)
}

// A grant that the user has withdrawn is noticed with the next refresh, and
// nothing calls the provider about it any more.
func TestWithdrawnGrantIsLeftAlone(t *testing.T) {
	t.Parallel()
	const count = 4
	tr := newTrouble(t, practice.Options{AccessTTL: 6 * time.Second}, count)
	for _, byDemand := range []int{0, 1} {
		require.True(t, tr.provider.Revoke(tr.minted[byDemand].Grant))
		err := tr.Refresh(t.Context(), credentialID(byDemand))
		var refused *harness.Refusal
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, http.StatusConflict, refused.Status)
		assert.Equal(t, "reauth_required", refused.State)
		assert.Equal(t, "invalid_grant", refused.Reason)
		assert.Equal(t, "reauth_required", tr.get(t, credentialID(byDemand)).State)
	}
	require.True(t, tr.provider.Revoke(tr.minted[2].Grant))
	tr.awaitEvents(t, "credential.reauth_required", 3)
	assert.Equal(t, "reauth_required", tr.get(t, credentialID(2)).State)

	calls := func(n int) int { return len(tr.provider.Ledger(practice.LedgerQuery{Grant: tr.minted[n].Grant})) }
	before := []int{calls(0), calls(1), calls(2)}
	for n, count := range before {
		last := tr.provider.Ledger(practice.LedgerQuery{Grant: tr.minted[n].Grant})[count-1]
		assert.Equal(t, practice.OutcomeRevoked, last.Verdict)
		if count > 1 {
			list := tr.provider.Ledger(practice.LedgerQuery{Grant: tr.minted[n].Grant})
			assert.NotEqual(t, practice.OutcomeRevoked, list[count-2].Verdict, "one call found out")
		}
	}
	// The one that lives is refreshed twice more: the dead had as much time.
	generation := tr.get(t, credentialID(3)).Generation
	eventually(t, patience, func() (bool, string) {
		for n := range 3 {
			_, err := tr.Token(t.Context(), credentialID(n), 0)
			var refused *harness.Refusal
			if assert.ErrorAs(t, err, &refused) {
				assert.Equal(t, http.StatusConflict, refused.Status)
			}
		}
		return tr.get(t, credentialID(3)).Generation >= generation+2, "not refreshed"
	})
	after := []int{calls(0), calls(1), calls(2)}
	assert.Equal(t, before, after)
	assert.Equal(t, 3, tr.stream.ofType("credential.reauth_required"))
}
