package ssf

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func guide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/signals.md")
	require.NoError(t, err)
	return string(text)
}

// Every event type is in the table of what becomes what, or in the list of what
// is not sent.
func TestGuideHasTheMapping(t *testing.T) {
	t.Parallel()
	text := guide(t)
	_, unsent, found := strings.Cut(text, "Not sent, because")
	require.True(t, found)
	unsent, _, _ = strings.Cut(unsent, "\n")
	rows := map[string]string{}
	for line := range strings.Lines(text) {
		if cells := strings.Split(line, "|"); len(cells) == 5 {
			for kind := range strings.SplitSeq(cells[1], ",") {
				rows[strings.Trim(kind, " `")] = cells[2] + cells[3]
			}
		}
	}
	for _, kind := range credential.EventTypes() {
		row, sent := rows[string(kind)]
		uri := uriOf(kind)
		assert.Equal(t, uri != "", sent, kind)
		assert.Equal(t, uri == "", strings.Contains(unsent, "`"+string(kind)+"`"), kind)
		if !sent {
			continue
		}
		assert.Contains(t, row, "`"+uri[strings.LastIndexByte(uri, '/')+1:]+"`", kind)
		if change := payloadOf(credential.LogEntry{Event: credential.Event{Type: kind}}).ChangeType; change != "" {
			assert.Contains(t, row, "change_type: "+change, kind)
		}
	}
}

// The example is what is signed.
func TestGuideHasARealToken(t *testing.T) {
	t.Parallel()
	c := newClock()
	token, err := transmitter(NewRing(new(memoryKeys), c.read), c).Token(t.Context(), entry(), someStream())
	require.NoError(t, err)
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	var shown bytes.Buffer
	require.NoError(t, json.Indent(&shown, signed.UnsafePayloadWithoutVerification(), "", "  "))
	assert.Contains(t, guide(t), "```json\n"+shown.String()+"\n```", "%s", &shown)
}
