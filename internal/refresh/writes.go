package refresh

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/refreshd/refreshd/internal/credential"
)

// lossy reports whether the store may lose what it has acknowledged.
func (e *Engine) lossy() bool { return e.opts.Loss() > 0 }

// noteMark tells the journal's record of a write from that of the token which
// the write installs: both are named after the attempt.
const noteMark = 0x77_72_69_74_65_00_00_00

// noteNonce is the journal's name for the record of a write.
func noteNonce(w credential.Write) credential.Nonce {
	n := w.Nonce
	tail := n[8:]
	binary.BigEndian.PutUint64(tail, binary.BigEndian.Uint64(tail)^noteMark)
	return n
}

// apply stores writes. Where the store may lose them again they are noted in
// the journal before, as they are: whoever adopts it makes the same writes, and
// no version comes up a second time with another content. Without room in the
// journal they are stored all the same; what was received is in it in any case.
//
// Until the store has answered, a write may have been stored, been seen, and be
// lost with everything else; so the ledger has it from before it is handed over.
// Whoever gets the status [credential.StatusWritten] calls [Engine.stored].
func (e *Engine) apply(ctx context.Context, list []Written) ([]credential.Status, error) {
	if e.lossy() {
		changes := make([]Change, 0, len(list))
		for i := range list {
			w := &list[i]
			changes = append(changes, Change{
				Nonce: noteNonce(w.Write), ID: w.Write.Record.ID, Kind: ChangeWrite,
				Grant: w.Write.Record.Grant, At: w.Write.Record.UpdatedAt, Write: w,
			})
		}
		if err := e.journal.Note(ctx, changes...); err != nil {
			e.log.Debug().Err(err).Msg("writes could not be noted in the journal before they were made")
		}
	}
	writes := make([]credential.Write, len(list))
	for i := range list {
		writes[i] = list[i].Write
	}
	if !e.opts.Kept {
		e.ledger.hands(e.clock.Boot(), list)
	}
	statuses, err := e.store.Apply(ctx, writes)
	single, partial := errors.AsType[itemsError](err)
	_, none := errors.AsType[notMade](err)
	switch {
	case err != nil && !partial && !none:
		e.ledger.unheard(e.clock.Boot(), list)
	default:
		for i, w := range list {
			if none || partial && single.At(i) != nil || statuses[i] != credential.StatusWritten && statuses[i] != credential.StatusOvertaken {
				e.refused(w.Write)
			}
		}
	}
	return statuses, err
}

// lastOwnWait is how long applyOne waits before it asks the store for the last time.
const lastOwnWait = 2 * firstStoreWait

// applyOne stores one write for whoever waits for it. Where the answer is lost the
// store is asked again a few times; then the error says whether it may have been
// stored by one of those of which no answer came.
func (e *Engine) applyOne(ctx context.Context, w Written) (credential.Status, error) {
	unsure := false
	for wait := firstStoreWait; ; wait *= 2 {
		statuses, err := e.apply(ctx, []Written{w})
		if err == nil {
			return statuses[0], nil
		}
		e.barrier.met(err)
		_, single := errors.AsType[itemsError](err)
		_, none := errors.AsType[notMade](err)
		_, another := errors.AsType[anotherRun](err)
		unsure = unsure || !single && !none
		if single || another || wait > lastOwnWait || pause(ctx, wait) != nil {
			return "", &outageError{err: err, unsure: unsure}
		}
	}
}

// notMade is an error of the store which says that it made none of the writes.
type notMade interface {
	error
	NotMade()
}

// refused forgets a write that the store did not make, unless it may have made it
// when it was handed over before.
func (e *Engine) refused(w credential.Write) {
	if e.ledger.refused(w.Nonce) {
		e.journal.Drop(noteNonce(w))
	}
}

// stored notes a write that the store has just acknowledged: it is announced,
// and can be made again should the store lose it.
func (e *Engine) stored(w Written) {
	now := e.clock.Boot()
	if !e.opts.Kept {
		e.ledger.wrote(now, w)
	}
	if e.lossy() {
		e.ledger.retain(now, noteNonce(w.Write))
	}
	e.announce(w.Write)
}

// commit stores one write that was decided on h, and reports whether the record
// was still that one.
func (e *Engine) commit(ctx context.Context, h credential.Held, write credential.Write, stalled func()) (bool, error) {
	w := Written{Write: write, After: write.Result(h)}
	status, err := e.commits.do(ctx, w, stalled)
	if err != nil {
		return false, err
	}
	if status != credential.StatusWritten {
		return false, nil
	}
	e.stored(w)
	return true, nil
}
