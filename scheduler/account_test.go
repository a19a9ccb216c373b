package scheduler

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestNoWindowHoldsMoreClaimsThanItsCapacity(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var a account
		now := time.Unix(1_700_000_000, 0)
		capacity := rapid.IntRange(0, 40).Draw(t, "capacity")
		window := time.Duration(rapid.IntRange(1, int(longestWindow/time.Millisecond)).Draw(t, "window")) * time.Millisecond
		type claim struct {
			at time.Time
			n  int
		}
		var made []claim
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 700).Draw(t, "ms")) * time.Millisecond)
			want := rapid.IntRange(0, 60).Draw(t, "want")
			r := a.reserve(now, window, capacity, want)
			if r.n < 0 || r.n > want {
				t.Fatalf("reserved %d of %d", r.n, want)
			}
			got := rapid.IntRange(0, r.n).Draw(t, "claimed")
			a.settle(r, got)
			made = append(made, claim{now, got})
			sum := 0
			for _, c := range made {
				if now.Sub(c.at) < window {
					sum += c.n
				}
			}
			if sum > capacity {
				t.Fatalf("%d claims within %s, capacity %d", sum, window, capacity)
			}
		}
		now = now.Add(longestWindow)
		if r := a.reserve(now, window, capacity, capacity); r.n != capacity {
			t.Fatalf("after a pause %d of %d are free", r.n, capacity)
		}
	})
}
