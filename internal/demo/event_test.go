package demo

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestStreamIsReadMessageByMessage(t *testing.T) {
	t.Parallel()
	var got []string
	cursor, err := readStream(strings.NewReader("retry: 2000\nid: a\n\n:\n\nid: b\nevent: x\ndata: 1\ndata: 2\n\nid: c\ndata:3\n\nid: d\ndata: cut off"), "0",
		func(m message) error {
			got = append(got, m.cursor+"="+string(m.data))
			return nil
		})
	require.NoError(t, err)
	assert.Equal(t, []string{"b=1\n2", "c=3"}, got)
	assert.Equal(t, "c", cursor, "a message that was cut off is asked for again")
}

func TestStreamKeepsItsCursorWhenNobodyTakes(t *testing.T) {
	t.Parallel()
	full := errors.New("full")
	cursor, err := readStream(strings.NewReader("id: a\n\nid: b\ndata: 1\n\n"), "0", func(message) error { return full })
	require.ErrorIs(t, err, full)
	assert.Equal(t, "a", cursor)
}

func TestParseEvent(t *testing.T) {
	t.Parallel()
	e, err := parseEvent([]byte(`{"specversion":"1.0","id":"a/3/x","type":"credential.degraded","subject":"a","time":"2026-03-01T12:00:00Z",` +
		`"data":{"credential":"a","state":"degraded","previous_state":"active","reason":"provider_unavailable","version":3,"expires_at":"2026-03-01T12:00:04Z"}}`))
	require.NoError(t, err)
	want := degraded("a", 0)
	want.Expires = noon().Add(4 * time.Second)
	assert.Equal(t, want, e)

	e, err = parseEvent([]byte(`{"type":"stream.reset","time":"2026-03-01T12:00:00Z"}`))
	require.NoError(t, err)
	assert.Equal(t, event{Type: credential.EventStreamReset, At: noon()}, e)

	_, err = parseEvent([]byte(`{`))
	require.Error(t, err)
}
