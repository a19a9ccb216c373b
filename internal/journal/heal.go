package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/refreshd/refreshd/internal/failpoint"
)

const (
	firstPause = time.Second // before a broken journal is mended
	lastPause  = 10 * time.Second
	// maxReads is how often a record that the disk fails to read is asked for
	// before it is taken for damaged.
	maxReads = 3
	// maxSpares is how many files may stay locked because each may have the
	// journal's name.
	maxSpares = 8
)

var errUnnamed = errors.New("the journal's file was removed or replaced under this process")

var errSpares = errors.New("too many renames in its folder have failed; a restart is needed")

// fail breaks the journal, or notes why it still is. What was not acknowledged
// is taken back and will not be in another file: the batch that the writer has
// in hand, if any, and what waits behind it. Drops hold all the same. Called
// with mu held.
func (j *Journal) fail(inHand *batch, err error) {
	if j.broken != nil {
		j.broken = fmt.Errorf("%w; it could not move to another file: %s", j.cause, err.Error()) // is not why the call fails
		return
	}
	j.cause = fmt.Errorf("%w: %s: %w", ErrBroken, j.path, err)
	j.broken = j.cause
	waiting := j.next
	j.next = newBatch()
	j.giveBack(waiting.ops)
	lost := waiting.ops
	if inHand != nil {
		j.giveBack(inHand.ops)
		lost = append(lost, inHand.ops...)
	}
	for i := range lost {
		if _, known := j.rooms[lost[i].nonce]; known && lost[i].typ == typeDrop {
			j.drop(lost[i].nonce)
		}
	}
	waiting.err = j.broken
	close(waiting.done)
}

// resume goes on in another file, with the drops that came while it was made
// and the replies that have waited for it. Called with mu held.
func (j *Journal) resume() {
	j.broken, j.cause = nil, nil
	for nonce := range j.dropped {
		j.drop(nonce)
	}
	clear(j.dropped)
	for _, l := range j.late {
		l.batch, l.err = j.put(l.nonce, append(j.next.buf, l.frame...))
		close(l.settled)
	}
	j.late = nil
	j.signal()
}

// healer moves a broken journal to another file. It belongs to the writer.
type healer struct {
	journal  *Journal
	onBroken func(error)
	onHealed func(error)

	onUnnamed func(error)

	timer   *time.Timer // of the next attempt; nil if there is none
	since   time.Time   // when it was set
	pause   time.Duration
	tried   bool // an attempt was made since the journal has written something
	told    bool
	ended   bool // the last attempt was made
	reads   int  // attempts that failed to read a record
	damage  []error
	damaged string // name under which a damaged file is kept
}

// due returns what fires when an attempt is to be made; nil for a journal that
// is not broken. While a reply waits, which is nowhere but in memory, the first
// one is made at once, and each other a second after the last.
func (h *healer) due() <-chan time.Time {
	broken, awaited := h.broken()
	if !broken {
		return nil
	}
	pause := min(max(2*h.pause, firstPause), lastPause)
	switch {
	case awaited && h.tried:
		pause = firstPause
	case awaited:
		pause = 0
	}
	switch {
	case h.timer == nil:
		h.pause = pause
		h.timer, h.since = time.NewTimer(pause), time.Now()
	case awaited && h.pause > pause:
		h.pause = pause
		h.timer.Reset(pause - time.Since(h.since))
	}
	return h.timer.C
}

// broken tells so, and those who asked to be told. A reply may wait for it.
func (h *healer) broken() (broken, awaited bool) {
	h.journal.mu.Lock()
	err := h.journal.broken
	awaited = len(h.journal.late) > 0
	h.journal.mu.Unlock()
	if err != nil && !h.told {
		h.told = true
		if h.onBroken != nil {
			h.onBroken(err)
		}
	}
	return err != nil, awaited
}

// works notes that the journal has written something: should it break again,
// it is mended as soon as the first time.
func (h *healer) works() { h.pause, h.tried = 0, false }

// finally makes a last attempt when the journal is being closed.
func (h *healer) finally() (healed bool) {
	if h.ended {
		return false
	}
	if broken, _ := h.broken(); !broken {
		return false
	}
	h.ended = true
	if h.timer != nil {
		h.timer.Stop()
	}
	return h.heal()
}

// heal makes one attempt.
func (h *healer) heal() (healed bool) {
	h.timer, h.tried = nil, true
	j := h.journal
	if err := h.move(); err != nil {
		j.mu.Lock()
		j.fail(nil, err)
		j.mu.Unlock()
		return false
	}
	var damage error
	if len(h.damage) > 0 {
		damage = fmt.Errorf("the file is kept as %s: %w", filepath.Join(filepath.Dir(j.path), h.damaged), errors.Join(h.damage...))
	}
	h.told, h.reads, h.damage, h.damaged = false, 0, nil, ""
	if h.onHealed != nil {
		h.onHealed(damage)
	}
	return true
}

// unnamed reports whether somebody has removed the file, or given its name to
// another one. The files of a broken journal are exchanged in any case, and a name
// that cannot be looked at is not known to be lost.
func (h *healer) unnamed() bool {
	j := h.journal
	j.mu.Lock()
	f, broken := j.file, j.broken
	j.mu.Unlock()
	if broken != nil {
		return false
	}
	named, err := f.Named(j.name)
	return err == nil && !named
}

// rename writes what the journal holds to another file, and gives that the name
// which was lost: a journal without one is found by no heir. The goroutine that
// writes acknowledges nothing meanwhile. A file that has taken the name may hold
// what somebody misses, and is put aside.
func (h *healer) rename() {
	j := h.journal
	defer j.stall.step()()
	told, aside := errUnnamed, damagedName(j.owner)
	err := j.disk.link(j.name, aside)
	switch {
	case err == nil:
		told = fmt.Errorf("%w; the other file is kept as %s", errUnnamed, filepath.Join(filepath.Dir(j.path), aside))
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err == nil {
		err = h.move()
	}
	if err != nil {
		j.mu.Lock()
		j.fail(nil, fmt.Errorf("%w, and there is no other yet: %w", errUnnamed, err))
		j.mu.Unlock()
		return
	}
	if h.onUnnamed != nil {
		h.onUnnamed(fmt.Errorf("%s: %w; leave the journals of running processes alone", j.path, told))
	}
}

// move writes the acknowledged records to a new file and makes that the
// journal. The old file is trusted for nothing else.
func (h *healer) move() error {
	j := h.journal
	j.mu.Lock()
	for nonce := range j.dropped {
		j.liveBytes -= j.live[nonce].size
		delete(j.live, nonce)
		j.setRoom(nonce, 0)
	}
	clear(j.dropped)
	r, old, size, spares := j.plan(), j.file, j.reserved, len(j.spares)
	j.mu.Unlock()
	if spares >= maxSpares {
		return errSpares
	}
	err := h.copyTo(r, old, r.base+size)
	if err == nil && len(h.damage) > 0 {
		err = j.disk.link(j.name, h.damaged)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) { // by an attempt before; or somebody has removed it
			err = nil
		}
	}
	if err == nil {
		err = j.swapIn(r)
	}
	if err != nil {
		j.discard(r)
	}
	return err
}

// copyTo makes the new file, with room for size bytes.
func (h *healer) copyTo(r *rewrite, old file, size int64) (err error) {
	j := h.journal
	if r.file, r.temp, err = j.disk.create(j.owner); err != nil {
		return err
	}
	if r.allocated, r.small, err = grow(r.file, 0, size, 0, j.segment); err != nil {
		return err
	}
	if err := failpoint.Hit(failpoint.JournalWrite); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := h.copySound(r, old); err != nil {
		return err
	}
	if err = failpoint.Hit(failpoint.JournalWritten); err == nil {
		err = r.file.Sync()
	}
	if err == nil {
		err = failpoint.Hit(failpoint.JournalSynced)
	}
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// copySound copies the records that are as they were written. For each that is
// not, a hole is left, so that whoever adopts the file knows that something is
// missing, until that record is dropped.
func (h *healer) copySound(r *rewrite, old file) error {
	j := h.journal
	head := j.frames.head(j.owner)
	r.base = int64(len(head))
	block, start := append(make([]byte, 0, copyBlock), head...), int64(0)
	var damage []error
	for i := range r.moved {
		m := &r.moved[i]
		m.to, r.base = r.base, r.base+m.size
		var frame []byte
		if !m.hole {
			var reason string
			var err error
			if frame, reason, err = h.read(m, old); err != nil {
				return err
			}
			if reason != "" {
				m.hole = true
				damage = append(damage, &CorruptError{Path: j.path, Offset: m.off, Length: m.size, Reason: reason})
			}
		}
		if m.hole {
			frame = make([]byte, m.size)
		}
		block = append(block, frame...)
		if len(block) >= copyBlock {
			if _, err := r.file.WriteAt(block, start); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			block, start = block[:0], r.base
		}
	}
	if _, err := r.file.WriteAt(block, start); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if len(damage) > 0 {
		h.damage = damage
		if h.damaged == "" {
			h.damaged = damagedName(j.owner)
		}
	}
	if err := r.seal(head); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// read returns the frame of a record, or the reason why it is damaged.
func (h *healer) read(m *move, old file) (frame []byte, reason string, err error) {
	w := newWindow(old, m.off+m.size) // of this record alone: what is beside it may be unreadable
	f, payload, reason, err := w.frame(h.journal.frames, m.off)
	if err != nil {
		if h.reads++; h.reads < maxReads {
			return nil, "", err
		}
		return nil, err.Error(), nil // it is the reason now
	}
	if reason == "" && (f.size() != m.size || !bytes.HasPrefix(payload, m.nonce[:])) {
		reason = "another record is there"
	}
	if reason != "" {
		return nil, reason, nil
	}
	frame, err = w.bytes(m.off, int(m.size))
	return frame, "", err
}
