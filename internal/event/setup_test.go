package event

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
)

// patience bounds waits for what happens at once, or within a second.
const patience = 20 * time.Second

var errAway = errors.New("connection refused")

// bundle is a store with an event log, and what reads it.
type bundle struct {
	t      *testing.T
	mini   *miniredis.Miniredis
	client *redis.Client
	store  *faultyStore
	queue  *testQueue

	mu  sync.Mutex
	now time.Time
}

// faultyStore is the real store; reading its event log fails when told to.
type faultyStore struct {
	*store.Store

	mu    sync.Mutex
	away  bool
	lag   chan struct{} // the follower's reads, those that block, wait for it to be closed, if set
	reads int           // that did not block
}

func (s *faultyStore) set(change func(*faultyStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *faultyStore) Events(ctx context.Context, shard int, after string, count int, block time.Duration) ([]credential.LogEntry, error) {
	s.mu.Lock()
	away, lag := s.away, s.lag
	if block == 0 {
		s.reads++
	}
	s.mu.Unlock()
	if away {
		return nil, errAway
	}
	if block > 0 && lag != nil {
		select {
		case <-lag:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.Store.Events(ctx, shard, after, count, min(block, 20*time.Millisecond))
}

// testQueue is what tasks are put on.
type testQueue struct {
	tasks chan laneKey
	mu    sync.Mutex
	fail  int
}

func (q *testQueue) EnqueueDelivery(_ context.Context, subscription string, lane int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fail > 0 {
		q.fail--
		return errAway
	}
	q.tasks <- laneKey{subscription, lane}
	return nil
}

func setup(t *testing.T, shards int) *bundle {
	t.Helper()
	m := miniredis.NewMiniRedis()
	require.NoError(t, m.Start())
	t.Cleanup(m.Close)
	client := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	keys, _, err := seal.Open(filepath.Join(t.TempDir(), "keyset.json"), seal.Options{})
	require.NoError(t, err)
	b := &bundle{t: t, mini: m, client: client, queue: &testQueue{tasks: make(chan laneKey, 10_000)}, now: time.UnixMilli(1_800_000_000_000).UTC()}
	b.advance(0)
	under, err := store.New(t.Context(), store.Options{
		Client: client, Keyset: keys, Owner: "self", Shards: shards, Memory: true,
		RunID: func(context.Context) (string, error) { return "this-process", nil },
	})
	require.NoError(t, err)
	b.store = &faultyStore{Store: under}
	return b
}

func (b *bundle) advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
	b.mini.SetTime(b.now)
}

func (b *bundle) clock() credential.Millis {
	b.mu.Lock()
	defer b.mu.Unlock()
	return credential.At(b.now)
}

// log returns a follower that is not started.
func (b *bundle) log() *Log {
	l := NewLog(b.store, zerolog.Nop())
	b.t.Cleanup(l.Stop)
	return l
}

// following returns one that follows, and what it hears.
func (b *bundle) following() (*Log, *ear) {
	b.t.Helper()
	l, e := b.log(), newEar()
	l.Listen(e)
	require.NoError(b.t, l.Start(b.t.Context()))
	return l, e
}

// ear listens.
type ear struct {
	events chan credential.Event
	heard  chan int
}

func newEar() *ear {
	return &ear{events: make(chan credential.Event, 100_000), heard: make(chan int, 100_000)}
}

func (e *ear) Observe(event credential.Event) { e.events <- event }

func (e *ear) Heard(shard int) {
	select {
	case e.heard <- shard:
	default:
	}
}

// emit has each credential logged in, or logged in again: one event each.
func (b *bundle) emit(ids ...credential.ID) {
	b.t.Helper()
	for _, id := range ids {
		list, err := b.store.Load(b.t.Context(), id)
		require.NoError(b.t, err)
		var nonce credential.Nonce
		_, _ = rand.Read(nonce[:])
		login := credential.Login{
			ID: id, Provider: "acme", Subject: "u-7", Labels: map[string]string{"team": "blue"},
			Token:     credential.Token{Access: credential.NewSecret("s3cr3t-at"), Refresh: credential.NewSecret("s3cr3t-rt-" + nonce.String())},
			ExpiresIn: time.Hour,
		}
		write := credential.Connect(list[0], login, credential.Policy{RefreshAt: 0.66, Times: credential.DefaultTimes(0)}, nonce, b.clock())
		statuses, err := b.store.Apply(b.t.Context(), []credential.Write{write})
		require.NoError(b.t, err)
		require.Equal(b.t, []credential.Status{credential.StatusWritten}, statuses)
	}
}

// many returns n IDs that are all in one lane, or in as many as there are.
func inLane(n int, same bool) []credential.ID {
	var ids []credential.ID
	for i := 0; len(ids) < n; i++ {
		id := credential.ID(fmt.Sprintf("user-%d", i))
		if !same || len(ids) == 0 || laneOf(id) == laneOf(ids[0]) {
			ids = append(ids, id)
		}
	}
	return ids
}

func soon[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("%s did not happen", what)
		panic("unreachable")
	}
}
