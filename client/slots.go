package client

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// slots finds the slot of a credential. Those that are asked for often are
// found without a lock and without an allocation, for which sync.Map would need
// one: they are in a map that is never written to again.
type slots struct {
	published atomic.Pointer[map[string]*slot]

	mu     sync.Mutex
	all    map[string]*slot // what is published, and what came since
	misses int              // how often the lock was taken since the last publication
}

// of returns the slot of a credential, a new one if there is none.
func (s *slots) of(c *Client, id string) *slot {
	if published := s.published.Load(); published != nil {
		if found := (*published)[id]; found != nil {
			return found
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.all[id]
	if found == nil {
		found = &slot{client: c, id: id}
		if s.all == nil {
			s.all = map[string]*slot{}
		}
		s.all[id] = found
	}
	// Publishing costs as much as so many misses, so that n credentials cost
	// no more than 2n steps together.
	if s.misses++; s.misses >= len(s.all) {
		s.publish(found)
	}
	return found
}

// pin returns the slot of a credential for somebody who keeps it.
func (s *slots) pin(c *Client, id string) *slot {
	found := s.of(c, id)
	found.pinned.Store(true)
	return found
}

// publish makes all slots known to those who take no lock. Those that hold
// nothing any more go, but the one that is about to be used.
func (s *slots) publish(used *slot) {
	now := time.Now()
	maps.DeleteFunc(s.all, func(_ string, one *slot) bool { return one != used && one.idle(now) })
	s.published.Store(new(maps.Clone(s.all)))
	s.misses = 0
}
