package store

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/client/eventlog"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
)

// Whoever reads the log in Redis by the public package gets what a webhook for
// all types gets, byte for byte.
func TestPublicReaderOfTheLog(t *testing.T) {
	t.Parallel()
	table := newEventTable()
	rapid.Check(t, func(t *rapid.T) {
		stored := genEvent().Draw(t, "event")
		line, err := table.appendEvent(nil, stored)
		require.NoError(t, err)
		position := fmt.Sprintf("%d-%d", rapid.OneOf(
			rapid.Just(int64(0)), rapid.Int64Range(1_700_000_000_000, 1_900_000_000_000), rapid.Int64Min(0),
		).Draw(t, "ms"), rapid.Uint64().Draw(t, "n"))

		entry := credential.LogEntry{Position: position, At: momentOf(position), Event: stored}
		want, unsayable := event.Expand(entry, "urn:refreshd:e", event.Filter{}).Encode()
		got, err := eventlog.Decode("urn:refreshd:e", position, string(line))
		require.NoError(t, err)
		text, err := json.Marshal(got)
		if unsayable != nil { // a moment that has no RFC 3339
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, string(want), string(text))
	})
}

func TestPublicNamesOfTheLog(t *testing.T) {
	t.Parallel()
	assert.Equal(t, keyMeta, eventlog.Meta)
	for shard, names := range allShardKeys(MaxShards) {
		assert.Equal(t, names.events, eventlog.Stream(shard))
		assert.Equal(t, names.trimmed, eventlog.Trimmed(shard))
	}
}
