package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A flag takes what the API takes for a length of time.
func TestSpan(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "90": 90 * time.Second, "90s": 90 * time.Second, "10m": 10 * time.Minute, "4d": 96 * time.Hour, "1d12h": 36 * time.Hour,
	} {
		var s span
		require.NoError(t, s.Set(text), text)
		assert.Equal(t, want, time.Duration(s), text)
	}
	var s span
	require.Error(t, s.Set(""))
	require.Error(t, s.Set("soon"))
}
