package delivery

import (
	"context"
	"fmt"
	"sync"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event/eventtest"
)

type laneKey struct {
	subscription string
	lane         int
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
		return eventtest.ErrAway
	}
	q.tasks <- laneKey{subscription, lane}
	return nil
}

// inLane returns n IDs that are all in one lane, or in as many as there are.
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
