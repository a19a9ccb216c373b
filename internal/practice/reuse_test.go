package practice

import (
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStrictReuseKillsTheFamily(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	m, bystander := mintOne(t, s), mintOne(t, s)
	second := direct(t, s, refreshForm(m.RefreshToken))
	third := direct(t, s, refreshForm(second.RefreshToken))
	require.Equal(t, http.StatusOK, third.Status)

	again := direct(t, s, refreshForm(m.RefreshToken))
	assert.Equal(t, http.StatusBadRequest, again.Status)
	assert.Equal(t, "invalid_grant", again.Error)
	assert.Equal(t, OutcomeReuse, last(t, s).Outcome)

	assert.Equal(t, again.Body, direct(t, s, refreshForm(third.RefreshToken)).Body, "every cause reads the same")
	e := last(t, s)
	assert.Equal(t, OutcomeRevoked, e.Outcome)
	assert.False(t, e.Twice, "the newest one was presented for the first time")
	assert.Equal(t, http.StatusUnauthorized, fetchResource(t, s, third.AccessToken).Status)
	assert.Equal(t, http.StatusOK, direct(t, s, refreshForm(bystander.RefreshToken)).Status)

	state, ok := s.Grant(m.Grant)
	require.True(t, ok)
	assert.False(t, state.Alive)
	assert.Equal(t, deathReuse, state.Death)
	assert.Equal(t, uint32(3), state.Generation)
	sum := s.Summary()
	assert.Equal(t, int64(1), sum.GrantsDead)
	assert.Equal(t, int64(1), sum.ReuseDetected)
	assert.Equal(t, int64(1), sum.GenerationsPresentedTwice)
	assert.Equal(t, int64(3), sum.Rotations)
	require.Len(t, sum.Violations, 1)
	assert.Equal(t, Violation{Kind: ViolationPresentedTwice, Seq: 3, Grant: m.Grant, Generation: 1, Outcome: OutcomeReuse}, sum.Violations[0])
}

func TestGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Reuse: ReuseGrace, Grace: 30 * time.Second})
		m := mintOne(t, s)
		first := direct(t, s, refreshForm(m.RefreshToken))
		<-time.After(30 * time.Second)
		child := direct(t, s, refreshForm(m.RefreshToken))
		require.Equal(t, http.StatusOK, child.Status, "the last moment of the grace")
		assert.NotEqual(t, first.RefreshToken, child.RefreshToken)
		e := last(t, s)
		assert.Equal(t, OutcomeGrace, e.Outcome)
		assert.Equal(t, uint32(3), e.NewGeneration)
		assert.NotZero(t, e.RotatedAt)
		require.Equal(t, http.StatusOK, direct(t, s, refreshForm(first.RefreshToken)).Status, "both children live")
		require.Equal(t, http.StatusOK, direct(t, s, refreshForm(child.RefreshToken)).Status)

		<-time.After(time.Nanosecond)
		assert.Equal(t, "invalid_grant", direct(t, s, refreshForm(m.RefreshToken)).Error)
		assert.Equal(t, OutcomeReuse, last(t, s).Outcome)
		sum := s.Summary()
		assert.Equal(t, int64(1), sum.GrantsDead)
		assert.Equal(t, int64(1), sum.GraceUsed)
		assert.Equal(t, int64(1), sum.GenerationsPresentedTwice, "one generation, though presented three times")
		assert.Equal(t, int64(2), sum.ViolationsTotal)
	})
}

func TestReuseOffRefusesAndForgives(t *testing.T) {
	t.Parallel()
	s := New(Options{Reuse: ReuseOff})
	m := mintOne(t, s)
	second := direct(t, s, refreshForm(m.RefreshToken))
	assert.Equal(t, "invalid_grant", direct(t, s, refreshForm(m.RefreshToken)).Error)
	assert.Equal(t, OutcomeReuse, last(t, s).Outcome)
	assert.Equal(t, http.StatusOK, direct(t, s, refreshForm(second.RefreshToken)).Status)
	assert.Zero(t, s.Summary().GrantsDead)
}

func TestSimultaneousPresentations(t *testing.T) {
	t.Parallel()
	const callers = 100
	f := setup(t, Options{})
	m := mintOne(t, f.Server)
	answers := make([]answer, callers)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range callers {
		wg.Go(func() {
			<-start
			answers[i] = direct(t, f.Server, refreshForm(m.RefreshToken))
		})
	}
	close(start)
	wg.Wait()

	var winners []answer
	for _, a := range answers {
		if a.Status == http.StatusOK {
			winners = append(winners, a)
		}
	}
	require.Len(t, winners, 1)
	assert.Equal(t, "invalid_grant", direct(t, f.Server, refreshForm(winners[0].RefreshToken)).Error, "dead on arrival")
	sum := f.Summary()
	assert.Equal(t, int64(callers+1), sum.Presentations)
	assert.Equal(t, int64(1), sum.Rotations)
	assert.Equal(t, int64(1), sum.GrantsDead)
	assert.Equal(t, int64(1), sum.ReuseDetected, "the first one kills, the others find it dead")
	assert.Equal(t, int64(callers-2+1), sum.ByOutcome[OutcomeRevoked])
	assert.Equal(t, int64(1), sum.GenerationsPresentedTwice)
	assert.Len(t, sum.Violations, min(maxViolations, int(sum.ViolationsTotal)))
	assert.Zero(t, sum.InAir)
}

// TestSimultaneousGrants walks many families at once and looks for a token that
// was lost or mixed up.
func TestSimultaneousGrants(t *testing.T) {
	t.Parallel()
	const grants, rounds = 50, 40
	s := New(Options{})
	minted, err := s.Mint(MintRequest{Count: grants, Prefix: "u", First: 7})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i, m := range minted {
		wg.Go(func() {
			token := m.RefreshToken
			for range rounds {
				a := direct(t, s, refreshForm(token))
				if !assert.Equal(t, http.StatusOK, a.Status) {
					return
				}
				token = a.RefreshToken
				if i%10 == 0 {
					s.Summary() // readers must not disturb
				}
			}
		})
	}
	wg.Wait()
	sum := s.Summary()
	assert.Equal(t, int64(grants*rounds), sum.Rotations)
	assert.Equal(t, uint32(1), sum.MaxConcurrentPerGrant)
	assert.Empty(t, sum.Violations)
	assert.Zero(t, sum.Undelivered)
	for _, g := range s.Grants() {
		assert.Equal(t, uint32(rounds+1), g.Generation)
	}
	entries := s.Ledger(LedgerQuery{Grant: minted[3].Grant})
	require.Len(t, entries, rounds)
	for i, e := range entries {
		assert.Equal(t, uint32(i+1), e.Generation)
		assert.Equal(t, "u10", e.Subject)
	}
}

func TestConcurrentIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{NoRotate: true, Latency: time.Second})
		m := mintOne(t, s)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { direct(t, s, refreshForm(m.RefreshToken)) })
		}
		synctest.Wait()
		for i, e := range s.Ledger(LedgerQuery{}) {
			assert.True(t, e.InAir)
			assert.Equal(t, uint32(i+1), e.Concurrent)
		}
		assert.Equal(t, int64(3), s.Summary().InAir)
		wg.Wait()
		sum := s.Summary()
		assert.Equal(t, uint32(3), sum.MaxConcurrentPerGrant)
		assert.Equal(t, int64(2), sum.ViolationsTotal)
		assert.Equal(t, ViolationConcurrent, sum.Violations[0].Kind)
		direct(t, s, refreshForm(m.RefreshToken))
		assert.Equal(t, uint32(1), last(t, s).Concurrent, "those that have landed do not count")
	})
}

func TestLatency(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]bool{"rotates after": false, "rotates before": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := New(Options{Latency: 3 * time.Second, RotateBeforeLatency: before})
				m := mintOne(t, s)
				begin := time.Now()
				require.Equal(t, http.StatusOK, direct(t, s, refreshForm(m.RefreshToken)).Status)
				assert.Equal(t, 3*time.Second, time.Since(begin))
				e := last(t, s)
				rotatedAt := begin.Add(3 * time.Second)
				if before {
					rotatedAt = begin
				}
				assert.Equal(t, rotatedAt.UnixNano(), e.RotatedAt)
				assert.Equal(t, begin.UnixNano(), e.Received)
				assert.Equal(t, begin.Add(3*time.Second).UnixNano(), e.RepliedAt)
			})
		})
	}
}
