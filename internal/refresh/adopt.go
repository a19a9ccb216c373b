package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/refreshd/refreshd/internal/credential"
)

// mostUrgentFirst puts the journals in the order in which others wait for them:
// first those whose owners have attempts open, for which somebody elsewhere may
// lose patience, and then the one that was written to last.
func (e *Engine) mostUrgentFirst(ctx context.Context, found []Dead) error {
	open, err := e.registry.OpenOwners(ctx)
	slices.SortStableFunc(found, func(a, b Dead) int {
		return cmp.Or(
			cmp.Compare(min(len(open[b.Owner]), 1), min(len(open[a.Owner]), 1)),
			cmp.Compare(b.newest(), a.newest()),
		)
	})
	return err
}

// newest returns when the youngest of its records was made.
func (d Dead) newest() credential.Millis {
	var at credential.Millis
	for _, intent := range d.Intents {
		at = max(at, intent.At)
	}
	for _, kept := range d.Kept {
		at = max(at, kept.At)
	}
	for _, change := range d.Changes {
		at = max(at, change.At)
	}
	for _, w := range d.Writes {
		at = max(at, w.Write.Record.UpdatedAt)
	}
	return at
}

// replay is one record of a dead process's journal on its way into the store.
type replay struct {
	id   credential.ID
	what string
	do   func(context.Context, *reader) error
}

// replayAll carries replays out one after the other. Most of what a journal holds
// is in the store already, which one read tells of many.
func (e *Engine) replayAll(ctx context.Context, owner string, all []replay, left map[credential.ID]bool) error {
	for some := range slices.Chunk(all, putBackAtOnce) {
		r := e.reader()
		var ids []credential.ID
		for _, one := range some {
			if !left[one.id] {
				ids = append(ids, one.id)
			}
		}
		if err := r.ahead(ctx, ids); err != nil {
			return fmt.Errorf("what is stored: %w", err)
		}
		for _, one := range some {
			if left[one.id] {
				continue
			}
			if err := e.ownTrouble(one.do(ctx, r), owner, one.id, left); err != nil {
				return fmt.Errorf("%s of %s: %w", one.what, one.id, err)
			}
		}
	}
	return nil
}

// reader reads records of which some were read ahead. One that is not as it was
// read any more refuses the write that was decided on it, and is read again. Where
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
