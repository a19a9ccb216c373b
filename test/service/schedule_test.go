package service

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

// A fetch schedule under 15 minutes is refused at the start, however it is
// written, with the key, the gap that was found and the one that is allowed.
func TestFetchScheduleUnderTheFloorIsRefused(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, fetch string
		says        []string
	}{
		{"every minute", "* * * * *", []string{"gap of 1m", "the shortest allowed is 15m"}},
		{"every 16 minutes, as it seems", "*/16 * * * *", []string{"gap of 12m", "the shortest allowed is 15m"}},
		{"over the full hour", "0,59 * * * *", []string{"gap of 1m", "the shortest allowed is 15m"}},
		{"over midnight", "0 0,23 * * *", nil}, // an hour: allowed
		{"over midnight, closely", "0,55 0,23 * * *", []string{"gap of 5m", "the shortest allowed is 15m"}},
		{"a range", "0-14 3 * * *", []string{"gap of 1m", "the shortest allowed is 15m"}},
		{"every 14m59s", "@every 14m59s", []string{"gap of 14m59s", "the shortest allowed is 15m"}},
		{"every 15m", "@every 15m", nil},
		{"every 899 seconds", "@every 899s", []string{"gap of 14m59s", "the shortest allowed is 15m"}},
		{"every nothing", "@every 0s", []string{"above zero"}},
		{"every negative", "@every -5m", []string{"-5m"}},
		{"every millisecond", "@every 1ms", []string{"@every 1ms"}},
		{"a time zone", "TZ=Europe/Berlin 0 * * * *", []string{"time zone", "UTC"}},
		{"a cron time zone", "CRON_TZ=UTC */30 * * * *", []string{"time zone", "UTC"}},
		{"a time zone without a space", "CRON_TZ=UTC", []string{"time zone", "UTC"}},
		{"an empty time zone", "TZ=", []string{"time zone", "UTC"}},
		{"30 February", "0 0 30 2 *", []string{"never fires"}},
		{"seconds", "*/5 * * * * *", []string{"is not a schedule"}},
		{"no words", "often", []string{"is not a schedule"}},
	}
	p := newProvider(t, providerOptions{Options: practice.Options{}})
	for _, key := range []string{"schedule.fetch", "providers.acme.fetch"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			for _, row := range rows {
				h := newHouse(t, p, "redis://127.0.0.1:1/0") // nobody there: a good schedule fails later, and otherwise
				if key == "schedule.fetch" {
					h.config["schedule"] = map[string]any{"fetch": row.fetch}
				} else {
					h.acme()["fetch"] = row.fetch
				}
				h.save()
				out, code := h.runOnce(t, "config", "check")
				if row.says == nil {
					assert.Zero(t, code, "%s: %s", row.name, out)
					continue
				}
				assert.Equal(t, 2, code, "%s: %s", row.name, out)
				served, code := h.runOnce(t, "serve")
				assert.Equal(t, 1, code, "%s: %s", row.name, served)
				for _, said := range []string{out, served} {
					assert.Contains(t, said, key, row.name)
					assert.Contains(t, said, row.fetch, row.name)
					for _, words := range row.says {
						assert.Contains(t, said, words, row.name)
					}
				}
				assert.NotContains(t, served, "127.0.0.1:1", "%s: it is refused before anything is begun", row.name)
			}
		})
	}
}

// runOnce runs the program to its end and returns what it said, and its exit
// code.
func (h *house) runOnce(t *testing.T, args ...string) (string, int) {
	t.Helper()
	p := testproc.Start(t, testproc.Options{Path: program(t), Args: args, Dir: h.dir})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	state, err := p.Wait(ctx)
	require.NoError(t, err)
	return p.String(), state.ExitCode()
}
