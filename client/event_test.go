package client_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

// refreshed is an event as the service sends it.
const refreshed = `{"specversion":"1.0","id":"github:alice/7/9f86d081","source":"urn:refreshd:e1","type":"credential.refreshed",` +
	`"subject":"github:alice","time":"2026-03-01T12:00:00Z","datacontenttype":"application/json",` +
	`"data":{"credential":"github:alice","provider":"github","user":"4711","labels":{"team":"blue"},"state":"active","previous_state":"degraded",` +
	`"reason":"","initiated_by":"schedule","version":7,"previous_version":5,"expires_at":"2026-03-01T13:00:00Z"}}`

func TestEventIsRead(t *testing.T) {
	t.Parallel()
	var e client.Event
	require.NoError(t, json.Unmarshal([]byte(refreshed), &e))
	data := e.Data
	e.Data = nil
	assert.Equal(t, client.Event{
		ID: "github:alice/7/9f86d081", Source: "urn:refreshd:e1", Type: client.EventRefreshed, Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Credential: "github:alice", Provider: "github", User: "4711", Labels: map[string]string{"team": "blue"},
		State: client.StateActive, PreviousState: client.StateDegraded, InitiatedBy: "schedule", Version: 7, PreviousVersion: 5,
		ExpiresAt: time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC),
	}, e)
	assert.Contains(t, string(data), `"version":7`)
	assert.False(t, e.IsReset())
}

func TestEventIsWrittenAsItWasRead(t *testing.T) {
	t.Parallel()
	var e client.Event
	require.NoError(t, json.Unmarshal([]byte(refreshed), &e))
	text, err := json.Marshal(e)
	require.NoError(t, err)
	assert.JSONEq(t, refreshed, string(text))

	e.Data = nil // and so it is when it is made of its fields
	text, err = json.Marshal(e)
	require.NoError(t, err)
	var again client.Event
	require.NoError(t, json.Unmarshal(text, &again))
	again.Data = nil
	assert.Equal(t, e, again)
}

func TestEventsThatAreNotKnownPassThrough(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no data":            `{"specversion":"1.0","id":"1","source":"s","type":"stream.reset"}`,
		"null data":          `{"specversion":"1.0","id":"1","source":"s","type":"stream.reset","data":null}`,
		"other data":         `{"specversion":"1.0","id":"1","source":"s","type":"future.thing","data":[1,2]}`,
		"other members":      `{"specversion":"1.0","id":"1","source":"s","type":"future.thing","data":{"version":"seven"},"extension":1}`,
		"a later minor spec": `{"specversion":"1.1","id":"1","source":"s","type":"credential.refreshed","data":{"credential":"c","future":[]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var e client.Event
			require.NoError(t, json.Unmarshal([]byte(text), &e))
			assert.Equal(t, "1", e.ID)
			assert.Equal(t, e.Type == client.EventStreamReset, e.IsReset())
		})
	}
}

func TestEventsThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no object":       `[]`,
		"no version":      `{"id":"1","source":"s","type":"a"}`,
		"version 2":       `{"specversion":"2.0","id":"1","source":"s","type":"a"}`,
		"no ID":           `{"specversion":"1.0","source":"s","type":"a"}`,
		"no source":       `{"specversion":"1.0","id":"1","type":"a"}`,
		"no type":         `{"specversion":"1.0","id":"1","source":"s"}`,
		"a broken change": `{"specversion":"1.0","id":"1","source":"s","type":"credential.refreshed","data":{"version":-1}}`,
		"cut off":         refreshed[:200],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var e client.Event
			require.Error(t, json.Unmarshal([]byte(text), &e))
			assert.Equal(t, client.Event{}, e)
		})
	}
}

func FuzzEvent(f *testing.F) {
	f.Add(refreshed)
	f.Add(`{"specversion":"1.0","id":"1","source":"s","type":"future.thing","data":[1,2]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var e client.Event
		if json.Unmarshal([]byte(text), &e) != nil {
			return
		}
		written, err := json.Marshal(e)
		require.NoError(t, err)
		var again client.Event
		require.NoError(t, json.Unmarshal(written, &again))
		require.Equal(t, e.ID, again.ID)
		require.Equal(t, e.Version, again.Version)
	})
}
