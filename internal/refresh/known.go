package refresh

import (
	"context"
	"errors"

	"github.com/refreshd/refreshd/internal/credential"
)

// OnKnownRun calls read, which asks the store for what is to be shown to people
// and programs, and returns its error once it is certain that the run of the store
// that answered has got back what this process knows, and what everyone knows who
// is heard. It asks for the run after the read: one that was restarted or replaced
// a moment ago would show older versions, or nothing at all. read may be called
// more than once.
//
// Errors: those of read; an [UnavailableError] where that cannot be had within
// the time that anyone waits for a permit.
func (e *Engine) OnKnownRun(ctx context.Context, read func(context.Context) error) error {
	if e.opts.Kept {
		return read(ctx)
	}
	within, cancel := context.WithTimeoutCause(ctx, permitWait, errGate)
	defer cancel()
	for {
		if err := e.barrier.await(within, passWrites); err != nil {
			return e.unavailable(err)
		}
		seen := e.barrier.sight()
		err := read(ctx)
		if _, single := errors.AsType[itemsError](err); err != nil && !single {
			return err
		}
		switch stands, asked := e.barrier.stands(ctx, seen); {
		case asked != nil:
			return e.unavailable(&outageError{err: asked})
		case stands:
			return err
		}
		if err := pause(within, barrierStep/4); err != nil {
			return e.unavailable(&closedError{err})
		}
	}
}

// Current returns the record of id as it is to be shown, given what the store has
// of it without its secrets, or nil: never an older version than memory has. It is
// nil if there is none.
//
// Errors: an [UnavailableError] where the login is known to have ended, and the
// store has not got that back yet.
func (e *Engine) Current(id credential.ID, stored *credential.Held) (*credential.Held, error) {
	if held, _, known := e.tokens.get(id); stored == nil && known && e.barrier.passes() != passAll {
		stored = &credential.Held{Record: held.Record, Attempt: held.Attempt}
	}
	if stored == nil {
		return nil, nil //nolint:nilnil // nothing stored is an answer
	}
	shown := e.Shown(*stored)
	if e.tokens.ended(id, shown.Record.Version) {
		return nil, e.unavailable(&outageError{err: errEnded})
	}
	if shown.Record.State == credential.StateDeleted {
		return nil, nil //nolint:nilnil // as above
	}
	return &shown, nil
}
