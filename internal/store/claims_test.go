package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/store"
)

// Whichever replicas reserve, however much of it they claim and however much of
// that is worked on, no more waits than there is room for. What nobody tells of is
// gone when its claim has run out, whatever else is worked on meanwhile, and so is
// all when the clock is set back.
func TestNoMoreClaimsWaitThanThereIsRoom(t *testing.T) {
	t.Parallel()
	m, replicas := twoReplicas(t)
	const claimLasts = 5 * time.Second
	now := time.UnixMilli(1_800_000_000_000).UTC()
	serial := 0
	rapid.Check(t, func(rt *rapid.T) {
		serial++
		acme := fmt.Sprintf("acme-%d", serial)
		room := rapid.IntRange(1, 40).Draw(rt, "room")
		one := func() *store.Store { return replicas[rapid.IntRange(0, 1).Draw(rt, "replica")] }
		type claim struct {
			at time.Time
			id string
			n  int
		}
		var waiting []*claim // the oldest first
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 2000).Draw(rt, "ms")) * time.Millisecond)
			m.SetTime(now)
			if len(waiting) > 0 {
				c := rapid.SampledFrom(waiting).Draw(rt, "worked on")
				done := rapid.IntRange(0, 30).Draw(rt, "done")
				require.NoError(rt, one().ClaimsDone(rt.Context(), acme, c.id, done))
				c.n -= min(c.n, done)
			}
			left := room
			for _, c := range waiting {
				if now.Sub(c.at) < claimLasts {
					left -= c.n
				}
			}
			want := rapid.IntRange(0, 60).Draw(rt, "want")
			n, id, err := one().ReserveClaims(rt.Context(), acme, room, want)
			require.NoError(rt, err)
			require.Equal(rt, min(want, left), n)
			got := rapid.IntRange(0, n).Draw(rt, "claimed")
			require.NoError(rt, one().SettleClaims(rt.Context(), acme, id, got))
			waiting = append(waiting, &claim{now, id, got})
			if now.Sub(waiting[0].at) >= claimLasts {
				waiting = slices.DeleteFunc(waiting, func(c *claim) bool { return now.Sub(c.at) >= claimLasts })
			}
		}
		after := rapid.SampledFrom([]time.Duration{claimLasts, -time.Hour}).Draw(rt, "pause")
		m.SetTime(now.Add(after))
		n, _, err := one().ReserveClaims(rt.Context(), acme, room, room)
		require.NoError(rt, err)
		require.Equal(rt, room, n, "free %s later", after)
	})
}
