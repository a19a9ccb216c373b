package refresh

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	cacheShards   = 64
	cachePerShard = 4096 // records; with 64 shards about a quarter of a million
)

// tokenCache keeps the records that this process has read or written, so that
// a read costs no round trip while the event log is being followed, and none
// at all while the store is away. It never goes back: a record is replaced
// only by one of the same or a later revision.
type tokenCache struct {
	seed   maphash.Seed
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mu      sync.Mutex
	entries map[credential.ID]*cached
	seen    uint64 // counts observed events: a read that began before one may be stale
}

type cached struct {
	held     credential.Held
	promised bool   // not stored yet; the journal has it
	stale    bool   // a later version is known to exist
	latest   uint64 // version that was observed
	ended    bool   // that version ended the login: nothing older is served
	waiters  []chan struct{}
}

func newTokenCache() *tokenCache {
	c := &tokenCache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].entries = map[credential.ID]*cached{}
	}
	return c
}

func (c *tokenCache) shard(id credential.ID) *cacheShard {
	return &c.shards[maphash.String(c.seed, string(id))%cacheShards]
}

// get returns what is cached, and whether it is current as far as the event
// log tells.
func (c *tokenCache) get(id credential.ID) (held credential.Held, current, ok bool) {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[id]
	if !ok || e.held.Record.ID == "" {
		return credential.Held{}, false, false
	}
	return e.held, !e.stale, true
}

// holdsAny reports whether some record can be served at now.
func (c *tokenCache) holdsAny(now credential.Millis) bool {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, e := range s.entries {
			if e.held.Record.ValidAt(now, 0) {
				s.mu.Unlock()
				return true
			}
		}
		s.mu.Unlock()
	}
	return false
}

// mark returns a token for [tokenCache.fill]: it tells whether an event came
// between the read and its arrival.
func (c *tokenCache) mark(id credential.ID) uint64 {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// fill stores what was read from the store after mark was taken.
func (c *tokenCache) fill(held credential.Held, mark uint64) {
	s := c.shard(held.Record.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replace(held, false, s.seen != mark)
}

// put stores what this process has just written.
func (c *tokenCache) put(held credential.Held) {
	s := c.shard(held.Record.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replace(held, false, false)
}

// touched moves the clock of a session that was used.
func (c *tokenCache) touched(touch credential.Touch) {
	if touch.Result != credential.TouchDone {
		return
	}
	s := c.shard(touch.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.entries[touch.ID]; ok {
		e.held.Record = e.held.Record.Touched(touch.At)
	}
}

// promise serves a received token that the store has not taken yet.
func (c *tokenCache) promise(held credential.Held) {
	s := c.shard(held.Record.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.entries[held.Record.ID]; !ok || e.held.Record.Revision < held.Record.Revision {
		s.replace(held, true, false)
	}
}

func (s *cacheShard) replace(held credential.Held, promised, stale bool) {
	e, ok := s.entries[held.Record.ID]
	if !ok {
		if len(s.entries) >= cachePerShard {
			s.evict()
		}
		e = &cached{}
		s.entries[held.Record.ID] = e
	}
	before := e.held.Record.Revision
	if held.Record.Revision < before {
		return
	}
	e.held, e.promised, e.stale = held, promised, stale || held.Record.Version < e.latest
	if held.Record.Revision > before { // else whoever waits would be woken by each look of his own
		s.wake(e)
	}
}

// evict drops one record that nobody waits for; Go's map order is as good as
// any.
func (s *cacheShard) evict() {
	for id, e := range s.entries {
		if len(e.waiters) == 0 && !e.promised {
			delete(s.entries, id)
			return
		}
	}
}

func (s *cacheShard) wake(e *cached) {
	for _, w := range e.waiters {
		close(w)
	}
	e.waiters = nil
}

// observe notes that the log has a version of id.
//
// That a login has ended is remembered of records, too, that are not cached: a
// store that comes back without its last writes would hand them out again.
func (c *tokenCache) observe(id credential.ID, version uint64, state credential.State) {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen++
	e, ok := s.entries[id]
	if !ok && state.Terminal() {
		if len(s.entries) >= cachePerShard {
			s.evict()
		}
		e, ok = &cached{stale: true}, true
		s.entries[id] = e
	}
	if !ok {
		return
	}
	if version >= e.latest {
		e.latest, e.ended = version, state.Terminal()
	}
	e.stale = e.stale || version > e.held.Record.Version
	s.wake(e)
}

// ended reports whether a version later than this one is known to have ended
// the login.
func (c *tokenCache) ended(id credential.ID, version uint64) bool {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[id]
	return ok && e.ended && version < e.latest
}

// believe takes the store's word again for what had been heard of ends: whatever
// it had lost was put back by those who could.
func (c *tokenCache) believe() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, e := range s.entries {
			e.ended = false
		}
		s.mu.Unlock()
	}
}

// wait returns a channel that is closed when something is heard of id, and a
// function that must be called once nobody waits on it any more.
func (c *tokenCache) wait(id credential.ID) (<-chan struct{}, func()) {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[id]
	if !ok {
		e = &cached{stale: true}
		s.entries[id] = e
	}
	w := make(chan struct{})
	e.waiters = append(e.waiters, w)
	return w, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		e.waiters = slices.DeleteFunc(e.waiters, func(other chan struct{}) bool { return other == w })
	}
}

// errEnded says that what the store shows of a login is over.
var errEnded = errors.New("redis has not got back yet that this login was ended")

// followedWithin is how fresh the reading of the event log must be for memory
// to count as current: no read is staler than this.
const followedWithin = time.Second

// storePatience is how long a read waits for the store that has something to
// serve from memory.
const storePatience = 500 * time.Millisecond

// Asks tells the engine that a shard's event log is about to be read.
func (e *Engine) Asks(shard int) { e.asked[shard].Store(int64(e.clock.Boot())) }

// Heard tells the engine that it was read to the end that it had when it was
// asked for. When the answer was read says nothing: it may have lain there while
// this process stood still.
func (e *Engine) Heard(shard int) {
	e.heard[shard].Store(e.asked[shard].Load())
	if e.mute.Load() && e.following() {
		e.mute.Store(false)
	}
}

// following reports whether every shard's log is being read.
func (e *Engine) following() bool {
	now := e.clock.Boot()
	for i := range e.heard {
		if at := e.heard[i].Load(); at == 0 || now-time.Duration(at) > followedWithin {
			return false
		}
	}
	return true
}

// servable reports whether a record that can't be read now may be served from
// memory.
func (e *Engine) servable(held credential.Held) bool {
	now := e.clock.Now()
	if !held.Record.ValidAt(now, 0) {
		return false
	}
	if e.opts.OfflineReads < 0 {
		return true
	}
	return e.clock.Boot()-e.lastHeard() <= e.opts.OfflineReads
}

// Serving reports whether tokens are still served from memory although the
// store is away.
func (e *Engine) Serving() bool {
	if e.opts.OfflineReads < 0 {
		return e.tokens.holdsAny(e.clock.Now())
	}
	return e.clock.Boot()-e.lastHeard() <= e.opts.OfflineReads && e.tokens.holdsAny(e.clock.Now())
}

// lastHeard returns the boot time at which the shard that was silent longest
// was last read.
func (e *Engine) lastHeard() time.Duration {
	last := e.clock.Boot()
	for i := range e.heard {
		last = min(last, time.Duration(e.heard[i].Load()))
	}
	return last
}

// Observe tells the engine of an entry of the event log. Whoever follows the
// log calls it for each, in the log's order.
func (e *Engine) Observe(event credential.Event) {
	e.tokens.observe(event.ID, event.Version, event.State)
	if event.ID.IsClient() {
		e.breakers.forget(event.Provider)
	}
}

// read returns a record, from memory while the log is followed and tells all there
// is to know, else from the store; from memory too while the store is away and the
// token still lives.
func (e *Engine) read(ctx context.Context, id credential.ID) (credential.Held, error) {
	held, current, ok := e.tokens.get(id)
	if ok && current && e.following() && !e.turns(held) {
		if held.Record.State == credential.StateDeleted {
			return credential.Held{}, ErrNotFound
		}
		return held, nil
	}
	if !ok || !e.servable(held) || e.tokens.ended(id, held.Record.Version) {
		return e.load(ctx, id)
	}
	// There is something to serve. A store that is asked and says nothing must
	// not keep anybody waiting for it: it is not asked again here before it has
	// answered a recovery pass, or whoever follows its log.
	if e.mute.Load() {
		return held, nil
	}
	short, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	fresh, err := e.load(short, id)
	switch {
	case err == nil:
		return fresh, nil
	case errors.As(err, new(*outageError)) && !e.tokens.ended(id, held.Record.Version):
		if short.Err() != nil {
			e.mute.Store(true)
		}
		return held, nil
	default:
		return credential.Held{}, err
	}
}

// turns reports whether somebody may have made a session of a token by now, or a
// token of a session, because the settings have changed: no event tells of it.
func (e *Engine) turns(held credential.Held) bool {
	t := (*e.targets.Load())[held.Record.Provider]
	return t != nil && t.Policy.Turns(held, e.clock.Now())
}

// loadUnlessAfter reads a record from the store, unless memory has the access token of
// a later generation than that: then whatever [Engine.read] goes by will do.
func (e *Engine) loadUnlessAfter(ctx context.Context, id credential.ID, generation uint64) (credential.Held, error) {
	if held, _, ok := e.tokens.get(id); ok && held.Record.AccessGeneration() > generation {
		return e.read(ctx, id)
	}
	return e.load(ctx, id)
}

// load reads a record from the store and remembers it. What has ended since it was
// read is read once more.
func (e *Engine) load(ctx context.Context, id credential.ID) (credential.Held, error) {
	held, err := e.loadOnce(ctx, id)
	if errors.Is(err, errEnded) {
		held, err = e.loadOnce(ctx, id)
	}
	return held, err
}

func (e *Engine) loadOnce(ctx context.Context, id credential.ID) (credential.Held, error) {
	mark := e.tokens.mark(id)
	list, err := e.store.Load(ctx, id)
	if err != nil {
		return credential.Held{}, &outageError{err: err}
	}
	fresh := list[0]
	// What this process has served or promised is newer while the store lacks
	// it: it came back without its last writes, or has not taken this one yet.
	held, _, known := e.tokens.get(id)
	switch {
	case fresh == nil && known && e.barrier.passes() != passAll:
		fresh = &held
	case fresh == nil:
		return credential.Held{}, ErrNotFound
	case known && held.Record.Version > fresh.Record.Version:
		fresh = &held
	default:
		e.tokens.fill(*fresh, mark)
	}
	if e.tokens.ended(id, fresh.Record.Version) {
		// The log told of the end before the store lost it. It is being put back.
		return credential.Held{}, &outageError{err: errEnded}
	}
	if fresh.Record.State == credential.StateDeleted {
		return credential.Held{}, ErrNotFound
	}
	return *fresh, nil
}
