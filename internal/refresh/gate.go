package refresh

import (
	"context"
	"errors"
	"fmt"
)

// await returns when the gate lets p pass, or the context has ended.
func (b *barrier) await(ctx context.Context, p passing) error {
	for b.passes() < p {
		if err := pause(ctx, barrierStep/4); err != nil {
			if b.starting() {
				return fmt.Errorf("%w: %w", errStarting, err)
			}
			return &closedError{err}
		}
	}
	return nil
}

// starting reports whether the gate is closed and has never been open: an ordinary
// start takes that long.
func (b *barrier) starting() bool { return b.passes() != passAll && b.confirmed.Load() == 0 }

// awaitSoon gives the gate as long to open as anyone waits for a permit.
func (b *barrier) awaitSoon(ctx context.Context, p passing) error {
	ctx, cancel := context.WithTimeoutCause(ctx, permitWait, errGate)
	defer cancel()
	return b.await(ctx, p)
}

var (
	errAnotherInstallation = errors.New("redis holds another installation than the one that this process started on: " +
		"nothing is begun, and nothing of this one is put into it; bring the right redis back to its address")
	errGate     = errors.New("it took too long")
	errStarting = errors.New("this process has just started, and waits until the others know of it")
)

// closedError says that the gate did not open in time.
type closedError struct{ err error }

func (e *closedError) Error() string {
	return "redis was restarted or replaced, and what it lost is being put back: " + e.err.Error()
}

func (e *closedError) Unwrap() error { return e.err }

// AnotherRun tells this error from an outage.
func (e *closedError) AnotherRun() {}

// Gate tells what may pass into the store, for people: "open", "begins_closed"
// or "closed".
func (e *Engine) Gate() string {
	switch e.barrier.passes() {
	case passAll:
		return "open"
	case passWrites:
		return "begins_closed"
	case passNothing:
	}
	return "closed"
}
