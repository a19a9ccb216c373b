package delivery

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// openCarrier holds something open, as one with a connection does.
type openCarrier struct {
	mu      sync.Mutex
	closed  int
	carried []string
}

func (c *openCarrier) Carry(_ context.Context, entry credential.LogEntry) Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed > 0 {
		return Outcome{Result: Unreachable, Err: ErrReplaced}
	}
	c.carried = append(c.carried, entry.Event.EventID())
	return Outcome{Result: Delivered}
}

func (c *openCarrier) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	return nil
}

func TestReplacedCarriersAreClosed(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	first, second := new(openCarrier), new(openCarrier)
	set := func(list ...Subscription) {
		require.NoError(t, h.SetSubscriptions(t.Context(), list))
	}
	set(Subscription{Name: "ui", Carrier: first})
	set(Subscription{Name: "ui", Carrier: first})
	assert.Zero(t, first.closed, "it is the same")
	set(Subscription{Name: "ui", Carrier: second})
	assert.Equal(t, 1, first.closed)
	set(Subscription{Name: "other", Carrier: first})
	assert.Equal(t, 1, second.closed, "its subscription is gone")
	h.Stop()
	assert.Equal(t, 2, first.closed, "it served again")
}

// A delivery that meets a carrier which was just replaced is none: the lane goes
// to somebody who has the new one, and no failure is counted.
func TestReplacedDuringADelivery(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	first, second := new(openCarrier), new(openCarrier)
	require.NoError(t, h.SetSubscriptions(t.Context(), []Subscription{{Name: "ui", Carrier: first}}))
	require.NoError(t, first.Close()) // as if it had been, behind this lane's back
	h.Emit("alice")
	lane := h.tell("alice")
	require.NoError(t, h.Advance(t.Context(), "ui", lane))
	assert.Contains(t, h.pending(), lane)
	deliveries, err := h.Store.Deliveries(t.Context(), "ui", 10)
	require.NoError(t, err)
	assert.Empty(t, deliveries)

	require.NoError(t, h.SetSubscriptions(t.Context(), []Subscription{{Name: "ui", Carrier: second}}))
	require.NoError(t, h.Advance(t.Context(), "ui", lane))
	assert.Len(t, second.carried, 1)
	assert.Empty(t, h.pending())
}
