package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

const (
	// A file of so many segments is written anew when no more than one in so many
	// of its bytes is live: then the work is at most half of what was written since
	// the last time. On a small disk it is at most all of that, for a part of a
	// segment.
	rewriteSegments  = 4
	rewriteLive      = 3
	rewriteLiveSmall = 2

	// rewritePause is the least between two attempts to find room for those who
	// were refused: what is in the air holds room as well, until it is settled.
	rewritePause = time.Second

	copyBlock = 256 << 10
)

// rewrite is a new file with the live records of the old one. It is made in
// two steps: what was in the old file up to cut is copied aside while the
// writer goes on, then the writer adds what came since and exchanges the
// files.
type rewrite struct {
	file      file
	temp      string // its name
	cut       int64  // in the old file
	base      int64  // length of the content, which stands for everything before cut
	allocated int64
	small     bool   // as [Journal] has it, of the new file
	moved     []move // by from
	err       error
}

// move tells where a record has gone.
type move struct {
	place

	nonce credential.Nonce
	to    int64
}

// rewriteIfDue starts a rewrite when the file is mostly of the past, and long or in
// the way of what is to come. Its result arrives on the channel, exactly once.
func (j *Journal) rewriteIfDue() <-chan *rewrite {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil || !j.ofThePast() || !j.long() && !j.inTheWay() {
		return nil
	}
	r := j.plan()
	size := r.base + j.reserved
	if !j.small {
		size += j.segment // for what comes meanwhile
	}
	if free, err := j.file.Free(); j.refused != nil || j.small && err == nil && free < size {
		j.trim()
	}
	j.triedAt, j.tried = j.end, time.Now()
	old := j.file
	result := make(chan *rewrite, 1)
	go func() {
		r.err = r.copyLive(j, old, size)
		result <- r
	}()
	return result
}

// ofThePast tells that most of the file is.
func (j *Journal) ofThePast() bool {
	share := int64(rewriteLive)
	if j.small {
		share = rewriteLiveSmall
	}
	return j.liveBytes*share <= j.end
}

// long tells that enough was written since the last attempt, however that ended.
func (j *Journal) long() bool {
	round := rewriteSegments * j.segment
	if j.small {
		round = smallStep(j.segment)
	}
	return j.end-j.triedAt >= round
}

// inTheWay tells that somebody was refused for want of room, and that there would be
// more.
func (j *Journal) inTheWay() bool {
	return j.short() && time.Since(j.tried) >= rewritePause
}

// short tells that somebody was refused for want of room that another file would
// have.
func (j *Journal) short() bool {
	return j.refused != nil && j.ofThePast() && j.end-j.baseSize() >= pageSize
}

// baseSize is how long a file with nothing but the live records is.
func (j *Journal) baseSize() int64 { return 2*int64(len(j.frames.head(j.owner))) + j.liveBytes }

// plan lists what is to be copied; base is how long that will be. Called with
// mu held.
func (j *Journal) plan() *rewrite {
	r := &rewrite{cut: j.end, moved: make([]move, 0, len(j.live)), base: j.baseSize()}
	for nonce, p := range j.live {
		r.moved = append(r.moved, move{place: p, nonce: nonce})
	}
	slices.SortFunc(r.moved, func(a, b move) int { return byOffset(a.place, b.place) })
	return r
}

func byOffset(a, b place) int { return cmp.Compare(a.off, b.off) }

// copyLive is the first step, with room for size bytes. It reads old, which stays
// open until the writer has received the result.
func (r *rewrite) copyLive(j *Journal, old file, size int64) error {
	var err error
	if r.file, r.temp, err = j.disk.create(j.owner); err != nil {
		return err
	}
	if r.allocated, r.small, err = grow(r.file, 0, size, 0, j.segment); err != nil {
		return err
	}
	head := j.frames.head(j.owner)
	if _, err := r.file.WriteAt(head, 0); err != nil {
		return err
	}
	r.base = int64(len(head))
	for i := 0; i < len(r.moved); {
		run := r.moved[i].place // of records that follow each other
		for ; i < len(r.moved) && r.moved[i].off <= run.off+run.size; i++ {
			r.moved[i].to = r.base + r.moved[i].off - run.off
			run.size = r.moved[i].off + r.moved[i].size - run.off
		}
		if err := copyRange(r.file, r.base, old, run); err != nil {
			return err
		}
		r.base += run.size
	}
	if err := r.seal(head); err != nil {
		return err
	}
	return r.file.Sync()
}

// seal ends what was copied with another head: damage before it is not at the
// end of the file, where it would pass for a write that was cut off.
func (r *rewrite) seal(head []byte) error {
	_, err := r.file.WriteAt(head, r.base)
	r.base += int64(len(head))
	return err
}

func copyRange(to file, at int64, from file, p place) error {
	_, err := io.CopyBuffer(
		struct{ io.Writer }{io.NewOffsetWriter(to, at)}, // hides ReadFrom, which would take a buffer of its own
		struct{ io.Reader }{io.NewSectionReader(from, p.off, p.size)},
		make([]byte, min(copyBlock, p.size+1)),
	)
	return err
}

// install is the second step, in the writer, when nothing is being written.
// Until the new file is to get the name, any failure leaves the old one in use.
func (j *Journal) install(r *rewrite) {
	defer j.stall.step()()
	if r.err == nil {
		r.err = j.copyRest(r)
	}
	if r.err == nil {
		r.err = j.swapIn(r)
	}
	if r.err != nil {
		j.mu.Lock()
		j.small = j.small || errors.Is(r.err, ErrNoRoom)
		j.mu.Unlock()
		j.discard(r)
	}
}

// swapIn makes the new file the journal. If the journal was broken, it is not
// any more. Nobody waits for the folder: the name is durable before anything that
// is added meanwhile is acknowledged, for that is this goroutine's to do.
func (j *Journal) swapIn(r *rewrite) error {
	j.mu.Lock()
	done, err := j.exchange(r)
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if err = failpoint.Hit(failpoint.JournalRenamed); err == nil {
		err = j.disk.sync()
	}
	for _, f := range done {
		_ = f.Close() // it has no name any more, and nothing in it matters
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case err != nil:
		// Which of the files has the name after a power cut is unknown now.
		err = fmt.Errorf("sync of its folder: %w", err)
		j.fail(nil, err)
	case j.broken != nil:
		j.resume()
	}
	return err
}

// copyRest adds what was written since the cut, as it is: live records, dropped
// ones and drops alike.
func (j *Journal) copyRest(r *rewrite) error {
	j.mu.Lock()
	old, rest, broken := j.file, place{off: r.cut, size: j.end - r.cut}, j.broken
	j.mu.Unlock()
	if broken != nil {
		return broken
	}
	if size := r.base + rest.size; size > r.allocated {
		to, small, err := grow(r.file, r.allocated, size, 0, j.segment)
		if err != nil {
			return err
		}
		r.allocated, r.small = to, small
	}
	if err := copyRange(r.file, r.base, old, rest); err != nil {
		return err
	}
	return r.file.Sync()
}

// exchange puts the new file in the old one's place, with at least the room
// that is promised and with what waits to be written, of which the kernel may have
// replies. It returns the files that are not needed any more. An error leaves the
// old one in use, and the journal broken if it came after the new file was to get
// the name. Called with mu held, so that no promise is made meanwhile.
func (j *Journal) exchange(r *rewrite) (done []file, err error) {
	shift := r.base - r.cut
	if size := j.needed() + shift; size > r.allocated {
		if r.allocated, r.small, err = grow(r.file, r.allocated, size, 0, j.segment); err != nil {
			return nil, err
		}
	}
	if waiting := j.next.buf; len(waiting) > 0 {
		if _, err = r.file.WriteAt(waiting, j.end+shift); err != nil {
			return nil, err
		}
	}
	if err = failpoint.Hit(failpoint.JournalRewritten); err == nil {
		err = j.disk.replace(r.temp, j.name)
	}
	if err != nil {
		j.fail(nil, err)
		if j.disk.remove(r.temp) != nil {
			// Which of the files has the name is unknown. Both hold everything
			// that was acknowledged; both stay locked, for this process lives.
			j.spares = append(j.spares, r.file)
			r.file = nil
		}
		return nil, err
	}
	for nonce, p := range j.live {
		if p.off >= r.cut {
			p.off += shift
		} else {
			i, _ := slices.BinarySearchFunc(r.moved, p.off, func(m move, off int64) int { return cmp.Compare(m.off, off) })
			p.off, p.hole = r.moved[i].to, r.moved[i].hole
		}
		j.live[nonce] = p
	}
	done = append(j.spares, j.file)
	j.file, j.allocated, j.small, j.spares, r.file = r.file, r.allocated, r.small, nil, nil
	j.end += shift
	j.next.told = len(j.next.buf)
	j.triedAt = 0
	return done, nil
}

// discard removes a new file that is of no use. The old one goes on, so there
// is nobody to tell; a file that cannot be removed is removed by the next
// process that cleans the folder.
func (j *Journal) discard(r *rewrite) {
	if r.file != nil {
		_ = errors.Join(j.disk.remove(r.temp), r.file.Close())
	}
}
