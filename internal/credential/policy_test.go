package credential_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestTimes(t *testing.T) {
	t.Parallel()
	assert.Equal(t, credential.Times{Send: 5 * time.Second, Exchange: 20 * time.Second, Commit: 5 * time.Second, Margin: 5 * time.Second}, credential.DefaultTimes(0))
	assert.Equal(t, 35*time.Second, credential.DefaultTimes(0).Attempt())
	assert.Equal(t, 5*time.Minute+15*time.Second, credential.DefaultTimes(5*time.Minute).Attempt())
}

func TestUsableGrace(t *testing.T) {
	t.Parallel()
	p := credential.Policy{Times: credential.DefaultTimes(20 * time.Second)}
	for _, short := range []time.Duration{0, 10 * time.Second, 25 * time.Second} {
		p.Grace = short
		assert.Zero(t, p.UsableGrace(), short)
	}
	for _, usable := range []time.Duration{25*time.Second + time.Millisecond, 10 * time.Minute} {
		p.Grace = usable
		assert.Equal(t, usable, p.UsableGrace())
	}
}

func TestMayRotate(t *testing.T) {
	t.Parallel()
	seen := func(rotated bool, kept int) credential.Rotated { return credential.Rotated{Seen: rotated, Kept: kept} }
	for _, c := range []struct {
		rotates credential.Rotates
		seen    credential.Rotated
		want    bool
	}{
		{credential.RotatesYes, seen(false, 9), true},
		{credential.RotatesNo, seen(true, 0), false},
		{credential.RotatesAuto, seen(false, 0), true},
		{credential.RotatesAuto, seen(false, 1), true},
		{credential.RotatesAuto, seen(false, 2), false},
		{credential.RotatesAuto, seen(true, 0), true},
		{credential.RotatesAuto, seen(true, 9), true}, // one that rotates now and then rotates
		{"", seen(false, 9), true},
	} {
		assert.Equal(t, c.want, credential.Policy{Rotates: c.rotates}.MayRotate(c.seen), "%+v", c)
	}
}

// lives are those that real providers issue, and shorter ones.
func lives() []time.Duration {
	return []time.Duration{
		time.Millisecond, 9 * time.Millisecond, time.Second, 10 * time.Second, time.Minute, 5 * time.Minute,
		time.Hour, 12 * time.Hour, 60 * 24 * time.Hour, credential.MaxLifetime,
	}
}

func TestPlanRefresh(t *testing.T) {
	t.Parallel()
	p := setup(t).policy
	for _, life := range lives() {
		lowest, highest := math.Inf(1), math.Inf(-1)
		for i := range 1000 {
			at := p.PlanRefresh(credential.ID(fmt.Sprintf("acct-%d", i)), version(i), issued, life)
			assert.Equal(t, at, p.PlanRefresh(credential.ID(fmt.Sprintf("acct-%d", i)), version(i), issued, life), "not the same each time")
			part := float64(at.Sub(issued)) / float64(life)
			lowest, highest = min(lowest, part), max(highest, part)
		}
		fuzz := float64(time.Millisecond) / float64(life) // moments are cut to the millisecond
		assert.GreaterOrEqual(t, lowest, 2.0/3-0.1-fuzz, life)
		assert.LessOrEqual(t, highest, 2.0/3+0.1, life)
		if life >= time.Second {
			assert.Less(t, lowest, 2.0/3-0.09, "%s: the lower end is never used", life)
			assert.Greater(t, highest, 2.0/3+0.09, "%s: the upper end is never used", life)
		}
	}
}

// Whatever the settings, a tenth of the life is left and no refresh is planned
// before the token was issued.
func TestPlanRefreshLeavesATenth(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := credential.Policy{
			RefreshAt: rapid.Float64Range(0, 1).Draw(t, "refresh_at"),
			Jitter:    rapid.Float64Range(0, 1).Draw(t, "jitter"),
		}
		if rapid.Bool().Draw(t, "has idle") {
			p.RefreshIdle = time.Duration(rapid.Int64Range(int64(time.Second), int64(400*24*time.Hour)).Draw(t, "idle"))
		}
		life := time.Duration(rapid.Int64Range(1, int64(credential.MaxLifetime)).Draw(t, "life"))
		at := p.PlanRefresh(credential.ID(rapid.StringN(1, 20, 20).Draw(t, "id")), rapid.Uint64().Draw(t, "version"), issued, life)
		if at < issued || at.Sub(issued) > time.Duration(0.9*float64(life)) {
			t.Fatalf("planned %s into a life of %s", at.Sub(issued), life)
		}
		if p.RefreshIdle > 0 && at.Sub(issued) > p.RefreshIdle/2 {
			t.Fatalf("planned after %s, the idle limit is %s", at.Sub(issued), p.RefreshIdle)
		}
	})
}

func TestPlanRefreshIdle(t *testing.T) {
	t.Parallel()
	p := setup(t).policy
	p.RefreshIdle = 30 * time.Minute // Keycloak's, with an access token that lives longer
	assert.Equal(t, issued+15*minute, p.PlanRefresh("a", 1, issued, 10*time.Hour))
	p.RefreshIdle = 60 * 24 * time.Hour
	assert.Greater(t, p.PlanRefresh("a", 1, issued, time.Hour), issued+30*minute)
	assert.Less(t, p.PlanRefresh("a", 1, issued, time.Hour), issued+50*minute)
}

// Ten thousand credentials that were stored together come due evenly over the
// whole of the jitter, whether their IDs count up or their versions do.
func TestJitterIsEven(t *testing.T) {
	t.Parallel()
	p := credential.Policy{RefreshAt: 0.5, Jitter: 0.5}
	const buckets, many = 50, 10_000
	for name, at := range map[string]func(i int) credential.Millis{
		"IDs": func(i int) credential.Millis {
			return p.PlanRefresh(credential.ID(fmt.Sprintf("user-%d", i)), 1, 0, 100_000*time.Second)
		},
		"padded": func(i int) credential.Millis {
			return p.PlanRefresh(credential.ID(fmt.Sprintf("%08d", i)), 1, 0, 100_000*time.Second)
		},
		"versions": func(i int) credential.Millis { return p.PlanRefresh("user-1", version(i), 0, 100_000*time.Second) },
	} {
		var counts [buckets]int
		used := 0
		for i := range many {
			// The upper end of the jitter is cut off at nine tenths: look below.
			if moment := at(i); moment < 90_000_000-1 {
				counts[int(moment)*buckets/90_000_000]++
				used++
			}
		}
		assert.InDelta(t, 0.9*many, used, 150, name)
		var chi float64
		expected := float64(used) / buckets
		for _, n := range counts {
			chi += (float64(n) - expected) * (float64(n) - expected) / expected
		}
		// 49 degrees of freedom: 85.4 is exceeded by chance once in a thousand,
		// and the inputs are fixed.
		assert.Less(t, chi, 85.4, "%s: %v", name, counts)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	p := credential.Policy{}
	around := func(t *testing.T, want time.Duration, failures int, life time.Duration) {
		t.Helper()
		for i := range 200 {
			got := p.Backoff(credential.ID(fmt.Sprintf("acct-%d", i)), failures, life)
			assert.GreaterOrEqual(t, got, want*9/10, "failure %d of a life of %s", failures, life)
			assert.LessOrEqual(t, got, want*11/10, "failure %d of a life of %s", failures, life)
		}
	}
	for failures, seconds := range []int64{2, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300} {
		want := time.Duration(seconds) * time.Second
		around(t, want, failures, time.Hour)
		around(t, want, failures, 0)
	}
	around(t, 5*time.Minute, math.MaxInt, time.Hour)
	around(t, 2*time.Second, -3, time.Hour)
	around(t, 75*time.Second, 20, 5*time.Minute) // a quarter of the life
	around(t, 15*time.Second, 20, time.Minute)
	around(t, time.Second, 20, 3*time.Second) // never faster than that
	around(t, time.Second, 1, time.Millisecond)
}

func TestBackoffVaries(t *testing.T) {
	t.Parallel()
	seen := map[int64]bool{}
	for i := range 100 {
		seen[credential.Policy{}.Backoff(credential.ID(fmt.Sprintf("acct-%d", i)), 5, time.Hour).Nanoseconds()] = true
	}
	assert.Greater(t, len(seen), 90)
}

func version(i int) uint64 { return uint64(max(i, 0)) }
