package journal

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

func drawIntent(t *rapid.T) Intent {
	var n credential.Nonce
	copy(n[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "nonce"))
	n[0] |= 1
	return Intent{
		Nonce:      n,
		ID:         credential.ID(rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}`).Draw(t, "id")),
		Generation: rapid.Uint64().Draw(t, "generation"),
		Grant:      rapid.Uint64().Draw(t, "grant"),
		At:         credential.Millis(rapid.Int64().Draw(t, "at")),
	}
}

// TestRecordsSurviveEncoding writes a record of each type into a file and
// reads it back.
func TestRecordsSurviveEncoding(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		i := drawIntent(t)
		opaque := rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "opaque")
		k := Keep{Nonce: i.Nonce, ID: i.ID, Generation: i.Generation, Grant: i.Grant, At: i.At, Sealed: opaque}
		c := Change{
			Nonce: i.Nonce, ID: i.ID, Grant: i.Grant, Version: i.Generation, At: i.At, Payload: opaque,
			Kind: rapid.SampledFrom([]ChangeKind{Put, Logout, Delete}).Draw(t, "kind"),
		}
		k.Nonce[1]++
		c.Nonce[1] += 2

		f := newFramer("owner")
		file := f.head("owner")
		file = f.appendIntent(file, &i)
		file = f.appendKeep(file, &k)
		file = f.appendChange(file, &c)
		file = append(file, make([]byte, 64)...)
		g, err := replay(bytes.NewReader(file), int64(len(file)), "owner", "test.wal")
		require.NoError(t, err)
		require.Empty(t, g.corrupt)
		require.Zero(t, g.torn)
		require.Equal(t, Records{Intents: []Intent{i}, Keeps: []Keep{k}, Changes: []Change{c}}, g.records())

		require.LessOrEqual(t, len(f.appendKeep(nil, &k)), int(roundUp(int64(headerSize+maxFields+len(opaque)), alignment)), "the room that is set aside is enough")
	})
}
