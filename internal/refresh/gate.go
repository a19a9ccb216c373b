package refresh

import (
	"context"
	"errors"
	"fmt"
)

// lacks reports whether the store may lack what a process had acknowledged: its journal
// may still put that back, also long after that process was given up.
func (b *barrier) lacks() bool {
	return b.passes() != passAll || b.engine.lossy() && !b.engine.opts.Kept
}

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

// sight is where the gate stood before a record was read.
type sight struct {
	run  *string
	open bool // for writes
}

func (b *barrier) sight() sight {
	return sight{run: b.run.Load(), open: b.passes() >= passWrites}
}

// stands reports whether something may be concluded without a write from what was
// read since: it is of a run of the store into which this process and whoever else
// lives have put back what they knew. On any other an attempt that is not open says
// nothing, nor does a record that is missing, or that is as its owner wishes it to be:
// the store may have lost what came after it. A write that is decided on such a
// record names the run, and is refused.
func (b *barrier) stands(ctx context.Context, since sight) (bool, error) {
	now, err := b.engine.opts.Runs.Run(ctx)
	if err != nil {
		return false, err
	}
	if !since.open || now != *since.run || b.run.Load() != since.run || b.passes() < passWrites {
		b.look()
		return false, nil
	}
	return true, nil
}

// concludes is stands for an owner, who is told what was concluded. Where it does not
// stand it waits until the gate lets writes pass again, and the record has to be read
// and decided on once more.
func (e *Engine) concludes(ctx context.Context, since sight) (bool, error) {
	if e.opts.Kept {
		return true, nil
	}
	stands, err := e.barrier.stands(ctx, since)
	switch {
	case err != nil:
		return false, e.unavailable(&outageError{err: err})
	case stands:
		return true, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, permitWait, errGate)
	defer cancel()
	for e.barrier.sight() == since && since.open { // another run is there, and was not noticed yet
		if err := pause(ctx, barrierStep/4); err != nil {
			return false, e.unavailable(&closedError{err})
		}
	}
	if err := e.barrier.await(ctx, passWrites); err != nil {
		return false, e.unavailable(err)
	}
	return false, nil
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
