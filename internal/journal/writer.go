package journal

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// lookEvery is how often the journal looks whether its file still has its name.
// It is well below the silence after which a neighbour that misses the file takes
// this process for dead.
const lookEvery = time.Second

// spareLimit is how large a buffer may be to be used again.
const spareLimit = 1 << 20

// op is what a frame of a batch does.
type op struct {
	nonce credential.Nonce
	typ   frameType
	start int   // in the batch's buffer
	size  int   // with padding
	room  int64 // that the nonce had before
}

// batch is what is written and synced in one go.
type batch struct {
	buf  []byte
	ops  []op
	sync bool          // someone waits for it to be durable
	off  int64         // where it goes; set when the writer takes it
	told int           // bytes of buf that the kernel already has, see tell
	done chan struct{} // closed when it is, or has failed
	err  error         // set before done is closed
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// write is the one goroutine that writes to the file. It ends when the journal
// is being closed and nothing is left to write.
func (j *Journal) write(h *healer) {
	defer close(j.stopped)
	var spare batch             // its slices are used again
	var running <-chan *rewrite // not nil while the file is being written anew
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	keepName := func() {
		if !h.unnamed() {
			return
		}
		if running != nil {
			j.discard(<-running)
			running = nil
		}
		h.rename()
	}
	for {
		b, closing := j.take(&spare)
		switch {
		case b != nil:
			if j.commit(b, &spare) {
				h.works()
			}
		case closing:
			if running != nil {
				j.discard(<-running)
				running = nil
			}
			keepName()
			if h.finally() {
				continue // with what has waited for it
			}
			j.result = j.shut()
			return
		default:
			if running == nil {
				running = j.rewriteIfDue()
			}
			select {
			case <-j.wake:
			case r := <-running:
				running = nil
				j.install(r)
			case <-h.due():
				if running != nil {
					j.install(<-running)
					running = nil
				}
				h.heal()
			case <-look.C:
				keepName()
			}
			continue
		}
		select { // under a steady load there is no idle moment
		case <-look.C:
			keepName()
		default:
		}
		if running == nil {
			running = j.rewriteIfDue()
			continue
		}
		select { // as above
		case r := <-running:
			running = nil
			j.install(r)
		default:
		}
	}
}

// take returns what waits to be written. Without any it tells whether the
// journal is being closed.
func (j *Journal) take(spare *batch) (b *batch, closing bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.next.ops) == 0 {
		return nil, j.closing
	}
	b = j.next
	j.inHand, b.off = b, j.end
	j.end += int64(len(b.buf))
	j.next = newBatch()
	j.next.buf, j.next.ops = spare.buf, spare.ops
	*spare = batch{}
	return b, false
}

// commit writes a batch and lets its waiters go on.
func (j *Journal) commit(b, spare *batch) (written bool) {
	err := j.store(b)
	j.mu.Lock()
	j.inHand = nil
	if err == nil {
		j.apply(b)
	} else {
		j.fail(b, err)
	}
	b.err = j.broken
	j.mu.Unlock()
	if cap(b.buf) <= spareLimit {
		spare.buf, spare.ops = b.buf[:0], b.ops[:0]
	}
	close(b.done)
	return err == nil
}

// store needs no lock: only this goroutine writes, or exchanges the file.
func (j *Journal) store(b *batch) error {
	defer j.stall.step()()
	j.mu.Lock()
	f := j.file
	j.mu.Unlock()
	err := failpoint.Hit(failpoint.JournalWrite)
	if err == nil {
		_, err = f.WriteAt(b.buf, b.off)
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	j.mu.Lock()
	b.told = len(b.buf)
	j.mu.Unlock()
	if !b.sync {
		return nil
	}
	return flush(f)
}

// flush makes what was written durable.
func flush(f file) error {
	err := failpoint.Hit(failpoint.JournalWritten)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = failpoint.Hit(failpoint.JournalSynced)
	}
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// tell hands what the next batch holds to the kernel. Whoever brings a reply
// does so himself, at once: neither the writer's turn, nor a sync that is under
// way, nor another goroutine stands between a reply that was read and the
// kernel, and what the kernel has survives the end of this process, if not that
// of the machine.
//
// It is written where the batch will be; a failure is the batch's to find. No two
// bytes of a file are ever written differently, so it does no harm that others
// write the same, or that the batch was written meanwhile, or the file exchanged.
// What others are still writing is written along, the batch that the writer has in
// hand included, so that no gap is left.
func (j *Journal) tell() {
	j.mu.Lock()
	f, next, before := j.file, j.next, j.inHand
	buf, off := slices.Clone(next.buf[next.told:]), j.end+int64(next.told)
	if before != nil && before.told < len(before.buf) { // of next nothing was told, then
		buf, off = slices.Concat(before.buf[before.told:], next.buf), before.off+int64(before.told)
	}
	size := len(next.buf)
	if j.broken != nil || f == nil {
		buf = nil
	}
	j.mu.Unlock()
	if len(buf) == 0 {
		return
	}
	if _, err := f.WriteAt(buf, off); err != nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file != f {
		return // another has what waits now
	}
	next.told = max(next.told, size)
	if before != nil {
		before.told = len(before.buf)
	}
}

// apply notes where the records of a written batch are. Called with mu held.
func (j *Journal) apply(b *batch) {
	for i := range b.ops {
		o := &b.ops[i]
		j.liveBytes -= j.live[o.nonce].size
		if o.typ == typeDrop {
			delete(j.live, o.nonce)
			continue
		}
		j.live[o.nonce] = place{off: b.off + int64(o.start), size: int64(o.size)}
		j.liveBytes += int64(o.size)
	}
}

// shut removes the file if it holds nothing, and gives up the lock.
func (j *Journal) shut() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	trouble := j.broken
	for _, l := range j.late {
		l.err = trouble
		close(l.settled)
	}
	if trouble == nil && len(j.live) == 0 {
		trouble = j.disk.remove(j.name)
	}
	err := errors.Join(trouble, j.file.Close())
	for _, f := range j.spares {
		err = errors.Join(err, f.Close())
	}
	j.file, j.late, j.spares = nil, nil, nil
	return err
}
