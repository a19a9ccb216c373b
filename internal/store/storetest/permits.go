package storetest

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

func (b *bundle) permits(limits store.Limits, want int, lease time.Duration) (int, string, time.Duration) {
	b.Helper()
	granted, id, wait, err := b.store.Permits(b.ctx, provider, limits, want, lease)
	require.NoError(b, err)
	return granted, id, wait
}

func permitsConcurrency(b *bundle) {
	limits := store.Limits{Concurrency: 5}
	granted, first, wait := b.permits(limits, 3, time.Hour)
	assert.Equal(b, 3, granted)
	assert.Zero(b, wait)
	granted, second, wait := b.permits(limits, 3, time.Hour)
	assert.Equal(b, 2, granted)
	assert.Zero(b, wait)
	granted, none, wait := b.permits(limits, 1, time.Hour)
	assert.Zero(b, granted)
	assert.Empty(b, none)
	assert.Zero(b, wait, "one may come back at any moment")

	require.NoError(b, b.store.ReturnPermits(b.ctx, provider, first, 2))
	granted, third, _ := b.permits(limits, 9, time.Hour)
	assert.Equal(b, 2, granted, "what was returned, and no more")
	require.NoError(b, b.store.ReturnPermits(b.ctx, provider, first, 9))
	require.NoError(b, b.store.ReturnPermits(b.ctx, provider, first, 9), "it has nothing left to give")
	require.NoError(b, b.store.ReturnPermits(b.ctx, provider, second, 2))
	require.NoError(b, b.store.ReturnPermits(b.ctx, provider, third, 2))
	require.NoError(b, b.store.ReturnPermits(b.ctx, provider, "", 2))
	granted, _, _ = b.permits(limits, 9, time.Hour)
	assert.Equal(b, 5, granted)
	granted, _, wait = b.permits(store.Limits{Concurrency: 3}, 1, time.Hour)
	assert.Zero(b, granted, "a limit that was lowered holds at once")
	assert.Zero(b, wait)
}

func permitsRate(b *bundle) {
	limits := store.Limits{Concurrency: 100, PerSecond: 80}
	since := b.clock() // before the bucket is emptied
	granted, _, wait := b.permits(limits, 10, time.Hour)
	assert.Equal(b, 4, granted, "a twentieth of a second's worth at once")
	assert.Positive(b, wait)
	assert.LessOrEqual(b, wait, 17*time.Millisecond)
	total := 0
	b.eventually(func() bool {
		granted, _, _ := b.permits(limits, 10, time.Hour)
		total += granted
		return total >= 8
	}, "the bucket fills up again")
	// In the 1.25 s of which one second may see all calls there are 4 of the bucket
	// and less than 77 more.
	assert.GreaterOrEqual(b, b.clock().Sub(since), 8*1250*time.Millisecond/77-time.Millisecond, "and no faster than leaves room for those who come late")

	// One every ten seconds still gets its one.
	granted, _, wait, err := b.store.Permits(b.ctx, "slow", store.Limits{PerSecond: 0.1}, 2, time.Hour)
	require.NoError(b, err)
	assert.Equal(b, 1, granted)
	assert.Greater(b, wait, 9*time.Second)
}

func permitsLease(b *bundle) {
	limits := store.Limits{Concurrency: 2}
	granted, dead, _ := b.permits(limits, 2, 20*time.Millisecond)
	require.Equal(b, 2, granted)
	b.eventually(func() bool {
		granted, _, _ := b.permits(limits, 2, time.Hour)
		return granted == 2
	}, "the permits of a holder that died")
	require.NoError(b, b.store.ReturnPermits(b.ctx, provider, dead, 2))
	granted, _, _ = b.permits(limits, 2, time.Hour)
	assert.Zero(b, granted, "a lease that ended has nothing to give back")
}

func permitsNone(b *bundle) {
	granted, id, wait := b.permits(store.Limits{}, 1000, time.Hour)
	assert.Equal(b, 1000, granted)
	assert.Empty(b, id)
	assert.Zero(b, wait)
	free, most, err := b.store.FreePermits(b.ctx, provider, store.Limits{}, time.Second)
	require.NoError(b, err)
	assert.Equal(b, math.MaxInt, free)
	assert.Equal(b, math.MaxInt, most)
	keys, err := b.Client.Keys(b.ctx, "rd:{permit:*").Result()
	require.NoError(b, err)
	assert.Empty(b, keys, "Redis was not asked")
}

func permitsFree(b *bundle) {
	free := func(limits store.Limits) [2]int {
		n, most, err := b.store.FreePermits(b.ctx, provider, limits, 2*time.Second)
		require.NoError(b, err)
		return [2]int{n, most}
	}
	assert.Equal(b, [2]int{16, math.MaxInt}, free(store.Limits{Concurrency: 16}))
	assert.Equal(b, [2]int{17, 17}, free(store.Limits{PerSecond: 10}), "a fifth is for those who come late, and a quarter of that for their way")
	assert.Equal(b, [2]int{16, 17}, free(store.Limits{Concurrency: 16, PerSecond: 10}), "however many may be out")
	assert.Equal(b, [2]int{1, 17}, free(store.Limits{Concurrency: 1, PerSecond: 10}))
	granted, _, _ := b.permits(store.Limits{Concurrency: 16}, 6, time.Hour)
	require.Equal(b, 6, granted)
	assert.Equal(b, [2]int{10, math.MaxInt}, free(store.Limits{Concurrency: 16}))
	assert.Equal(b, [2]int{0, math.MaxInt}, free(store.Limits{Concurrency: 6}))
}

// A provider that wants to be left alone is, by everybody; what is out is
// another matter.
func permitsHold(b *bundle) {
	limits := store.Limits{Concurrency: 5, PerSecond: 50}
	granted, out, _ := b.permits(limits, 2, time.Hour)
	require.Equal(b, 2, granted)
	why := store.Hold{Reason: credential.ReasonRateLimited, Detail: "HTTP 429"}
	require.NoError(b, b.store.HoldPermits(b.ctx, provider, time.Minute, why))
	require.NoError(b, b.store.HoldPermits(b.ctx, provider, time.Millisecond, store.Hold{Detail: "HTTP 400 slow_down"}), "a longer one stands")
	granted, none, wait := b.permits(limits, 1, time.Hour)
	assert.Zero(b, granted)
	assert.Empty(b, none)
	assert.Greater(b, wait, 30*time.Second)
	free, most, err := b.store.FreePermits(b.ctx, provider, limits, 2*time.Second)
	require.NoError(b, err)
	assert.Zero(b, free)
	assert.Zero(b, most)
	_, most, err = b.store.FreePermits(b.ctx, provider, limits, 2*time.Minute)
	require.NoError(b, err)
	assert.Positive(b, most, "it ends before")
	require.NoError(b, b.store.ReturnPermits(b.ctx, provider, out, 2))

	holds, err := b.store.Holds(b.ctx, "another", provider)
	require.NoError(b, err)
	require.Len(b, holds, 2)
	assert.Zero(b, holds[0])
	assert.WithinRange(b, holds[1].Until.Time(), b.clock().Time().Add(30*time.Second), b.clock().Time().Add(time.Minute))
	holds[1].Until = 0
	assert.Equal(b, why, holds[1])

	require.NoError(b, b.store.HoldPermits(b.ctx, "another", 5*time.Millisecond, why))
	b.eventually(func() bool {
		granted, _, _, err := b.store.Permits(b.ctx, "another", limits, 1, time.Hour)
		require.NoError(b, err)
		return granted == 1
	}, "it ends by itself")
}

func permitsRace(b *bundle) {
	limits := store.Limits{Concurrency: 7}
	var mu sync.Mutex
	out, most := 0, 0
	b.atOnce(20, func(int) error {
		for range 10 {
			granted, id, _, err := b.store.Permits(b.ctx, provider, limits, 3, time.Hour)
			if err != nil {
				return err
			}
			mu.Lock()
			out += granted
			most = max(most, out)
			mu.Unlock()
			mu.Lock()
			out -= granted
			mu.Unlock()
			if err := b.store.ReturnPermits(b.ctx, provider, id, granted); err != nil {
				return err
			}
		}
		return nil
	})
	assert.LessOrEqual(b, most, 7)
	assert.Positive(b, most)
	granted, _, _ := b.permits(limits, 9, time.Hour)
	assert.Equal(b, 7, granted, "all came back")
}

// Whoever only asks how many are free must not lose the count of those that
// have come back by themselves.
func permitsFreeCountsEndedLeases(b *bundle) {
	limits := store.Limits{Concurrency: 4}
	granted, _, _ := b.permits(limits, 4, 20*time.Millisecond)
	require.Equal(b, 4, granted)
	b.eventually(func() bool {
		free, _, err := b.store.FreePermits(b.ctx, provider, limits, 0)
		require.NoError(b, err)
		return free == 4
	}, "the lease ends")
	granted, _, _ = b.permits(limits, 4, time.Hour)
	assert.Equal(b, 4, granted)
}

// What a dead owner holds comes back at once, and what others hold stays.
func permitsReclaim(b *bundle) {
	limits := store.Limits{Concurrency: 5}
	other := b.open(func(o *store.Options) { o.Owner = "other" })
	granted, _, _, err := other.Permits(b.ctx, provider, limits, 3, time.Hour)
	require.NoError(b, err)
	require.Equal(b, 3, granted)
	granted, mine, _ := b.permits(limits, 2, time.Hour)
	require.Equal(b, 2, granted)

	require.NoError(b, b.store.ReclaimPermits(b.ctx, provider, "othe"))
	granted, _, _ = b.permits(limits, 1, time.Hour)
	require.Zero(b, granted, "another owner's name")
	require.NoError(b, b.store.ReclaimPermits(b.ctx, provider, "other"))
	require.NoError(b, b.store.ReclaimPermits(b.ctx, provider, "other"), "nothing is left to give")
	granted, _, _ = b.permits(limits, 9, time.Hour)
	assert.Equal(b, 3, granted)
	require.NoError(b, b.store.ReturnPermits(b.ctx, provider, mine, 2))
	granted, _, _ = b.permits(limits, 9, time.Hour)
	assert.Equal(b, 2, granted)
}

// Whoever comes late with a permit gets another place within the rate, if there is
// one, and no permit: he has that.
func permitsLapsed(b *bundle) {
	limits := store.Limits{Concurrency: 1, PerSecond: 1}
	granted, _, _ := b.permits(limits, 1, time.Hour)
	require.Equal(b, 1, granted)
	rate := store.Limits{PerSecond: 1}
	granted, id, wait := b.permits(rate, 1, 0)
	assert.Zero(b, granted, "its own place is gone")
	assert.Empty(b, id)
	assert.Greater(b, wait, time.Second, "and what comes is for one that may be used late as well")
	assert.LessOrEqual(b, wait, 1250*time.Millisecond)
	b.eventually(func() bool {
		granted, id, _ := b.permits(rate, 1, 0)
		return granted == 1 && id == ""
	}, "the next place")
	granted, _, _ = b.permits(store.Limits{Concurrency: 2}, 2, time.Hour)
	assert.Equal(b, 1, granted, "one permit is out, of those who may call")

	why := store.Hold{Reason: credential.ReasonRateLimited}
	require.NoError(b, b.store.HoldPermits(b.ctx, "held", time.Minute, why))
	granted, _, wait, err := b.store.Permits(b.ctx, "held", rate, 1, 0)
	require.NoError(b, err)
	assert.Zero(b, granted, "the provider has asked to be left alone")
	assert.Greater(b, wait, 30*time.Second)
}

// Replicas that come as late as they may, all at once, make no second fuller than
// the rate.
func permitsLate(b *bundle) {
	limits := store.Limits{Concurrency: 1000, PerSecond: 100}
	other := b.open(func(o *store.Options) { o.Owner = "other" })
	const spans = 5 // twice as long as it takes until calls can have left the second
	var mu sync.Mutex
	var calls []credential.Millis
	began := b.clock()
	b.atOnce(2, func(i int) error {
		s := []*store.Store{b.store, other}[i]
		var asked []credential.Millis
		for {
			now, err := s.Now(b.ctx)
			if err != nil {
				return err
			}
			if len(asked) > 0 && now.Sub(asked[0]) >= limits.Within()*9/10 {
				mu.Lock()
				for _, at := range asked {
					if now.Sub(at) <= limits.Within() { // the others have lapsed
						calls = append(calls, now)
					}
				}
				mu.Unlock()
				asked = nil
			}
			if now.Sub(began) >= spans*500*time.Millisecond {
				return nil
			}
			granted, _, _, err := s.Permits(b.ctx, provider, limits, 10, time.Hour)
			if err != nil {
				return err
			}
			for range granted {
				asked = append(asked, now)
			}
		}
	})
	slices.Sort(calls)
	most, from := 0, 0
	for to := range calls {
		for calls[to].Sub(calls[from]) > time.Second {
			from++
		}
		most = max(most, to-from+1)
	}
	assert.LessOrEqual(b, most, 100)
	assert.Greater(b, most, 50, "they do come")
}
