package client

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newSlots(t *testing.T) *Client {
	t.Helper()
	c, err := New("http://127.0.0.1:1", Options{Key: "k"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// put has a slot hold a token of that life.
func put(s *slot, life time.Duration) *slot {
	s.held.Store(hold(Token{}, time.Now(), life, 0))
	return s
}

func TestSlotsFindWhatTheyHold(t *testing.T) {
	t.Parallel()
	c := newSlots(t)
	const many = 1000
	found := make([]*slot, many)
	for i := range found {
		found[i] = put(c.slots.of(c, fmt.Sprint("id-", i)), time.Hour)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 3 {
				for i, want := range found {
					if c.slots.of(c, fmt.Sprint("id-", i)) != want {
						t.Error("one credential has two slots")
					}
				}
			}
		})
	}
	all.Wait()
	published := *c.slots.published.Load()
	assert.Len(t, published, many, "all are found without the lock after they were asked for again")
}

func TestSlotsLetGoOfWhatHasEnded(t *testing.T) {
	t.Parallel()
	c := newSlots(t)
	pinned := c.slots.pin(c, "pinned")
	for i := range 1000 {
		put(c.slots.of(c, fmt.Sprint("ended-", i)), time.Second)
	}
	alive := put(c.slots.of(c, "alive"), time.Hour)
	c.slots.mu.Lock()
	c.slots.publish(alive)
	c.slots.mu.Unlock()
	assert.Len(t, *c.slots.published.Load(), 2)
	assert.Same(t, pinned, c.slots.of(c, "pinned"))
	assert.Same(t, alive, c.slots.of(c, "alive"))
}
