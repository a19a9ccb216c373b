package journal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	pageSize = 4096
	// On a small disk a file grows by so small a part of a segment, and is written
	// anew as soon as it is that long.
	smallPart = 16
)

// Everything in this file is called with mu held.

func (j *Journal) usable() error {
	if j.closing {
		return fmt.Errorf("%w: %s", ErrClosed, j.path)
	}
	return j.broken
}

// drop is for a nonce that has a room. A broken journal leaves the record out
// when it moves.
func (j *Journal) drop(nonce credential.Nonce) {
	if j.broken != nil {
		j.dropped[nonce] = true
		return
	}
	j.add(nonce, typeDrop, 0, j.frames.appendDrop(j.next.buf, nonce))
}

// add puts a frame, which the caller has appended to the next batch's buffer,
// among what will be written. room is what the record needs from then on: for
// what may follow it and must not fail.
func (j *Journal) add(nonce credential.Nonce, typ frameType, room int64, buf []byte) {
	before := j.rooms[nonce]
	j.next.ops = append(j.next.ops, op{nonce: nonce, typ: typ, start: len(j.next.buf), size: len(buf) - len(j.next.buf), room: before})
	j.next.buf = buf
	j.setRoom(nonce, room)
}

func (j *Journal) setRoom(nonce credential.Nonce, room int64) {
	j.reserved += room - j.rooms[nonce]
	if room == 0 {
		delete(j.rooms, nonce)
	} else {
		j.rooms[nonce] = room
	}
}

// undo takes back what was added since mark.
func (j *Journal) undo(mark int) {
	if mark == len(j.next.ops) {
		return
	}
	j.next.buf = j.next.buf[:j.next.ops[mark].start]
	j.giveBack(j.next.ops[mark:])
	j.next.ops = j.next.ops[:mark]
}

// giveBack sets the rooms to what they were before ops, the latest first.
func (j *Journal) giveBack(ops []op) {
	for _, o := range slices.Backward(ops) {
		j.setRoom(o.nonce, o.room)
	}
}

// submit makes sure of the room for what was added since mark, and has it
// written and synced. Without room it is taken back.
func (j *Journal) submit(mark int) (*batch, error) {
	if err := j.ensure(j.needed()); err != nil {
		j.undo(mark)
		err = fmt.Errorf("journal %s: %w", j.path, err)
		if errors.Is(err, ErrNoRoom) {
			j.refused = err
			j.signal() // the writer may find some in what is of the past
		}
		return nil, err
	}
	j.next.sync = true
	j.signal()
	return j.next, nil
}

// needed is how long the file must be for what is promised.
func (j *Journal) needed() int64 { return j.end + int64(len(j.next.buf)) + j.reserved }

// ensure lets the file be at least size bytes long, by whole segments as long
// as the disk has them.
func (j *Journal) ensure(size int64) error {
	if size <= j.allocated {
		return nil
	}
	defer j.stall.step()()
	spare := int64(pageSize)
	if j.ofThePast() {
		spare += roundUp(j.baseSize(), pageSize)
	}
	to, small, err := grow(j.file, j.allocated, size, spare, j.segment)
	j.small = small
	if err != nil {
		return err
	}
	j.allocated = to
	return nil
}

// trim gives back what no promise needs of the room ahead, so that another file can
// be made. What the kernel is being told of meanwhile is all within the promises.
func (j *Journal) trim() {
	defer j.stall.step()()
	if to := roundUp(j.needed(), pageSize); to <= j.allocated {
		_ = j.file.Truncate(to) // if it fails, it may have been done all the same
		j.allocated = to
	}
}

// grow lets a file of from bytes have at least size, by whole segments as long as
// its disk has room for as long a file beside it. Where it is small, or has no
// segment, growth is by little, and so much is taken beside as spare says, which is
// not used: that is given back when another file is to be made.
func grow(f file, from, size, spare, segment int64) (to int64, small bool, err error) {
	to = roundUp(size, segment)
	free, err := f.Free()
	if small = err == nil && free < 2*to-from; !small {
		if err = f.Allocate(from, to); err == nil {
			return to, false, nil
		}
	}
	if small || noRoom(err) {
		small = true
		to = roundUp(size, smallStep(segment))
		err = f.Allocate(from, to+spare)
		if exact := roundUp(size, pageSize); noRoom(err) && exact < to {
			to, err = exact, f.Allocate(from, exact+spare)
		}
	}
	if err != nil {
		return from, small, roomError(err)
	}
	return to, small, nil
}

func smallStep(segment int64) int64 { return roundUp(segment/smallPart, pageSize) }

func roomError(err error) error {
	if noRoom(err) {
		return fmt.Errorf("%w: %w; free some on its disk, or raise the quota or the limit on file sizes", ErrNoRoom, err)
	}
	return err
}

func roundUp(n, step int64) int64 { return (n + step - 1) / step * step }

// signal wakes the writer.
func (j *Journal) signal() {
	select {
	case j.wake <- struct{}{}:
	default: // it has not looked yet since the last one
	}
}
