package schedule_test

import (
	"testing"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/schedule"
)

var _ cron.Schedule = schedule.Schedule{} // robfig's cron runs it as it is

func TestParseAccepts(t *testing.T) {
	t.Parallel()
	for expr, interval := range map[string]time.Duration{
		"@every 15m":         15 * time.Minute,
		"@every 15m0s":       15 * time.Minute,
		"@every 900s":        15 * time.Minute,
		"@every 901s":        901 * time.Second,
		"@every 1d":          24 * time.Hour,
		"  @every   20m ":    20 * time.Minute,
		"@hourly":            time.Hour,
		"@daily":             24 * time.Hour,
		"@weekly":            7 * 24 * time.Hour,
		"@monthly":           28 * 24 * time.Hour,
		"@yearly":            365 * 24 * time.Hour,
		"*/15 * * * *":       15 * time.Minute,
		"*/30 * * * *":       30 * time.Minute,
		"7,37 * * * *":       30 * time.Minute,
		"0 * * * *":          time.Hour,
		"0 9-17 * * MON-FRI": time.Hour,
		"0 0 29 2 *":         (4*365 + 1) * 24 * time.Hour,
		"45 23 * * *":        24 * time.Hour,
		// 23:45 and 00:00 are fifteen minutes apart on adjacent days.
		"0,45 0,23 * * *": 15 * time.Minute,
		// 23:55 and 00:00 would be too close, but no two of these days touch.
		"0,55 0,23 1,3 * *": 55 * time.Minute,
	} {
		s, err := schedule.Parse(expr)
		if assert.NoError(t, err, expr) {
			assert.Equal(t, interval, s.Interval(), expr)
			assert.False(t, s.IsZero(), expr)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]string{
		"":                             "empty",
		"*/16 * * * *":                 "gap of 12m between 2024-01-01 00:48 UTC and 2024-01-01 01:00 UTC; the shortest allowed is 15m",
		"0,59 * * * *":                 "gap of 1m between 2024-01-01 00:59 UTC and 2024-01-01 01:00 UTC",
		"* * * * *":                    "gap of 1m between",
		"*/14 * * * *":                 "gap of 4m between",
		"0,55 0,23 31,1 12,1 *":        "gap of 5m between 2024-12-31 23:55 UTC and 2025-01-01 00:00 UTC",
		"0,50 0,23 29,1 2,3 *":         "gap of 10m between 2024-02-29 23:50 UTC and 2024-03-01 00:00 UTC",
		"@every 14m59s":                "gap of 14m59s between two fires; the shortest allowed is 15m",
		"@every -5m":                   "above zero",
		"@every 0s":                    "above zero",
		"@every -15m":                  "above zero",
		"@every 15m0.5s":               "whole seconds",
		"@every":                       "not a duration",
		"@every soon":                  "not a duration",
		"@every 15":                    "not a duration",
		"@every 9999999999999999999h":  "is too long; the longest duration is 106751d",
		"@every 999999999999d":         "is too long; the longest duration is 106751d",
		"0 0 30 2 *":                   "never fires",
		"0 0 31 4,6,9,11 *":            "never fires",
		", * * * *":                    "never fires",
		"* * , , ,":                    "never fires",
		"TZ=0":                         "time zone",
		"TZ=":                          "time zone",
		"CRON_TZ=UTC":                  "time zone",
		"TZ=Europe/Berlin 0 * * * *":   "time zone",
		" CRON_TZ=UTC 0 * * * *":       "time zone",
		"0 0 * *":                      "not a schedule",
		"0 0 0 * * *":                  "not a schedule",
		"@often":                       "not a schedule",
		"@everyday":                    "not a schedule",
		"61 * * * *":                   "not a schedule",
		"*/0 * * * *":                  "not a schedule",
		"* * * * 8":                    "not a schedule",
		"x":                            "not a schedule",
		"99999999999999999999 * * * *": "not a schedule",
	} {
		s, err := schedule.Parse(expr)
		if assert.ErrorContains(t, err, want, expr) {
			assert.True(t, s.IsZero(), expr)
		}
	}
}

func TestFloorIsAnOption(t *testing.T) {
	t.Parallel()
	s, err := schedule.Options{}.Parse("* * * * *")
	require.NoError(t, err)
	assert.Equal(t, time.Minute, s.Interval())
	_, err = schedule.Options{Floor: 2 * time.Minute}.Parse("* * * * *")
	require.ErrorContains(t, err, "the shortest allowed is 2m")
	_, err = schedule.Options{Floor: 48 * time.Hour}.Parse("0 0 * * *")
	require.ErrorContains(t, err, "gap of 24h between 2024-01-01 00:00 UTC and 2024-01-02 00:00 UTC; the shortest allowed is 48h")
}

func TestNextAndSlot(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		require.NoError(t, err)
		return v
	}
	for _, row := range []struct {
		expr, now, next string
		slot            int64
	}{
		{"@every 15m", "2026-03-01T12:07:00Z", "2026-03-01T12:15:00Z", at("2026-03-01T12:00:00Z").Unix() / 900},
		{"@every 15m", "2026-03-01T12:15:00Z", "2026-03-01T12:30:00Z", at("2026-03-01T12:15:00Z").Unix() / 900},
		{"@every 15m", "2026-03-01T12:14:59.999Z", "2026-03-01T12:15:00Z", at("2026-03-01T12:00:00Z").Unix() / 900},
		{"@every 15m", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", -1},
		{"@every 15m", "1969-12-31T23:45:00Z", "1970-01-01T00:00:00Z", -1},
		{"@hourly", "2026-03-01T12:07:00Z", "2026-03-01T13:00:00Z", at("2026-03-01T12:00:00Z").Unix()},
		{"@hourly", "2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z", at("2026-03-01T12:00:00Z").Unix()},
		{"@hourly", "2026-03-01T14:07:00+02:00", "2026-03-01T13:00:00Z", at("2026-03-01T12:00:00Z").Unix()},
		{"0 9-17 * * MON-FRI", "2026-03-01T12:07:00Z", "2026-03-02T09:00:00Z", at("2026-02-27T17:00:00Z").Unix()},
		{"0 0 29 2 *", "2026-03-01T12:07:00Z", "2028-02-29T00:00:00Z", at("2024-02-29T00:00:00Z").Unix()},
		{"0 0 1 1 *", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", at("2026-01-01T00:00:00Z").Unix()},
		// No 29 February between 1896 and 1904: asked for too early there is
		// no next one within five years, yet the latest one is found.
		{"0 0 29 2 *", "1903-03-01T00:00:00Z", "1904-02-29T00:00:00Z", at("1896-02-29T00:00:00Z").Unix()},
	} {
		s, err := schedule.Parse(row.expr)
		require.NoError(t, err)
		assert.Equal(t, at(row.next), s.Next(at(row.now)), "%s after %s", row.expr, row.now)
		assert.Equal(t, row.slot, s.Slot(at(row.now)), "%s at %s", row.expr, row.now)
	}
}

func TestZeroScheduleNeverFires(t *testing.T) {
	t.Parallel()
	var s schedule.Schedule
	assert.True(t, s.IsZero())
	assert.True(t, s.Next(time.Now()).IsZero())
	assert.Zero(t, s.Slot(time.Now()))
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "15m": 15 * time.Minute, "4d": 96 * time.Hour, "1d12h": 36 * time.Hour,
		"1.5d": 36 * time.Hour, "-1d12h": -36 * time.Hour, "-15m": -15 * time.Minute, "0d": 0, "106751d": 106751 * 24 * time.Hour,
	} {
		got, err := schedule.ParseDuration(in)
		if assert.NoError(t, err, in) {
			assert.Equal(t, want, got, in)
		}
	}
	for _, in := range []string{"", "d", "15", "1dd", "1d-2h", "--1d", "1h1d", "1d1", "1e9d", "NaNd", "1 d", "+1d", "-", ".h", "+99999999999d"} {
		_, err := schedule.ParseDuration(in)
		require.ErrorContains(t, err, "is not a duration", in)
	}
	for _, in := range []string{"106752d", "106751d24h", "9999999h", "-9999999h", "99999999999999999999.5ms", "1h9999999h"} {
		_, err := schedule.ParseDuration(in)
		require.ErrorContains(t, err, "is too long; the longest duration is 106751d", in)
	}
}

// FuzzParse: nothing panics, and what is accepted keeps the floor, numbers
// its fires consistently and grows.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"@every 15m", "@every 1d", "*/15 * * * *", "*/16 * * * *", "TZ=0", "TZ=", "CRON_TZ=UTC", "0 0 30 2 *", "0,55 0,23 31,1 12,1 *",
		"@hourly", "? ? ? ? ?", "0 0 1-31/7 JAN-MAR sun", "@every -5m", ",,, , , , ,", "0 0 29 2 1", "\x00", "@every 9223372036s",
	} {
		f.Add(seed, int64(1_767_225_600))
	}
	f.Fuzz(func(t *testing.T, expr string, unix int64) {
		s, err := schedule.Parse(expr)
		if err != nil {
			return
		}
		now := time.Unix(unix%(200*365*24*3600), 0)
		last := s.Next(now)
		if last.IsZero() {
			return // none within five years of an odd moment, such as around 1900
		}
		for range 200 {
			if !last.After(now) {
				t.Fatalf("%q: next after %s is %s", expr, now, last)
			}
			if a, b := s.Slot(last.Add(-time.Second)), s.Slot(last); a >= b || s.Slot(last.Add(time.Second)) != b {
				t.Fatalf("%q: slots %d and %d around %s", expr, a, b, last)
			}
			next := s.Next(last)
			if next.IsZero() {
				return
			}
			if next.Sub(last) < schedule.Floor || next.Sub(last) < s.Interval() {
				t.Fatalf("%q: gap of %s after %s, interval %s", expr, next.Sub(last), last, s.Interval())
			}
			now, last = last, next
		}
	})
}
