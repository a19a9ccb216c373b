package refresh

import (
	"context"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	touchers   = 2    // scripts under way at once: one runs while the next is put together
	touchBatch = 1000 // credentials per script
	touchQueue = 8192 // touches that wait for one
	// touchDeadline bounds one script.
	touchDeadline = 2 * time.Second
)

// Sessions moves the clocks of sessions.
type Sessions interface {
	// Touch answers one entry per ID, in order.
	Touch(ctx context.Context, ids []credential.ID) ([]credential.Touch, error)
}

// toucher coalesces touches that come at the same time into one script: a touch
// is far cheaper than the round trip that carries it.
type toucher struct {
	engine *Engine
	queue  chan *touching
	quit   chan struct{}
	once   sync.Once
}

// touching is one caller's touches.
type touching struct {
	ids     []credential.ID
	answers []credential.Touch
	err     error
	done    chan struct{}
}

func newToucher(e *Engine) *toucher {
	return &toucher{engine: e, queue: make(chan *touching, touchQueue), quit: make(chan struct{})}
}

func (t *toucher) start(loops *sync.WaitGroup) {
	for range touchers {
		loops.Go(t.loop)
	}
}

func (t *toucher) stop() { t.once.Do(func() { close(t.quit) }) }

func (t *toucher) loop() {
	for {
		select {
		case <-t.quit:
			return
		case first := <-t.queue:
			t.touch(t.gather(first))
		}
	}
}

// gather takes what else is ready.
func (t *toucher) gather(first *touching) []*touching {
	list, n := []*touching{first}, len(first.ids)
	for n < touchBatch {
		select {
		case next := <-t.queue:
			list, n = append(list, next), n+len(next.ids)
		default:
			return list
		}
	}
	return list
}

func (t *toucher) touch(list []*touching) {
	ctx, cancel := context.WithTimeout(context.Background(), touchDeadline)
	defer cancel()
	var ids []credential.ID
	for _, one := range list {
		ids = append(ids, one.ids...)
	}
	answers, err := t.engine.opts.Sessions.Touch(ctx, ids)
	if err != nil {
		t.engine.barrier.met(err)
	}
	for _, one := range list {
		if one.err = err; err == nil {
			one.answers, answers = answers[:len(one.ids)], answers[len(one.ids):]
			for _, answer := range one.answers {
				t.engine.tokens.touched(answer)
			}
		}
		close(one.done)
	}
}

// Touch is told that sessions were used: their idle timeouts start anew. Nothing
// else is changed, and no event tells of it. The answers come in the order of
// the IDs.
func (e *Engine) Touch(ctx context.Context, ids []credential.ID) ([]credential.Touch, error) {
	leave, err := e.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	answers := make([]credential.Touch, 0, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), touchBatch)
		one := &touching{ids: ids[:n], done: make(chan struct{})}
		select {
		case e.touches.queue <- one:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		select {
		case <-one.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if one.err != nil {
			return nil, e.unavailable(&outageError{err: one.err})
		}
		answers, ids = append(answers, one.answers...), ids[n:]
	}
	return answers, nil
}
