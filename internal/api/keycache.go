package api

import (
	"context"
	"crypto/sha256"
	"maps"
	"sync"
	"time"
)

const (
	// keyFresh is how long a key is believed without asking again: how long a
	// revoked one goes on working.
	keyFresh = 3 * time.Second
	// unknownFresh is how long a key is believed not to exist.
	unknownFresh = time.Second
	// askWithin bounds one question, askAgainWithin one about a key that is
	// known: nobody waits for a store that says nothing.
	askWithin      = 2 * time.Second
	askAgainWithin = 500 * time.Millisecond
	// keyCacheMax bounds the cache against callers who make keys up.
	keyCacheMax = 4096
)

// keyCache remembers keys for a few seconds, and beyond that while the store
// cannot be asked: reads go on then.
type keyCache struct {
	keys Keys
	now  func() time.Time

	mu    sync.Mutex
	known map[[sha256.Size]byte]*cachedKey
}

type cachedKey struct {
	key    *Key // nil: there is none
	until  time.Time
	asking bool // somebody is: the others go on with what is known
}

func newKeyCache(keys Keys) *keyCache {
	return &keyCache{keys: keys, now: time.Now, known: map[[sha256.Size]byte]*cachedKey{}}
}

// find returns the key with that hash, nil if there is none.
func (c *keyCache) find(ctx context.Context, hash [sha256.Size]byte) (*Key, error) {
	c.mu.Lock()
	entry, ok := c.known[hash]
	if ok && (entry.asking || c.now().Before(entry.until)) {
		defer c.mu.Unlock()
		return entry.key, nil
	}
	if ok {
		entry.asking = true
	}
	c.mu.Unlock()

	key, err := c.ask(ctx, hash, entry)

	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.keep(hash, key)
		return key, nil
	case ok && entry.key != nil:
		entry.until = c.now().Add(unknownFresh)
		return entry.key, nil
	default:
		delete(c.known, hash)
		return nil, err
	}
}

// ask looks a key up. However that ends, the entry can be asked for again.
func (c *keyCache) ask(ctx context.Context, hash [sha256.Size]byte, entry *cachedKey) (*Key, error) {
	if entry != nil {
		defer func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			entry.asking = false
		}()
	}
	within := askWithin
	if entry != nil && entry.key != nil {
		within = askAgainWithin
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	key, err := c.keys.Find(ctx, hash)
	if err != nil || key == nil {
		return nil, err
	}
	found := *key
	found.hash = hash
	return &found, nil
}

func (c *keyCache) keep(hash [sha256.Size]byte, key *Key) {
	if _, ok := c.known[hash]; !ok && len(c.known) >= keyCacheMax {
		c.evict()
	}
	fresh := keyFresh
	if key == nil {
		fresh = unknownFresh
	}
	c.known[hash] = &cachedKey{key: key, until: c.now().Add(fresh)}
}

// evict makes room: what is said not to exist goes first, for only such
// entries can be made at will. It makes enough that it is seldom called.
func (c *keyCache) evict() {
	maps.DeleteFunc(c.known, func(_ [sha256.Size]byte, entry *cachedKey) bool {
		return entry.key == nil && !entry.asking
	})
	for hash, entry := range c.known {
		if len(c.known) <= keyCacheMax*3/4 {
			return
		}
		if !entry.asking {
			delete(c.known, hash)
		}
	}
}

// forget makes the next question for that ID go to the store.
func (c *keyCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for hash, entry := range c.known {
		if entry.key != nil && entry.key.ID == id {
			delete(c.known, hash)
		}
	}
}
