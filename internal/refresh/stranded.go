package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// strandedFor is how long what could not be begun is remembered: its claim has
// run out by then in any case.
const strandedFor = 10 * time.Second

// stranded remembers what was claimed for this process and could not be begun,
// because the store was away or was being rolled forward. It is due all the same,
// and a claim that nobody works on any more hides that: of a recovery inside a
// provider's grace it could hide the rest of the grace.
type stranded struct {
	mu      sync.Mutex
	batches []strandedBatch
}

// strandedBatch is one provider's.
type strandedBatch struct {
	provider string
	ids      []credential.ID
	since    time.Duration // boot time
}

// add remembers ids, and forgets those whose claims are over.
func (s *stranded) add(provider string, ids []credential.ID, since, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = slices.DeleteFunc(append(s.batches, strandedBatch{provider: provider, ids: ids, since: since}), func(b strandedBatch) bool {
		return now-b.since >= strandedFor
	})
}

// take returns what is remembered, and forgets it.
func (s *stranded) take() []strandedBatch {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.batches
	s.batches = nil
	return all
}

// unstrand gives back what could not be begun. It is called once the store
// answers and the gate is open.
func (e *Engine) unstrand(ctx context.Context) error {
	var trouble error
	for _, b := range e.stranded.take() {
		if err := e.store.Release(ctx, b.provider, b.ids, stillDue); err != nil {
			trouble = errors.Join(trouble, fmt.Errorf("give back %d credentials of %s that could not be begun: %w", len(b.ids), b.provider, err))
			e.stranded.add(b.provider, b.ids, b.since, e.clock.Boot())
		}
	}
	return trouble
}
