package delivery

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestSchedules(t *testing.T) {
	t.Parallel()
	require.NoError(t, CheckSchedule(RetrySchedule()))
	require.NoError(t, CheckSchedule([]time.Duration{0}))
	require.NoError(t, CheckSchedule([]time.Duration{0, 10 * time.Millisecond}))
	for _, bad := range [][]time.Duration{nil, {time.Second}, {0, 0}, {0, time.Second, 9 * time.Millisecond}, {0, -time.Second}} {
		require.Error(t, CheckSchedule(bad), "%v", bad)
	}
	h := setupHooks(t, 1)
	h.sub.Schedule = []time.Duration{0, time.Millisecond}
	require.ErrorContains(t, h.SetSubscriptions(t.Context(), []Subscription{h.sub}), "1ms")
}

func TestLag(t *testing.T) {
	t.Parallel()
	const now, retention = credential.Millis(1_800_000_000_000), 96 * time.Hour
	for name, row := range map[string]struct {
		lag          time.Duration // 0: nothing is owed
		lagging      bool
		begins, ends bool
	}{
		"owes nothing":                {},
		"at three quarters":           {lag: 72 * time.Hour},
		"past them":                   {lag: 72*time.Hour + time.Millisecond, begins: true},
		"past them, and it was said":  {lag: 95 * time.Hour, lagging: true},
		"catching up":                 {lag: 60 * time.Hour, lagging: true},
		"caught up by half":           {lag: 48*time.Hour - time.Millisecond, lagging: true, ends: true},
		"caught up":                   {lagging: true, ends: true},
		"from the future, for clocks": {lag: -time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := Audit{Lagging: row.lagging}
			if row.lag != 0 {
				found.Oldest = now.Add(-row.lag)
			}
			begins, ends := lagChange(found, retention, now)
			assert.Equal(t, [2]bool{row.begins, row.ends}, [2]bool{begins, ends})
		})
	}
}
