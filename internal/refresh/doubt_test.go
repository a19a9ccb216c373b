package refresh

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// doubts returns how many doubts a process has counted.
func (n *node) doubts() int {
	return int(testutil.ToFloat64(n.metrics.doubts.WithLabelValues(acme)))
}

// What is counted by provider is there at 0 before it counts first.
func TestCountersBeginAtZero(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	e := New(Options{Metrics: NewMetrics(reg), Shards: 1})
	e.SetTargets(t.Context(), []Target{{Name: acme}})
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP refreshd_adopted_total What was taken up from dead processes of this machine.
# TYPE refreshd_adopted_total counter
refreshd_adopted_total{kind="open"} 0
refreshd_adopted_total{kind="received"} 0
# HELP refreshd_in_doubt_total Refreshes that were sent and left the refresh token in doubt: their reply is unknown, or lacks what it should have.
# TYPE refreshd_in_doubt_total counter
refreshd_in_doubt_total{provider="acme"} 0
# HELP refreshd_lost_rotation_total Credentials whose rotation happened in a reply that was lost.
# TYPE refreshd_lost_rotation_total counter
refreshd_lost_rotation_total{provider="acme"} 0
# HELP refreshd_put_back_total What was put back into a Redis that had lost it.
# TYPE refreshd_put_back_total counter
refreshd_put_back_total{kind="attempt"} 0
refreshd_put_back_total{kind="write"} 0
`), "refreshd_in_doubt_total", "refreshd_lost_rotation_total", "refreshd_adopted_total", "refreshd_put_back_total"))
}

// A refresh of one's own that leaves its token in doubt is counted once, however
// often the store was asked; one that leaves none is not.
func TestADoubtOfALivingProcessIsCounted(t *testing.T) {
	t.Parallel()
	failing := func(class credential.Class, reason credential.Reason) func(*fakeProvider) {
		return func(p *fakeProvider) {
			p.answer = func(string, func() credential.Token) reply {
				return reply{outcome: credential.Outcome{Class: class, Reason: reason}}
			}
		}
	}
	accessAlone := func(class credential.Class) func(*fakeProvider) {
		return func(p *fakeProvider) {
			p.answer = func(_ string, rotate func() credential.Token) reply {
				token := credential.Token{Access: rotate().Access}
				return reply{
					outcome: credential.Outcome{Class: class, Reason: credential.ReasonMalformedReply, Token: token},
					found:   credential.Found{Token: token, Complete: class == credential.ClassOK},
				}
			}
		}
	}
	for name, row := range map[string]struct {
		provider func(*fakeProvider)
		policy   func(*credential.Policy)
		store    func(*faultyStore)
		doubts   int
	}{
		"no answer in time":               {provider: failing(credential.ClassAmbiguous, credential.ReasonTimeout), doubts: 1},
		"an answer that promises nothing": {provider: failing(credential.ClassTransient, credential.ReasonUnavailable), doubts: 1},
		"a reply that was cut":            {provider: accessAlone(credential.ClassAmbiguous), doubts: 1},
		"no new token where one must be":  {provider: accessAlone(credential.ClassOK), doubts: 1},
		"no answer, and none of the store": {
			provider: failing(credential.ClassAmbiguous, credential.ReasonTimeout), doubts: 1,
			store: func(s *faultyStore) { s.lostApply = 1 },
		},
		"no answer, and the store is away at first": {
			provider: failing(credential.ClassAmbiguous, credential.ReasonTimeout), doubts: 1,
			store: func(s *faultyStore) { s.failApply = 2 },
		},
		"no answer, and nothing rotates": {
			provider: failing(credential.ClassAmbiguous, credential.ReasonTimeout),
			policy:   func(p *credential.Policy) { p.Rotates = credential.RotatesNo },
		},
		"not sent":                       {provider: failing(credential.ClassNotSent, credential.ReasonUnavailable)},
		"refused for the moment":         {provider: failing(credential.ClassRateLimited, credential.ReasonRateLimited)},
		"a request that is not accepted": {provider: failing(credential.ClassRefused, credential.ReasonInvalidRequest)},
		"an ordinary answer":             {provider: func(*fakeProvider) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if row.policy != nil {
				row.policy(&b.policy)
			}
			n := b.node("one")
			b.put(n, "alice")
			b.due()
			b.provider.set(row.provider)
			if row.store != nil {
				n.store.set(row.store)
			}
			b.batch(n, "alice")
			a := b.held(n, "alice").Attempt
			require.Equal(t, row.doubts == 1, a != nil && a.Doubt)
			assert.Equal(t, row.doubts, n.doubts())

			n.die()
			heir := b.node("heir")
			b.settle(heir)
			assert.Zero(t, heir.doubts(), "it was counted when it came up")
		})
	}
}

// A recovery is one more refresh: it counts if its own reply is unknown, and not
// where it changed nothing.
func TestARecoveryInDoubtIsCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy.Grace = 10 * time.Minute
	n := b.node("one")
	b.put(n, "alice")
	b.due()
	b.provider.losing()
	b.batch(n, "alice")
	require.Equal(t, 1, n.doubts())
	for _, row := range []struct {
		class  credential.Class
		doubts int
	}{{credential.ClassRateLimited, 1}, {credential.ClassNotSent, 1}, {credential.ClassAmbiguous, 2}} {
		b.provider.failing(credential.Outcome{Class: row.class, Reason: credential.ReasonUnavailable})
		calls := b.provider.calls()
		b.clock.advance(max(b.held(n, "alice").Attempt.RecoverAt.Sub(b.clock.Now()), 0))
		b.batch(n, "alice")
		require.Equal(t, calls+1, b.provider.calls())
		require.True(t, b.held(n, "alice").Attempt.Doubt)
		assert.Equal(t, row.doubts, n.doubts(), row.class)
	}
}

// A doubt that others came to because its owner was silent is theirs: he does not
// count it again when his call ends without a reply.
func TestADoubtIsCountedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	slow, judge := b.node("slow"), b.node("judge", b.elsewhere())
	b.put(slow, "alice")
	b.due()
	b.provider.losing()
	done, let := b.inTheAir(slow)
	for range 11 * 15 { // the quarantine, and more
		b.clock.advance(4 * time.Second)
		require.NoError(t, judge.tick(t.Context()))
	}
	require.True(t, b.held(judge, "alice").Attempt.Doubt)
	assert.Equal(t, 1, judge.doubts())
	let()
	soon(t, done, "the batch")
	require.True(t, b.held(judge, "alice").Attempt.Doubt)
	assert.Equal(t, 1, judge.doubts()+slow.doubts())
}

// What a dead process left counts where its token is in doubt, and not where it can
// be presented again at once.
func TestADoubtOfADeadProcessIsCounted(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		rotates credential.Rotates
		doubts  int
	}{"it rotates": {credential.RotatesYes, 1}, "it does not": {credential.RotatesNo, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.policy.Rotates = row.rotates
			b.killed("one")
			heir := b.node("heir")
			a := b.held(heir, "alice").Attempt
			require.Equal(t, row.doubts == 1, a != nil && a.Doubt)
			b.settle(heir)
			assert.Equal(t, row.doubts, heir.doubts())
		})
	}
}
