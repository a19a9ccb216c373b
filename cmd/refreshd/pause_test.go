package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What was held back stays so over a restart, and goes on when it is resumed:
// what was asked for meanwhile is made then.
func TestPauseOutlivesTheService(t *testing.T) {
	t.Parallel()
	s := startService(t)
	s.put(t, "paused:alice")
	s.refreshd(t, "", "pause", "--all")
	s.refreshd(t, "", "pause", "--provider", "other")
	s.refreshd(t, "", "pause", "paused:alice")

	state, err := s.Stop()
	require.NoError(t, err)
	require.Equal(t, exitOK, state.ExitCode())
	again := s.serve(t, "127.0.0.1:0")
	s.url = "http://" + again.ReadyMatch()[1]

	list := s.refreshd(t, "", "provider", "list")
	assert.Regexp(t, `acme +oauth2 +service paused`, list)
	assert.Regexp(t, `other +oauth2 +paused, service paused`, list)
	assert.Regexp(t, ` paused, service paused`, s.refreshd(t, "", "get", "paused:alice"))
	assert.Regexp(t, `ok +providers +provider other is paused`, s.refreshd(t, "", "doctor", "--config", s.config))
	s.refreshd(t, "", "resume", "--all")
	s.refreshd(t, "", "pause", "--provider", "acme")
	assert.Regexp(t, ` paused, provider paused`, s.refreshd(t, "", "list"))
	s.refreshd(t, "", "resume", "--provider", "acme")
	list = s.refreshd(t, "", "provider", "list")
	assert.Regexp(t, `acme +oauth2 +in use`, list)
	assert.Regexp(t, `other +oauth2 +paused`, list, "each is resumed by itself")
	assert.Contains(t, s.refreshd(t, "", "status"), `"paused": false`)

	s.refreshd(t, "", "refresh", "paused:alice", "--in", "0s")
	s.refreshd(t, "", "resume", "paused:alice")
	require.NoError(t, s.awaitRefreshed(t.Context(), "paused:alice"))
}
