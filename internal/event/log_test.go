package event

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event/eventtest"
)

func ids(entries []Numbered) []string {
	var list []string
	for _, e := range entries {
		list = append(list, fmt.Sprintf("%s/%d", e.Event.ID, e.Event.Version))
	}
	return list
}

// readAll reads to the end in pages.
func readAll(t *testing.T, l *Log, c Cursor, page int) ([]Numbered, Cursor) {
	t.Helper()
	var all []Numbered
	for {
		entries, next, err := l.Read(t.Context(), c, page)
		require.NoError(t, err)
		if len(entries) == 0 {
			return all, next
		}
		all, c = append(all, entries...), next
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	b := setup(t, 3)
	b.Emit("before")
	l, e := b.following()
	for seen := map[int]bool{}; len(seen) < 3; {
		seen[eventtest.Soon(t, e.heard, "the end of a log")] = true
	}
	assert.Empty(t, e.events, "what was before the start is not heard again")
	changed := l.Changed()
	b.Emit("alice", "bob", "alice")
	versions := map[credential.ID][]uint64{}
	for range 3 {
		got := eventtest.Soon(t, e.events, "an event")
		versions[got.ID] = append(versions[got.ID], got.Version)
	}
	assert.Equal(t, map[credential.ID][]uint64{"alice": {1, 2}, "bob": {1}}, versions)
	eventtest.Soon(t, changed, "the word to readers")
}

// Whoever hears of an event finds it in memory.
func TestHeardIsReadable(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	l := b.log()
	end, err := l.End(t.Context())
	require.NoError(t, err)
	found := make(chan int, 1)
	l.Listen(listenerFunc(func(credential.Event) {
		entries, _ := l.fromMemory(0, end.Last[0], 10)
		found <- len(entries)
	}))
	require.NoError(t, l.Start(t.Context()))
	b.Emit("alice")
	assert.Equal(t, 1, eventtest.Soon(t, found, "the event"))
}

// Whoever wants to know of when an answer tells hears before it is asked for.
func TestAsksComeBeforeTheRead(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	s := &askedStore{Store: b.Store, told: make(chan string, 6)}
	l := NewLog(s, zerolog.Nop())
	t.Cleanup(l.Stop)
	l.Listen(s)
	require.NoError(t, l.Start(t.Context()))
	for _, want := range []string{"asks", "read", "heard", "asks", "read", "heard"} {
		assert.Equal(t, want, eventtest.Soon(t, s.told, want))
	}
}

// askedStore tells in what order it is asked and listened to.
type askedStore struct {
	Store

	told chan string
}

func (s *askedStore) tell(what string) {
	select {
	case s.told <- what:
	default: // enough
	}
}

func (s *askedStore) Events(ctx context.Context, shard int, after string, count int, block time.Duration) ([]credential.LogEntry, error) {
	s.tell("read")
	return s.Store.Events(ctx, shard, after, count, block)
}
func (*askedStore) Observe(credential.Event) {}
func (s *askedStore) Asks(int)               { s.tell("asks") }
func (s *askedStore) Heard(int)              { s.tell("heard") }

type listenerFunc func(credential.Event)

func (f listenerFunc) Observe(e credential.Event) { f(e) }
func (listenerFunc) Asks(int)                     {}
func (listenerFunc) Heard(int)                    {}

func TestReadFromMemoryAndFromTheStore(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.Emit("old-1", "old-2")
	l, e := b.following()
	end, err := l.End(t.Context())
	require.NoError(t, err)
	b.Emit("new-1", "new-2", "new-3")
	for range 3 {
		eventtest.Soon(t, e.events, "an event")
	}
	before := b.Store.Reads
	entries, at := readAll(t, l, end, 2)
	assert.Equal(t, []string{"new-1/1", "new-2/1", "new-3/1"}, ids(entries))
	assert.Equal(t, before, b.Store.Reads, "from memory")

	entries, again := readAll(t, l, startCursor(end.Epoch, 1), 2)
	assert.Equal(t, []string{"old-1/1", "old-2/1", "new-1/1", "new-2/1", "new-3/1"}, ids(entries))
	assert.Greater(t, b.Store.Reads, before)
	assert.Equal(t, at, again)

	stopped := b.log() // never started: everything from the store
	entries, _ = readAll(t, stopped, startCursor(end.Epoch, 1), 100)
	assert.Len(t, entries, 5)
}

// Memory holds the end of the log; what it dropped is read from the store, and
// nothing is missing where the two meet.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	l := b.log()
	l.recent[0] = tail{since: "0", ready: true}
	for i := range 3 * recentMax {
		l.keep(0, []credential.LogEntry{{Position: fmt.Sprintf("%d-0", i+1), Event: eventtest.Sample()}})
	}
	kept := l.recent[0].entries
	assert.LessOrEqual(t, len(kept), 2*recentMax)
	assert.GreaterOrEqual(t, len(kept), recentMax)
	since := l.recent[0].since
	first, ok := l.fromMemory(0, since, 1)
	require.True(t, ok)
	at, err := parsePosition(since)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("%d-0", at.ms+1), first[0].Position)
	_, ok = l.fromMemory(0, fmt.Sprintf("%d-0", at.ms-1), 1)
	assert.False(t, ok, "it does not know what came before")
	last, ok := l.fromMemory(0, fmt.Sprintf("%d-0", 3*recentMax), 1)
	assert.True(t, ok)
	assert.Empty(t, last)
}

func TestPlace(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	l := b.log()
	start, err := l.Place(t.Context(), startCursor("", 2))
	require.NoError(t, err)
	assert.Equal(t, b.Store.Epoch(), start.Epoch)

	var inShard [2]credential.ID
	for n := range 20 {
		id := credential.ID(fmt.Sprintf("user-%d", n))
		inShard[b.Store.ShardOf(id)] = id
	}
	b.Emit(inShard[0], inShard[1])
	_, early := readAll(t, l, start, 10)
	b.PassTime(time.Hour)
	b.Emit(inShard[0])
	_, late := readAll(t, l, early, 10)
	b.PassTime(time.Hour)
	b.Emit(inShard[0])

	_, err = b.Store.TrimEvents(t.Context(), b.Clock().Add(-30*time.Minute))
	require.NoError(t, err)
	at, err := l.Place(t.Context(), late)
	require.NoError(t, err, "nothing after it is gone")
	assert.Equal(t, late, at)
	at, err = l.Place(t.Context(), early)
	require.ErrorIs(t, err, ErrReset)
	trimmed, err := b.Store.TrimmedTo(t.Context(), 0)
	require.NoError(t, err)
	assert.Equal(t, trimmed, at.Last[0], "so that it is told of once")
	assert.Equal(t, early.Last[1], at.Last[1], "nothing of that shard is missing")
	entries, _ := readAll(t, l, at, 10)
	assert.Equal(t, []string{string(inShard[0]) + "/3"}, ids(entries), "what is left")

	other := late
	other.Epoch = "another"
	at, err = l.Place(t.Context(), other)
	require.ErrorIs(t, err, ErrReset)
	assert.Equal(t, startCursor(b.Store.Epoch(), 2), at)

	broken := late.Clone()
	broken.Last[0] = "x"
	_, err = l.Place(t.Context(), broken)
	require.Error(t, err)
	parsed, err := l.Parse(late.String())
	require.NoError(t, err)
	assert.Equal(t, late, parsed)
}

// The log goes on being followed after an outage, without a gap.
func TestFollowThroughAnOutage(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	_, e := b.following()
	eventtest.Soon(t, e.heard, "the end of the log")
	b.Store.Set(func(s *eventtest.FaultyStore) { s.Away = true })
	b.Emit("alice", "bob")
	b.Store.Set(func(s *eventtest.FaultyStore) { s.Away = false })
	assert.EqualValues(t, "alice", eventtest.Soon(t, e.events, "the first event").ID)
	assert.EqualValues(t, "bob", eventtest.Soon(t, e.events, "the second event").ID)
}

func TestLogStops(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	l, _ := b.following()
	l.Stop()
	l.Stop()
	eventtest.Soon(t, l.Done(), "the end")

	away := b.log()
	b.Mini.Close()
	require.Error(t, away.Start(t.Context()))
	away.Stop()
}
