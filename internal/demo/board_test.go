package demo

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/practice"
)

// noon is the moment of all these tests.
func noon() time.Time { return time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC) }

func refreshed(id string, version uint64, ago time.Duration) event {
	at := noon().Add(-ago)
	return event{
		Type: credential.EventRefreshed, ID: id, At: at, Version: version,
		State: credential.StateActive, Previous: credential.StateActive, Expires: at.Add(20 * time.Second),
	}
}

// degraded is the third version.
func degraded(id string, ago time.Duration) event {
	e := refreshed(id, 3, ago)
	e.Type, e.State, e.Reason = credential.EventDegraded, credential.StateDegraded, "provider_unavailable"
	e.Expires = noon().Add(4 * time.Second)
	return e
}

func TestBoardTakesEachEventOnce(t *testing.T) {
	t.Parallel()
	b := newBoard()
	assert.True(t, b.took(refreshed("a", 2, 3*time.Second)))
	assert.False(t, b.took(refreshed("a", 2, 3*time.Second)), "delivery is at least once")
	assert.False(t, b.took(refreshed("a", 1, 9*time.Second)))
	assert.True(t, b.took(degraded("a", time.Second)))
	assert.Equal(t, 1, b.refreshed())
	assert.Equal(t, "0 active, 1 degraded", countsText(b.counts()))
}

func TestBoardMergesTheListWithNewerEvents(t *testing.T) {
	t.Parallel()
	b := newBoard()
	b.took(degraded("a", time.Second))
	b.listed(row{ID: "a", State: credential.StateActive, Version: 2, Expires: noon()})
	b.listed(row{ID: "b", State: credential.StateActive, Version: 1, Expires: noon().Add(time.Minute)})
	assert.Equal(t, "1 active, 1 degraded", countsText(b.counts()))

	assert.True(t, b.took(refreshed("b", 1, 0)), "the list told of this version, its event was not seen yet")
	rows := b.sorted()
	require.Len(t, rows, 2)
	assert.Equal(t, "a", rows[0].ID, "what is not well comes first")
	assert.Equal(t, credential.EventRefreshed, rows[1].Last)
}

func TestBoardForgetsWhatIsDeletedAndShowsNoClientRecord(t *testing.T) {
	t.Parallel()
	b := newBoard()
	b.took(refreshed("a", 1, 0))
	e := refreshed("a", 2, 0)
	e.Type, e.State = credential.EventDeleted, credential.StateDeleted
	b.took(e)
	b.took(event{Type: credential.EventProviderOutage, ID: string(credential.ClientID("practice")), Version: 1, At: noon()})
	b.took(event{Type: credential.EventStreamReset, At: noon()})
	assert.Empty(t, b.sorted())
	assert.Len(t, b.events, 4)
}

func TestBoardKeepsTheLastEvents(t *testing.T) {
	t.Parallel()
	b := newBoard()
	for i := range keptEvents + 3 {
		b.took(refreshed(fmt.Sprintf("c%02d", i), 1, 0))
	}
	require.Len(t, b.events, keptEvents)
	assert.Equal(t, "c03", b.events[0].ID)
}

func TestRateIsThatOfTheLastSeconds(t *testing.T) {
	t.Parallel()
	b := newBoard()
	for i, ago := range []time.Duration{30 * time.Second, 11 * time.Second, 9 * time.Second, time.Second} {
		b.took(refreshed(fmt.Sprint(i), 1, ago))
	}
	assert.InDelta(t, 0.2, b.rate(noon()), 1e-9)
	assert.Equal(t, 4, b.refreshed())
}

func TestEventLines(t *testing.T) {
	t.Parallel()
	connected := refreshed("user-07", 1, 0)
	connected.Type, connected.Previous = credential.EventConnected, ""
	for want, e := range map[string]event{
		"12:00:00.000  credential.connected     user-07    v1   active, expires in 20.0s":                                   connected,
		"11:59:58.000  credential.degraded      user-07    v3   active -> degraded (provider_unavailable), expires in 6.0s": degraded("user-07", 2*time.Second),
		"12:00:00.000  stream.reset             -":                                                                          {Type: credential.EventStreamReset, At: noon()},
	} {
		assert.Equal(t, want, eventLine(e, time.UTC))
	}
}

func TestLeft(t *testing.T) {
	t.Parallel()
	for want, expires := range map[string]time.Time{
		"-": {}, "over": noon(), "0.1s": noon().Add(100 * time.Millisecond), "1h0m0s": noon().Add(time.Hour),
	} {
		assert.Equal(t, want, left(expires, noon()))
	}
}

func TestSummaryLine(t *testing.T) {
	t.Parallel()
	b := newBoard()
	b.took(refreshed("a", 2, 3*time.Second))
	b.took(degraded("b", time.Second))
	b.provider = practice.Summary{Rotations: 7, GenerationsPresentedTwice: 1, GrantsDead: 2}
	assert.Equal(t, "12:00:00.000  == 1 active, 1 degraded; 1 refreshes, 0.1/s over 10s; "+
		"provider: 7 rotations, 1 generation presented twice, 2 dead grants", summaryLine(b, noon()))
}
