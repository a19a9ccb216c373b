package scheduler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/schedule"
)

func parse(t *testing.T, expr string) schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(expr)
	require.NoError(t, err)
	return s
}

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return at
}

func TestASlotIsNamedByTheMomentItWasOpened(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ expr, now, opened string }{
		{"@every 15m", "2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"},
		{"@every 15m", "2026-03-01T10:14:59Z", "2026-03-01T10:00:00Z"},
		{"@every 20m", "2026-03-01T10:47:00Z", "2026-03-01T10:40:00Z"},
		{"*/15 * * * *", "2026-03-01T10:14:59Z", "2026-03-01T10:00:00Z"},
		{"0 9-17 * * MON-FRI", "2026-03-01T10:00:00Z", "2026-02-27T17:00:00Z"}, // a Sunday
		{"0 0 29 2 *", "2026-03-01T10:00:00Z", "2024-02-29T00:00:00Z"},
	} {
		assert.Equal(t, moment(t, row.opened).Unix(), openedAt(parse(t, row.expr), moment(t, row.now)), "%s at %s", row.expr, row.now)
	}
}

func TestAReplacedScheduleNeverLooksLikeTheFuture(t *testing.T) {
	t.Parallel()
	exprs := []string{"@every 15m", "@every 1h", "@every 7d", "*/30 * * * *", "0 3 * * *", "0 0 1 1 *"}
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(rapid.Int64Range(1_700_000_000, 1_900_000_000).Draw(t, "now"), 0).UTC()
		before, err := schedule.Parse(rapid.SampledFrom(exprs).Draw(t, "before"))
		if err != nil {
			t.Fatal(err)
		}
		after, err := schedule.Parse(rapid.SampledFrom(exprs).Draw(t, "after"))
		if err != nil {
			t.Fatal(err)
		}
		stored := Slot{Done: openedAt(before, now)}
		if got := decide(stored, openedAt(after, now), after.Next(now).Unix(), credential.At(now)); got == stepExtra {
			t.Fatalf("from %s to %s at %s", before, after, now)
		}
	})
}

func TestDecide(t *testing.T) {
	t.Parallel()
	const (
		slot = 900_000
		next = slot + 900
		now  = credential.Millis(slot*1000 + 60_000)
	)
	for name, row := range map[string]struct {
		stored Slot
		want   step
	}{
		"never ran":              {Slot{}, stepOpen},
		"the one before is done": {Slot{Done: slot - 900}, stepOpen},
		"many were missed":       {Slot{Done: slot - 90_000}, stepOpen},
		"done":                   {Slot{Done: slot}, stepNone},
		"done by a replica that is ahead a little": {Slot{Done: next}, stepNone},
		"done in a future that is over":            {Slot{Done: next + 1}, stepExtra},
		"somebody works on it":                     {Slot{Done: slot - 900, Running: slot, Until: now + 1}, stepNone},
		"its worker died":                          {Slot{Done: slot - 900, Running: slot, Until: now}, stepResume},
		"an earlier one is still worked on":        {Slot{Running: slot - 900, Until: now + 1}, stepNone},
		"the worker of an earlier one died":        {Slot{Running: slot - 900, Until: now - 1}, stepOpen},
		"began in a future that is over":           {Slot{Running: next + 900}, stepExtra},
	} {
		assert.Equal(t, row.want, decide(row.stored, slot, next, now), name)
	}
	assert.Equal(t, stepNone, decide(Slot{}, 0, next, now), "a schedule that never fired")
}

func TestCronIsWokenEveryThirtySecondsAndAtTheSlot(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		expr := rapid.SampledFrom([]string{"@every 15m", "*/30 * * * *", "0 0 29 2 *"}).Draw(t, "expr")
		s, err := schedule.Parse(expr)
		if err != nil {
			t.Fatal(err)
		}
		store := credential.Millis(rapid.Int64Range(1_700_000_000_000, 1_900_000_000_000).Draw(t, "store"))
		local := time.UnixMilli(rapid.Int64Range(1_700_000_000_000, 1_900_000_000_000).Draw(t, "local"))
		wait := capped{s, stillClock{fakeClock: &fakeClock{}, now: store}}.Next(local).Sub(local)
		if wait <= 0 || wait > longestSleep {
			t.Fatalf("cron would sleep for %s", wait)
		}
		if at := s.Next(store.Time()); !at.IsZero() && at.Before(store.Time().Add(wait)) {
			t.Fatalf("cron would sleep past %s", at)
		}
		if at := s.Next(store.Time()); wait < longestSleep && !at.Equal(store.Time().Add(wait)) {
			t.Fatalf("cron would be woken before %s", at)
		}
	})
}

// stillClock does not go.
type stillClock struct {
	*fakeClock

	now credential.Millis
}

func (c stillClock) Now() credential.Millis { return c.now }

func TestASweepMayTakeItsIntervalAtMost(t *testing.T) {
	t.Parallel()
	assert.Equal(t, 10*time.Minute, within(parse(t, "@every 15m"), 10*time.Minute))
	assert.Equal(t, 15*time.Minute, within(parse(t, "@every 15m"), time.Hour))
	assert.Equal(t, time.Hour, within(schedule.Schedule{}, time.Hour))
}
