package ssf

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event/eventtest"
)

func entry() credential.LogEntry {
	return credential.LogEntry{Event: eventtest.Sample(), At: at * 1000}
}

// Whatever was signed before, during and after a rotation can be verified with
// the keys that a receiver got up to a quarter of an hour earlier, and a day
// later still.
func TestRotationOverlaps(t *testing.T) {
	t.Parallel()
	c := newClock()
	ring := NewRing(new(memoryKeys), c.read)
	tokens := transmitter(ring, c)
	signed := func() string {
		token, err := tokens.Token(t.Context(), entry(), someStream())
		require.NoError(t, err)
		return token
	}
	before := signed()
	first, err := ring.signer(t.Context())
	require.NoError(t, err)
	next, err := ring.Rotate(t.Context(), false)
	require.NoError(t, err)
	require.NotEqual(t, first.ID, next.ID)
	_, err = ring.Rotate(t.Context(), false)
	require.ErrorIs(t, err, ErrRotating)

	begun := c.read()
	stale := published(t, ring)
	received(t, stale, before)
	ids := map[string]bool{}
	for c.read().Sub(begun) < publishedBefore+publishedAfter-2*time.Minute {
		received(t, stale, signed())
		key, err := ring.signer(t.Context())
		require.NoError(t, err)
		ids[key.ID] = true
		assert.Equal(t, c.read().Sub(begun) >= publishedBefore, key.ID == next.ID, c.read().Sub(begun))
		received(t, published(t, ring), before)
		c.pass(KeysMaxAge - time.Minute)
		stale = published(t, ring)
	}
	assert.Len(t, ids, 2)
	c.pass(KeysMaxAge)
	keys, err := ring.Published(t.Context())
	require.NoError(t, err)
	require.Len(t, keys, 1, "the old one is no longer told")
	assert.Equal(t, next.ID, keys[0].ID)
	_, err = ring.Rotate(t.Context(), false)
	require.NoError(t, err, "the next rotation")
}

// A key that others have got hold of is withdrawn at once, from other replicas
// within half a minute.
func TestImmediateRotation(t *testing.T) {
	t.Parallel()
	c, store := newClock(), new(memoryKeys)
	ring, other := NewRing(store, c.read), NewRing(store, c.read)
	old, err := other.signer(t.Context())
	require.NoError(t, err)
	waiting, err := ring.Rotate(t.Context(), false)
	require.NoError(t, err)
	next, err := ring.Rotate(t.Context(), true)
	require.NoError(t, err)
	for _, r := range []*Ring{ring, other} {
		c.pass(lookEvery)
		keys, err := r.Published(t.Context())
		require.NoError(t, err)
		require.Len(t, keys, 1)
		assert.Equal(t, next.ID, keys[0].ID)
		assert.NotContains(t, []string{old.ID, waiting.ID}, keys[0].ID)
		key, err := r.signer(t.Context())
		require.NoError(t, err)
		assert.Equal(t, next.ID, key.ID)
	}
}

// Of many replicas that start at once, one makes the key of all.
func TestOneKeyForAllReplicas(t *testing.T) {
	t.Parallel()
	c, store := newClock(), new(memoryKeys)
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			key, err := NewRing(store, c.read).signer(t.Context())
			assert.NoError(t, err)
			ids[i] = key.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		assert.Equal(t, ids[0], id)
	}
	assert.EqualValues(t, 1, store.revision)
}

// Keys are read now and then, not for every token, and serve on while the store
// is away.
func TestKeysWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	c, store := newClock(), new(memoryKeys)
	ring := NewRing(store, c.read)
	first, err := ring.signer(t.Context())
	require.NoError(t, err)
	reads := store.reads
	for range 100 {
		_, err := ring.signer(t.Context())
		require.NoError(t, err)
	}
	assert.Equal(t, reads, store.reads)
	store.leave(true)
	c.pass(time.Hour)
	for range 10 {
		key, err := ring.signer(t.Context())
		require.NoError(t, err)
		assert.Equal(t, first.ID, key.ID)
	}
	assert.Equal(t, reads+1, store.reads, "it is not asked for each")
	_, err = ring.Rotate(t.Context(), false)
	require.ErrorIs(t, err, errAway)
	store.leave(false)
	c.pass(lookEvery)
	_, err = ring.Rotate(t.Context(), false)
	require.NoError(t, err)
	c.pass(-48 * time.Hour) // Redis's clock is set back
	key, err := ring.signer(t.Context())
	require.NoError(t, err)
	assert.Equal(t, first.ID, key.ID)
}

func TestKeysThatCannotBeRead(t *testing.T) {
	t.Parallel()
	c := newClock()
	for _, text := range []string{"", "[]", "{", `[{"private":"canary!"}]`, `[{"private":"Y2FuYXJ5"}]`} {
		_, err := NewRing(&memoryKeys{text: []byte(text), revision: 1}, c.read).signer(t.Context())
		require.ErrorIs(t, err, errKeys, text)
		assert.NotContains(t, err.Error(), "canary")
	}
}
