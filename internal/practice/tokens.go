package practice

import (
	"crypto/rand"
	"strings"
	"sync"
)

const (
	accessPrefix  = "at_"
	refreshPrefix = "rt_"
	keyLen        = 32
	shardCount    = 64
	base62        = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// key is a token without its prefix: 190 random bits in base62.
type key [keyLen]byte

// newKeys returns an access and a refresh token's key. Both come from one read
// of the system's randomness, which is half the cost of two.
func newKeys() (access, refresh key) {
	var random [96]byte
	n := 0
	for n < 2*keyLen {
		_, _ = rand.Read(random[:]) // never fails: see crypto/rand
		for _, b := range random {
			if b >= 4*62 { // would favour the first letters
				continue
			}
			if n < keyLen {
				access[n] = base62[b%62]
			} else {
				refresh[n-keyLen] = base62[b%62]
			}
			if n++; n == 2*keyLen {
				break
			}
		}
	}
	return access, refresh
}

func parseKey(token, prefix string) (k key, ok bool) {
	rest, ok := strings.CutPrefix(token, prefix)
	if !ok || len(rest) != keyLen {
		return key{}, false
	}
	copy(k[:], rest)
	return k, true
}

// refreshRef says whose refresh token a key is. Grants are numbered from 1, the
// generations of a grant as well. Without a pointer in it, millions of spent
// tokens cost the garbage collector nothing.
type refreshRef struct {
	grant      uint32
	generation uint32
}

// accessRef says whose access token a key is. Grant 0 is a client acting for
// itself (RFC 6749, 4.4).
type accessRef struct {
	expires    int64 // Unix ns
	grant      uint32
	generation uint32
	client     label
	scope      label
}

func (r accessRef) expired(now int64) bool { return now >= r.expires }

// table is a map of tokens in shards with a lock each.
type table[V any] struct {
	shards [shardCount]shard[V]
}

type shard[V any] struct {
	mu        sync.RWMutex
	values    map[key]V
	nextSweep int
}

// firstSweep is the number of tokens of a shard before anything is swept.
const firstSweep = 1024

func newTable[V any]() *table[V] {
	t := new(table[V])
	for i := range t.shards {
		t.shards[i].values = make(map[key]V)
		t.shards[i].nextSweep = firstSweep
	}
	return t
}

func (t *table[V]) shard(k key) *shard[V] {
	return &t.shards[(uint(k[0])*62+uint(k[1]))%shardCount]
}

func (t *table[V]) get(k key) (V, bool) {
	s := t.shard(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.values[k]
	return v, ok
}

// put stores a token. Where dead is given, the dead tokens of the shard are
// forgotten each time their number has doubled, so that their memory is bounded
// by the living.
func (t *table[V]) put(k key, v V, dead func(V) bool) {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[k] = v
	if dead == nil || len(s.values) < s.nextSweep {
		return
	}
	for k, v := range s.values {
		if dead(v) {
			delete(s.values, k)
		}
	}
	s.nextSweep = max(firstSweep, 2*len(s.values))
}

func (t *table[V]) remove(k key) {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, k)
}
