// Package eventtest has the store with an event log that the tests of what
// reads it share.
package eventtest

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
)

// Patience bounds waits for what happens at once, or within a second.
const Patience = time.Minute

// ErrAway is how reading the event log fails when it is away.
var ErrAway = errors.New("connection refused")

// Bundle is a store with an event log, and what reads it.
type Bundle struct {
	T      *testing.T
	Mini   *miniredis.Miniredis
	Client *redis.Client
	Store  *FaultyStore

	mu  sync.Mutex
	now time.Time
}

// FaultyStore is the real store; reading its event log fails when told to.
type FaultyStore struct {
	*store.Store

	mu    sync.Mutex
	Away  bool
	Lag   chan struct{} // the follower's reads, those that block, wait for it to be closed, if set
	Reads int           // that did not block
}

// Set changes how it fails.
func (s *FaultyStore) Set(change func(*FaultyStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// Events reads the log, if it does not fail.
func (s *FaultyStore) Events(ctx context.Context, shard int, after string, count int, block time.Duration) ([]credential.LogEntry, error) {
	s.mu.Lock()
	away, lag := s.Away, s.Lag
	if block == 0 {
		s.Reads++
	}
	s.mu.Unlock()
	if away {
		return nil, ErrAway
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

// Setup returns a store with as many shards, on an in-process Redis.
func Setup(t *testing.T, shards int) *Bundle {
	t.Helper()
	m := miniredis.NewMiniRedis()
	require.NoError(t, m.Start())
	t.Cleanup(m.Close)
	client := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	keys, _, err := seal.Open(filepath.Join(t.TempDir(), "keyset.json"), seal.Options{})
	require.NoError(t, err)
	b := &Bundle{T: t, Mini: m, Client: client, now: time.UnixMilli(1_800_000_000_000).UTC()}
	b.PassTime(0)
	under, err := store.New(t.Context(), store.Options{
		Client: client, Keyset: keys, Owner: "self", Shards: shards, Memory: true,
		RunID: func(context.Context) (string, error) { return "this-process", nil },
	})
	require.NoError(t, err)
	b.Store = &FaultyStore{Store: under}
	return b
}

// PassTime moves Redis's clock.
func (b *Bundle) PassTime(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
	b.Mini.SetTime(b.now)
}

// Clock is Redis's clock.
func (b *Bundle) Clock() credential.Millis {
	b.mu.Lock()
	defer b.mu.Unlock()
	return credential.At(b.now)
}

// Emit has each credential logged in, or logged in again: one event each.
func (b *Bundle) Emit(ids ...credential.ID) {
	b.T.Helper()
	for _, id := range ids {
		list, err := b.Store.Load(b.T.Context(), id)
		require.NoError(b.T, err)
		var nonce credential.Nonce
		_, _ = rand.Read(nonce[:])
		login := credential.Login{
			ID: id, Provider: "acme", Subject: "u-7", Labels: map[string]string{"team": "blue"},
			Token:     credential.Token{Access: credential.NewSecret("s3cr3t-at"), Refresh: credential.NewSecret("s3cr3t-rt-" + nonce.String())},
			ExpiresIn: time.Hour,
		}
		write := credential.Connect(list[0], login, credential.Policy{RefreshAt: 0.66, Times: credential.DefaultTimes(0)}, nonce, b.Clock())
		statuses, err := b.Store.Apply(b.T.Context(), []credential.Write{write})
		require.NoError(b.T, err)
		require.Equal(b.T, []credential.Status{credential.StatusWritten}, statuses)
	}
}

// Soon waits for what happens soon.
func Soon[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("%s did not happen", what)
		panic("unreachable")
	}
}

// Sample is an event with all that one can have.
func Sample() credential.Event {
	last := make(map[credential.EventType]uint64)
	last[credential.EventConnected], last[credential.EventRefreshed], last[credential.EventDegraded] = 1, 4, 6
	return credential.Event{
		Type: credential.EventRefreshed, ID: "github:alice", Version: 7, State: credential.StateActive, PreviousState: credential.StateDegraded,
		Reason: credential.ReasonNone, InitiatedBy: credential.BySchedule, Nonce: credential.Nonce{0x9f, 0x86, 0xd0, 0x81},
		ExpiresAt: 1_800_003_600_000, Provider: "github", Subject: "u-7", Labels: map[string]string{"team": "blue"},
		Last: last,
	}
}
