package api

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// The one event that the API makes itself looks as docs/events.md shows it, but
// for its ID.
func TestManualShowsTheReset(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/events.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)### `stream.reset`\n.*?```json\n(.*?)```").FindSubmatch(manual)
	require.NotNil(t, block, "docs/events.md has no example of it")
	var shown CloudEvent
	require.NoError(t, json.Unmarshal(block[1], &shown))

	a := &API{source: shown.Source, now: func() credential.Millis { return credential.At(shown.Time) }}
	event, err := a.resetEvent("cursor")
	require.NoError(t, err)
	var made CloudEvent
	require.NoError(t, json.Unmarshal(event.JSON, &made))
	_, err = ulid.ParseStrict(made.ID)
	require.NoError(t, err)
	made.ID = shown.ID
	text, err := json.Marshal(made)
	require.NoError(t, err)
	assert.JSONEq(t, string(block[1]), string(text))
}
