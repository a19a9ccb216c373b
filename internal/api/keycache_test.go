package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// oneKey is a store with one key, or none.
type oneKey struct {
	key   *Key
	err   error
	finds atomic.Int64
	block chan struct{}
	panic bool
}

func (o *oneKey) Find(ctx context.Context, _ [sha256.Size]byte) (*Key, error) {
	o.finds.Add(1)
	if o.panic {
		panic("in the store")
	}
	if o.block != nil {
		select {
		case <-o.block:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return o.key, o.err
}

func (o *oneKey) Create(context.Context, [sha256.Size]byte, Key) error { return nil }
func (o *oneKey) List(context.Context) ([]Key, error)                  { return nil, nil }
func (o *oneKey) Revoke(context.Context, string) (bool, error)         { return false, nil }

// pass lets that much of a bubble's time pass.
func pass(d time.Duration) { <-time.After(d) }

func TestKeyCacheTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &oneKey{key: &Key{ID: "k"}}
		cache := newKeyCache(store)
		hash := [sha256.Size]byte{1}
		find := func() *Key {
			t.Helper()
			key, err := cache.find(t.Context(), hash)
			require.NoError(t, err)
			return key
		}
		assert.NotNil(t, find())
		store.key = nil // revoked
		pass(keyFresh - 1)
		assert.NotNil(t, find(), "believed for as long as it is fresh")
		pass(1)
		assert.Nil(t, find(), "and no longer")
		assert.EqualValues(t, 2, store.finds.Load())

		store.key = &Key{ID: "k"} // made again
		assert.Nil(t, find(), "a key that is none is remembered as well")
		pass(unknownFresh)
		assert.NotNil(t, find())

		cache.forget("k")
		store.key = nil
		assert.Nil(t, find())
	})
}

func TestKeyCacheServesWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &oneKey{key: &Key{ID: "k"}}
		cache := newKeyCache(store)
		_, err := cache.find(t.Context(), [sha256.Size]byte{1})
		require.NoError(t, err)
		store.err, store.key = errors.New("away"), nil
		for range 100 {
			pass(time.Minute)
			key, err := cache.find(t.Context(), [sha256.Size]byte{1})
			require.NoError(t, err)
			require.NotNil(t, key)
		}
		_, err = cache.find(t.Context(), [sha256.Size]byte{2})
		require.ErrorIs(t, err, store.err, "what is not known cannot be told")
		store.err = nil
		pass(unknownFresh)
		key, err := cache.find(t.Context(), [sha256.Size]byte{1})
		require.NoError(t, err)
		assert.Nil(t, key, "revoked meanwhile")
	})
}

// TestKeyCacheAsksOnce: while one caller asks for a known key, nobody waits.
func TestKeyCacheAsksOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &oneKey{key: &Key{ID: "k"}}
		cache := newKeyCache(store)
		hash := [sha256.Size]byte{1}
		_, err := cache.find(t.Context(), hash)
		require.NoError(t, err)
		pass(keyFresh)
		store.block = make(chan struct{})
		go func() { _, _ = cache.find(t.Context(), hash) }()
		synctest.Wait()
		for range 10 {
			key, err := cache.find(t.Context(), hash)
			require.NoError(t, err)
			assert.NotNil(t, key)
		}
		assert.EqualValues(t, 2, store.finds.Load())
		pass(askWithin) // the question has ended by itself
		synctest.Wait()
		pass(unknownFresh)
		close(store.block)
		_, err = cache.find(t.Context(), hash)
		require.NoError(t, err)
		assert.EqualValues(t, 3, store.finds.Load(), "it can be asked again")
	})
}

func TestKeyCacheSurvivesAPanicOfTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &oneKey{key: &Key{ID: "k"}}
		cache := newKeyCache(store)
		_, err := cache.find(t.Context(), [sha256.Size]byte{1})
		require.NoError(t, err)
		pass(keyFresh)
		store.panic = true
		assert.Panics(t, func() { _, _ = cache.find(t.Context(), [sha256.Size]byte{1}) })
		store.panic, store.key = false, nil
		key, err := cache.find(t.Context(), [sha256.Size]byte{1})
		require.NoError(t, err)
		assert.Nil(t, key, "it is asked again, and not believed for ever")
	})
}

// TestKeyCacheIsBounded: keys that are made up neither fill the memory nor
// drive out those that exist.
func TestKeyCacheIsBounded(t *testing.T) {
	t.Parallel()
	store := &oneKey{key: &Key{ID: "k"}}
	cache := newKeyCache(store)
	_, err := cache.find(t.Context(), [sha256.Size]byte{})
	require.NoError(t, err)
	store.key = nil
	for i := range 3 * keyCacheMax {
		hash := sha256.Sum256(fmt.Append(nil, i))
		_, err := cache.find(t.Context(), hash)
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, len(cache.known), keyCacheMax)
	assert.Contains(t, cache.known, [sha256.Size]byte{})

	store.key = &Key{ID: "many"}
	for i := range 2 * keyCacheMax {
		_, err := cache.find(t.Context(), sha256.Sum256(fmt.Append(nil, "k", i)))
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, len(cache.known), keyCacheMax)
}
