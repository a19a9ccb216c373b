package client

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestInstantPassesByEitherClock puts the two clocks of a machine apart, as a
// suspended machine or a clock that is set does.
func TestInstantPassesByEitherClock(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := instantOf(now.Add(time.Hour))
	assert.False(t, at.passed(now))
	assert.False(t, at.passed(now.Add(time.Hour-1)))
	assert.True(t, at.passed(now.Add(time.Hour)))

	woken := at // the monotonic clock stood still for two hours
	woken.wall -= int64(2 * time.Hour)
	assert.True(t, woken.passed(now))
	setBack := at // the wall clock was set back by two hours
	setBack.wall += int64(2 * time.Hour)
	assert.False(t, setBack.passed(now))
	assert.True(t, setBack.passed(now.Add(time.Hour)))
}

func TestHold(t *testing.T) {
	t.Parallel()
	sent := time.Now()
	for name, row := range map[string]struct {
		life, minTTL             time.Duration
		until, dead              time.Duration // from sent
		earliestAhead, lastAhead time.Duration
	}{
		"an hour":             {time.Hour, time.Minute, 59 * time.Minute, time.Hour - time.Second, 42 * time.Minute, 52 * time.Minute},
		"no wish":             {time.Hour, 0, time.Hour - time.Second, time.Hour - time.Second, 43 * time.Minute, 53 * time.Minute},
		"less than is wished": {30 * time.Second, time.Minute, 29 * time.Second, 29 * time.Second, 20 * time.Second, 26 * time.Second},
		"just as much":        {time.Minute, time.Minute, 59 * time.Second, 59 * time.Second, 42 * time.Second, 52 * time.Second},
		"a moment":            {2 * time.Second, time.Minute, time.Second, time.Second, time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 100 {
				h := hold(Token{}, sent, row.life, row.minTTL)
				assert.Equal(t, row.until, h.until.mono.Sub(sent))
				assert.Equal(t, row.dead, h.dead.mono.Sub(sent))
				ahead := h.ahead.mono.Sub(sent)
				assert.GreaterOrEqual(t, ahead, row.earliestAhead)
				assert.LessOrEqual(t, ahead, row.lastAhead)
			}
		})
	}
}
