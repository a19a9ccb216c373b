package api

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/schedule"
)

// A length of time is written as in config.yaml, or as a number of seconds.
func TestDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "90": 90 * time.Second, "90s": 90 * time.Second, "1.5h": 90 * time.Minute,
		"4d": 96 * time.Hour, "1d12h": 36 * time.Hour, "0.5d": 12 * time.Hour, "-1s": -time.Second,
	} {
		got, p := parseDuration("body.after", text)
		assert.Nil(t, p, text)
		assert.Equal(t, want, got, text)
		if told, err := schedule.ParseDuration(text); err == nil {
			assert.Equal(t, told, got, text)
		}
	}
	for _, text := range []string{"d", "4dd", "1d-1h", "-4d", "1h4d", "1e9d", "200000d", "106751d24h", "4 d", "soon"} {
		_, p := parseDuration("body.after", text)
		assert.NotNil(t, p, text)
	}
}
