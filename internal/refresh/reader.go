package refresh

import (
	"context"
	"errors"
	"slices"

	"github.com/refreshd/refreshd/internal/credential"
)

// reader reads records of which some were read ahead. One that is not as it was
// read any more refuses the write that was decided on it, and is read again: of
// its attempt the write says itself which one must be open, or that none may. Where
// nothing is to be written, that is so of what came after it as well: neither a
// grant nor a generation falls within a run of the store.
type reader struct {
	engine *Engine
	read   map[credential.ID]*credential.Held // nil where there is none
}

func (e *Engine) reader() *reader {
	return &reader{engine: e, read: map[credential.ID]*credential.Held{}}
}

// ahead reads many at once. What cannot be read is left to load, which tells of
// it.
func (r *reader) ahead(ctx context.Context, ids []credential.ID) error {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	found, err := r.engine.store.Load(ctx, ids...)
	_, single := errors.AsType[itemsError](err)
	if err != nil && !single {
		return err
	}
	for i, h := range found {
		if h != nil || !single {
			r.read[ids[i]] = h
		}
	}
	return nil
}

// load returns a record, nil if there is none.
func (r *reader) load(ctx context.Context, id credential.ID) (*credential.Held, error) {
	if h, known := r.read[id]; known {
		return h, nil
	}
	list, err := r.engine.store.Load(ctx, id)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// replay is [Engine.replay]; whatever comes of it, the record is read again before
// anything else is decided on it.
func (r *reader) replay(ctx context.Context, h credential.Held, write credential.Write) (bool, error) {
	delete(r.read, write.Record.ID)
	return r.engine.replay(ctx, h, write)
}
