package client

import (
	"context"
	"sync"
)

// memoryOrder is an [OrderStore] that forgets with its process.
type memoryOrder struct {
	mu   sync.Mutex
	last *lately[uint64]
}

func newMemoryOrder(most int) *memoryOrder { return &memoryOrder{last: newLately[uint64](most)} }

// Handled returns the version that was set last.
func (m *memoryOrder) Handled(_ context.Context, key string) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last.get(key), nil
}

// SetHandled remembers a version.
func (m *memoryOrder) SetHandled(_ context.Context, key string, version uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last.set(key, version)
	return nil
}

// turns lets one caller at a time work on each key.
type turns struct {
	mu   sync.Mutex
	held map[string]*turn
}

// turn is one key's. It goes when nobody has or wants it.
type turn struct {
	free  chan struct{} // holds one element while nobody works
	users int
}

// wait returns when it is the caller's turn, or ctx is done. Who got it calls
// done at the end.
func (t *turns) wait(ctx context.Context, key string) (done func(), err error) {
	t.mu.Lock()
	own := t.held[key]
	if own == nil {
		own = &turn{free: make(chan struct{}, 1)}
		own.free <- struct{}{}
		t.held[key] = own
	}
	own.users++
	t.mu.Unlock()

	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if own.users--; own.users == 0 {
			delete(t.held, key)
		}
	}
	select {
	case <-own.free:
		return func() { own.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
