package delivery

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
)

const trimmedLine = "trimmed before they could be delivered"

// resets returns the IDs of the resets that came, and how many other events
// came before the first of them.
func (h *hooks) resets() (ids []string, before int) {
	for _, e := range h.endpoint.received() {
		switch {
		case e.Type == string(credential.EventStreamReset):
			ids = append(ids, e.ID)
		case len(ids) == 0:
			before++
		}
	}
	return ids, before
}

// trimmed has the first event of each credential trimmed before it is
// delivered, and the second one not.
func (h *hooks) trimmed(ids ...credential.ID) []int {
	h.T.Helper()
	h.Emit(ids...)
	h.PassTime(time.Hour)
	h.Emit(ids...)
	_, err := h.Store.TrimEvents(h.T.Context(), h.Clock().Add(-time.Minute))
	require.NoError(h.T, err)
	return h.lanesOf(ids...)
}

// A receiver is told once of what was trimmed before it was delivered, ahead of
// all that follows, and so are people; and again when it happens again.
func TestTrimmedBeforeDelivery(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 3} {
		h := setupHooks(t, shards)
		h.sub.Filter = event.Filter{Types: []string{"credential.*"}}
		require.NoError(t, h.SetSubscriptions(t.Context(), []Subscription{h.sub}))
		all := inLane(20, false)
		for round := 1; round <= 2; round++ {
			h.endpoint.refusing(http.StatusBadGateway)
			lanes := h.trimmed(all...)
			require.NoError(t, h.Advance(t.Context(), "ui", lanes[0]))
			ids, before := h.resets()
			require.Len(t, ids, 2*round-1, "whatever types were asked for")
			if round == 1 {
				require.Zero(t, before)
			}
			came := len(h.endpoint.received())
			h.endpoint.answering(nil)
			h.PassTime(5 * time.Second)
			for _, lane := range lanes {
				require.NoError(t, h.Advance(t.Context(), "ui", lane))
			}
			ids, _ = h.resets()
			require.Len(t, ids, 2*round)
			assert.Equal(t, ids[2*round-2], ids[2*round-1], "what is delivered again has its ID")
			got := h.endpoint.received()[came:]
			require.Len(t, got, 1+len(all))
			assert.Nil(t, got[0].Data)
			assert.Equal(t, string(credential.EventStreamReset), got[0].Type)
			assert.Equal(t, round, strings.Count(h.logged.String(), trimmedLine))
			assert.Empty(t, h.pending())
		}
		ids, _ := h.resets()
		assert.NotEqual(t, ids[0], ids[2], "the second gap is another one")
		list, err := h.Store.Deliveries(t.Context(), "ui", 100)
		require.NoError(t, err)
		assert.Equal(t, string(credential.EventStreamReset), list[len(list)-1].Type)
	}
}

// Lanes that come upon a gap while one of them tells of it wait for that.
func TestGapThatAnotherLaneTells(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	lanes := h.trimmed(inLane(20, false)...)
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	h.endpoint.answering(func(http.ResponseWriter, event.CloudEvent) {
		asked <- struct{}{}
		<-answer
	})
	var first sync.WaitGroup
	var err error
	first.Go(func() { err = h.Advance(t.Context(), "ui", lanes[0]) })
	<-asked
	for _, lane := range lanes[1:] {
		require.NoError(t, h.Advance(t.Context(), "ui", lane))
	}
	h.endpoint.answering(nil)
	assert.Len(t, h.endpoint.received(), 1, "the reset alone")
	assert.Equal(t, lanes[1:], h.pending(), "somebody looks after them")
	close(answer)
	first.Wait()
	require.NoError(t, err)
	h.round()
	ids, before := h.resets()
	assert.Len(t, ids, 1)
	assert.Zero(t, before)
	assert.Len(t, h.endpoint.received(), 1+20)
}

// What cannot be told of a gap is given what is left.
func TestGapWithoutAWordForIt(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	carrier := new(openCarrier)
	require.NoError(t, h.SetSubscriptions(t.Context(), []Subscription{{Name: "ui", Carrier: carrier}}))
	for _, lane := range h.trimmed(inLane(20, false)...) {
		require.NoError(t, h.Advance(t.Context(), "ui", lane))
	}
	assert.Len(t, carrier.carried, 20)
	assert.Equal(t, 1, strings.Count(h.logged.String(), trimmedLine))
	assert.Contains(t, h.logged.String(), `"told":false`)
}
