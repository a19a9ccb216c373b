package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func (n *node) loaded() int {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	return n.store.loads
}

// hears reads the event log to its end.
func (n *node) hears() {
	n.Asks(0)
	n.Heard(0)
}

// While the event log is followed a read costs nothing; an event of a later
// version makes what is in memory stale.
func TestReadsFromMemory(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n, other := b.node("one"), b.node("two")
	b.put(n, "alice")
	read := func(want uint64, loads int) {
		t.Helper()
		before := n.loaded()
		held, err := n.Token(t.Context(), "alice", 0)
		require.NoError(t, err)
		assert.Equal(t, want, held.Record.Version)
		assert.Equal(t, loads, n.loaded()-before)
	}
	read(1, 1) // nobody follows the log yet
	n.hears()
	read(1, 0)

	_, err := other.Refresh(t.Context(), "alice", 0)
	require.NoError(t, err)
	read(1, 0) // not heard of yet
	n.Observe(credential.Event{ID: "alice", Version: 1})
	read(1, 0) // an old one is no news
	n.Observe(credential.Event{ID: "alice", Version: 2})
	read(2, 1)
	read(2, 0)

	b.clock.advance(followedWithin)
	read(2, 0)
	b.clock.advance(time.Millisecond)
	read(2, 1) // the log was not read for a second
	n.hears()
	read(2, 0)

	n.Asks(0)
	_, err = other.Refresh(t.Context(), "alice", 0)
	require.NoError(t, err)
	b.clock.advance(followedWithin + time.Millisecond)
	n.Heard(0)
	read(3, 1) // the answer was of before: it had lain there while the process stood still
}

func TestOfflineReads(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		window time.Duration
		served time.Duration // the longest outage in which the token is served
	}{
		"until expiry":  {window: -1, served: life - 2*time.Second},
		"for 5 minutes": {window: 5 * time.Minute, served: 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.node("one", func(o *Options) { o.OfflineReads = c.window })
			b.put(n, "alice")
			n.hears()
			n.store.set(func(s *faultyStore) { s.away = true })
			b.clock.advance(c.served)
			assert.True(t, n.Serving())
			_, err := n.Token(t.Context(), "alice", 0)
			require.NoError(t, err)
			b.clock.advance(2 * time.Second)
			assert.False(t, n.Serving())
			_, err = n.Token(t.Context(), "alice", 0)
			unavailable := new(UnavailableError)
			require.ErrorAs(t, err, &unavailable)
			require.ErrorIs(t, err, errAway)
			assert.Positive(t, unavailable.RetryAfter)
			_, err = n.Token(t.Context(), "bob", 0)
			require.ErrorIs(t, err, errAway, "not known to be absent")
		})
	}
}

func TestOfflineReadsTurnedOff(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", func(o *Options) { o.OfflineReads = 0 })
	b.put(n, "alice")
	n.hears()
	n.store.set(func(s *faultyStore) { s.away = true })
	_, err := n.Token(t.Context(), "alice", 0)
	require.NoError(t, err, "the log was just read")
	b.clock.advance(followedWithin + time.Millisecond)
	_, err = n.Token(t.Context(), "alice", 0)
	require.ErrorIs(t, err, errAway)
}

func record(revision, version uint64) credential.Held {
	return credential.Held{Record: credential.Record{ID: "alice", Revision: revision, Version: version, State: credential.StateActive}}
}

func TestCacheNeverGoesBack(t *testing.T) {
	t.Parallel()
	c := newTokenCache()
	c.put(record(5, 3))
	c.fill(record(4, 2), c.mark("alice"))
	held, current, ok := c.get("alice")
	assert.True(t, ok && current)
	assert.EqualValues(t, 5, held.Record.Revision)

	c.promise(record(5, 4))
	held, _, _ = c.get("alice")
	assert.EqualValues(t, 3, held.Record.Version, "a promise never overrides what is stored")
	c.promise(record(6, 4))
	held, _, _ = c.get("alice")
	assert.EqualValues(t, 4, held.Record.Version)
	c.fill(record(5, 3), c.mark("alice"))
	held, _, _ = c.get("alice")
	assert.EqualValues(t, 4, held.Record.Version, "what was promised may have been served")
}

func TestCacheKnowsWhatIsStale(t *testing.T) {
	t.Parallel()
	c := newTokenCache()
	asked := c.mark("alice")
	c.observe("alice", 4, credential.StateActive)
	c.fill(record(5, 3), asked)
	_, current, _ := c.get("alice")
	assert.False(t, current, "an event came while it was read")
	c.fill(record(6, 4), c.mark("alice"))
	_, current, _ = c.get("alice")
	assert.True(t, current)

	c.observe("alice", 6, credential.StateActive) // somebody else's, right behind our own
	c.put(record(7, 5))                           // our own, which was stored before that
	_, current, _ = c.get("alice")
	assert.False(t, current)
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	s := &cacheShard{entries: map[credential.ID]*cached{}}
	for i := range cachePerShard + 100 {
		h := record(1, 1)
		h.Record.ID = credential.ID(newNonce().String())
		s.replace(h, i == 0, false)
	}
	assert.Len(t, s.entries, cachePerShard)
	promised := 0
	for _, e := range s.entries {
		if e.promised {
			promised++
		}
	}
	assert.Equal(t, 1, promised, "what is not stored yet is not forgotten")
}

func TestCacheWakesWhoeverWaits(t *testing.T) {
	t.Parallel()
	c := newTokenCache()
	heard, forget := c.wait("alice")
	_, leave := c.wait("alice")
	leave()
	c.observe("alice", 2, credential.StateActive)
	soon(t, heard, "the word")
	forget()
	heard, forget = c.wait("alice")
	defer forget()
	c.put(record(1, 1))
	soon(t, heard, "the word")
}

// A store that takes what it is asked and says nothing keeps nobody waiting who
// can be served from memory.
func TestAReadDoesNotWaitForASilentStore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	n.store.set(func(s *faultyStore) { s.silent = true })
	for range 3 {
		got, err := n.Token(t.Context(), "alice", 0)
		require.NoError(t, err)
		assert.Equal(t, credential.ID("alice"), got.Record.ID)
	}
	b.clock.advance(time.Minute)
	_, err := n.Token(t.Context(), "alice", 0)
	require.NoError(t, err)
	n.store.mu.Lock()
	assert.Equal(t, 1, n.store.waited, "it is asked once, and not again however long it says nothing")
	n.store.mu.Unlock()

	n.store.set(func(s *faultyStore) { s.silent = false })
	before := n.loaded()
	require.NoError(t, n.tick(t.Context()))
	_, err = n.Token(t.Context(), "alice", 0)
	require.NoError(t, err)
	assert.Equal(t, 1, n.loaded()-before, "it has answered, and is asked again: others may have newer ones")
}

// Whoever waits for something to be heard of a credential is not woken by his own
// look at it, which shows what it showed before: he would look again at once, for as
// long as he waits.
func TestALookThatShowsNothingNewWakesNobody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	heard, forget := n.tokens.wait("alice")
	defer forget()
	for range 3 {
		_, err := n.load(t.Context(), "alice")
		require.NoError(t, err)
	}
	select {
	case <-heard:
		t.Fatal("woken by what was known")
	default:
	}
	_, err := n.Refresh(t.Context(), "alice", 0)
	require.NoError(t, err)
	soon(t, heard, "the word of the refresh")
}
