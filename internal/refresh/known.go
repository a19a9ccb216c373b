package refresh

import (
	"context"
	"errors"
	"slices"

	"github.com/refreshd/refreshd/internal/credential"
)

// OnKnownRun calls read, which asks the store for what is to be shown to people
// and programs, and returns its error once it is certain that the run of the store
// that answered has got back what this process knows, and what everyone knows who
// is heard. It asks for the run after the read: one that was restarted or replaced
// a moment ago would show older versions, or nothing at all. read may be called
// more than once.
//
// Errors: those of read, at once where nothing could be read; an [UnavailableError]
// where that cannot be had within the time that anyone waits for a permit. An answer
// that read tells by an error is for [Engine.Surely].
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

// Surely calls do, which asks for what is no credential, or changes it, and returns
// its error. One of answers needs no write, such as that something is not there: on
// a store without its last writes it may be so because they are missing. It is
// returned once it is certain that the run of the store that gave it lacks nothing,
// and do is called again on any other.
//
// Errors: those of do; an [UnavailableError] as from [Engine.OnKnownRun].
func (e *Engine) Surely(ctx context.Context, do func(context.Context) error, answers ...error) error {
	for {
		seen := e.barrier.sight()
		err := do(ctx)
		if !slices.ContainsFunc(answers, func(answer error) bool { return errors.Is(err, answer) }) {
			return err
		}
		switch stands, unsure := e.concludes(ctx, seen); {
		case unsure != nil:
			return unsure
		case stands:
			return err
		}
	}
}

// Current returns the record of id as it is to be shown, given read, which gets what the
// store has of it without its secrets, or nil: never an older version than memory has.
// It is nil if there is none. What has ended since it was read is read once more.
//
// Errors: those of read; an [UnavailableError] where the login is known to have ended,
// and the store has not got that back yet.
func (e *Engine) Current(ctx context.Context, id credential.ID, read func(context.Context) (*credential.Held, error)) (*credential.Held, error) {
	held, err := e.current(ctx, id, read)
	if errors.Is(err, errEnded) {
		held, err = e.current(ctx, id, read)
	}
	return held, err
}

func (e *Engine) current(ctx context.Context, id credential.ID, read func(context.Context) (*credential.Held, error)) (*credential.Held, error) {
	stored, err := read(ctx)
	if err != nil {
		return nil, err
	}
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
