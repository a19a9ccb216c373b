package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

const (
	defaultMaxReply    = 64 << 10
	defaultSegmentSize = 8 << 20
	firstReplies       = 4 // that a file has room for, at the least, when it is made
)

// Options of [Create]. The zero value is ready to use.
type Options struct {
	// MaxReply is how many sealed bytes of a reply find room that was set
	// aside with the intent; 64 KiB unless set. The disk needs that much for
	// each exchange that is in the air.
	MaxReply int
	// SegmentSize is the step, in bytes, in which the file grows ahead of its
	// content; 8 MiB unless set. A file of four steps that is mostly of the
	// past is written anew.
	SegmentSize int64
	// OnBroken, if set, is told why the journal takes nothing more for now.
	OnBroken func(error)
	// OnHealed, if set, is told that a broken journal is usable again. The
	// error is nil, or joins a [*CorruptError] for each acknowledged record
	// that could not be read back, and says where the old file is kept.
	OnHealed func(error)
	// OnStalled, if set, is told that something done to the disk neither fails nor
	// returns, and that the journal takes nothing new until it does; OnResumed that
	// it has, whichever. They are called one after the other.
	OnStalled func(error)
	OnResumed func()
	// OnUnnamed, if set, is told that somebody has removed the file, or given
	// its name to another one, and that a new file with all records has that
	// name now. The error says so, with the path. Where no such file can be
	// made the journal is broken.
	//
	// The journal waits for all of them: they must return soon.
	OnUnnamed func(error)

	bare bool // it begins without room for replies: what the dead have left will give some back
}

// Journal is this process's journal. Its methods may be called concurrently,
// by thousands: whatever waits is written and synced together.
type Journal struct {
	path      string
	name      string
	owner     string
	disk      disk
	frames    framer
	segment   int64
	replyRoom int64 // of an intent's reply, and of the drop after it
	first     int64 // room behind the head that the file has at the least when it is made
	stall     *stall

	wake    chan struct{} // holds a token when the writer has something to look at
	stopped chan struct{} // closed when the writer has ended
	result  error         // of Close; set before stopped is closed

	mu        sync.Mutex
	file      file
	spares    []file // locked as well, after renames whose result is unknown
	next      *batch // what the writer will take next
	inHand    *batch // what it is writing; nil if there is none
	end       int64  // of what was written or is being written: where next goes
	allocated int64  // length of the file; at least end + next + reserved
	reserved  int64  // sum of rooms
	rooms     map[credential.Nonce]int64
	live      map[credential.Nonce]place // records that are in the file
	liveBytes int64
	small     bool      // the disk has no room for another file as long as this one
	refused   error     // with which the last intents found no room; nil if they did
	triedAt   int64     // end at the last attempt to write the file anew; 0 if there was none
	tried     time.Time // when that was made
	closing   bool

	// While the journal is broken. Nothing is in next then.
	broken  error // says why, and why it still is
	cause   error // says why at first
	dropped map[credential.Nonce]bool
	late    []*lateKeep
}

// place is where a record is in the file.
type place struct {
	off  int64
	size int64
	hole bool // it could not be read back, and nothing is there
}

// Create makes the journal of owner in dir, which is made where it is missing.
// The owner is a name that no process had before: 1 to 64 letters, digits,
// "_" and "-". Where there is no room, what dead processes had allocated ahead is
// given back first; if there is none for replies then, and journals of theirs to
// adopt, which gives room, it is made without. The error says what to do when dir
// cannot be used; it wraps [ErrNetworkFS], [ErrNoRoom] or [ErrInUse] where that is
// the case.
func Create(dir, owner string, opts Options) (*Journal, error) {
	d := folder(dir)
	if err := d.prepare(); err != nil {
		return nil, err
	}
	j, err := create(d, dir, owner, opts)
	if !errors.Is(err, ErrNoRoom) {
		return j, err
	}
	dead, _ := Adopt(dir, owner) // what is wrong with a file is told when its content is taken up
	for _, one := range dead {
		_ = one.Release()
	}
	if j, err = create(d, dir, owner, opts); len(dead) > 0 && errors.Is(err, ErrNoRoom) {
		opts.bare = true
		return create(d, dir, owner, opts)
	}
	return j, err
}

func create(d disk, dir, owner string, opts Options) (*Journal, error) {
	if err := checkOwner(owner); err != nil {
		return nil, err
	}
	if opts.MaxReply < 0 || opts.MaxReply > maxPayload-maxFields || opts.SegmentSize < 0 {
		return nil, fmt.Errorf("journal options: MaxReply %d must be 0 to %d and SegmentSize %d not negative", opts.MaxReply, maxPayload-maxFields, opts.SegmentSize)
	}
	if opts.MaxReply == 0 {
		opts.MaxReply = defaultMaxReply
	}
	if opts.SegmentSize == 0 {
		opts.SegmentSize = defaultSegmentSize
	}
	name := owner + suffix
	j := &Journal{
		path: filepath.Join(dir, name), name: name, owner: owner, disk: d, frames: newFramer(owner),
		segment:   opts.SegmentSize,
		replyRoom: roundUp(int64(headerSize+maxFields+opts.MaxReply), alignment) + dropSize,
		wake:      make(chan struct{}, 1), stopped: make(chan struct{}),
		next: newBatch(), rooms: map[credential.Nonce]int64{}, live: map[credential.Nonce]place{},
		dropped: map[credential.Nonce]bool{},
		stall:   newStall(filepath.Join(dir, name), opts.OnStalled, opts.OnResumed),
	}
	if !opts.bare {
		j.first = firstReplies * j.replyRoom
	}
	if err := j.open(); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w; let the user that runs refreshd read and write in %s (chown, chmod 700)", err, dir)
		}
		return nil, fmt.Errorf("create journal %s: %w", j.path, err)
	}
	go j.write(&healer{journal: j, onBroken: opts.OnBroken, onHealed: opts.OnHealed, onUnnamed: opts.OnUnnamed})
	return j, nil
}

// open makes the file: its name appears when it is locked, and is durable
// together with the head before anyone relies on it.
func (j *Journal) open() error {
	f, temp, err := j.disk.create(j.owner)
	if err != nil {
		return err
	}
	head := j.frames.head(j.owner)
	j.file, j.end = f, int64(len(head))
	if err = j.start(temp, head); err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

func (j *Journal) start(temp string, head []byte) error {
	err := j.begin(head)
	if err == nil {
		err = failpoint.Hit(failpoint.JournalCreated)
	}
	if err != nil {
		return errors.Join(err, j.disk.remove(temp))
	}
	if err := j.disk.link(temp, j.name); err != nil { // unlike a rename it takes no name from another
		if errors.Is(err, fs.ErrExist) {
			err = ErrInUse
		}
		return errors.Join(err, j.disk.remove(temp))
	}
	if err := j.disk.remove(temp); err != nil {
		return err
	}
	return j.disk.sync()
}

// begin does with little where the disk has no room for a segment: journals of
// the dead may lie there, and give theirs back once they are adopted.
func (j *Journal) begin(head []byte) (err error) {
	least, spare := min(j.segment, j.end+j.first), int64(pageSize)
	if j.first == 0 {
		spare = 0
	}
	if j.allocated, j.small, err = grow(j.file, 0, max(j.end, least), spare, j.segment); err != nil {
		return err
	}
	if _, err := j.file.WriteAt(head, 0); err != nil {
		return err
	}
	return j.file.Sync()
}

// Intent notes that the generations named are about to be presented, and sets
// room aside for the replies. Only when it returns nil may they be sent: the
// intents are durable then. Otherwise none of them counts; the error wraps
// [ErrNoRoom], [ErrBroken], [ErrStalled], [ErrClosed] or [ErrInvalid], says why
// the file could not grow, or is the cause of the context's end.
func (j *Journal) Intent(ctx context.Context, intents []Intent) error {
	if len(intents) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := j.Stalled(); err != nil {
		return err
	}
	for i := range intents {
		if err := intents[i].check(); err != nil {
			return err
		}
	}
	b, err := j.addIntents(intents)
	if err != nil {
		return err
	}
	nonces := make([]credential.Nonce, len(intents))
	for i := range intents {
		nonces[i] = intents[i].Nonce
	}
	return j.wait(ctx, b, nonces...)
}

func (j *Journal) addIntents(intents []Intent) (*batch, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.usable(); err != nil {
		return nil, err
	}
	if j.short() && j.reserved >= j.replyRoom {
		return nil, j.refused // what is in the air has to leave room for another file first
	}
	mark := len(j.next.ops)
	for i := range intents {
		in := &intents[i]
		if _, taken := j.rooms[in.Nonce]; taken {
			j.undo(mark)
			return nil, fmt.Errorf("%w: nonce %s is in use", ErrInvalid, in.Nonce)
		}
		j.add(in.Nonce, typeIntent, j.replyRoom, j.frames.appendIntent(j.next.buf, in))
	}
	b, err := j.submit(mark)
	if err == nil {
		j.refused = nil
	}
	return b, err
}

// Trouble tells why no exchange can be begun now: the journal is broken, its disk does
// not answer, or the last intents found no room, and there is none yet for a single
// one. The error is that which they got; nil if nothing is known to be in the way.
func (j *Journal) Trouble() error {
	if err := j.Stalled(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.usable(); err != nil || j.refused == nil {
		return err
	}
	if j.ensure(j.needed()+j.replyRoom+headerSize+int64(maxFields)) == nil {
		j.refused = nil
	}
	return j.refused
}

// Stalled tells, without waiting for anything, that the disk does not answer: the
// error is that which [Journal.Intent] returns then.
func (j *Journal) Stalled() error { return j.stall.trouble() }

// Change notes what was done, and returns when that is durable. Noting again
// with the same nonce replaces what was noted. The errors are those of
// [Journal.Intent]; with one, nothing of what was to be noted is in the
// journal.
func (j *Journal) Change(ctx context.Context, changes ...Change) error {
	if len(changes) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := j.Stalled(); err != nil {
		return err
	}
	nonces := make([]credential.Nonce, len(changes))
	for i := range changes {
		if err := changes[i].check(); err != nil {
			return err
		}
		nonces[i] = changes[i].Nonce
	}
	b, err := j.addChanges(changes)
	if err != nil {
		return err
	}
	return j.wait(ctx, b, nonces...)
}

func (j *Journal) addChanges(changes []Change) (*batch, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.usable(); err != nil {
		return nil, err
	}
	mark := len(j.next.ops)
	for i := range changes {
		j.add(changes[i].Nonce, typeChange, dropSize, j.frames.appendChange(j.next.buf, &changes[i]))
	}
	return j.submit(mark)
}

// wait returns when a batch is durable. If the context ends first, or the disk does
// not answer, the records are dropped, because their caller will act as if they did
// not exist.
func (j *Journal) wait(ctx context.Context, b *batch, nonces ...credential.Nonce) error {
	answers := j.stall.now.Load()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		j.Drop(nonces...)
		return context.Cause(ctx)
	case <-answers.begun:
		j.Drop(nonces...)
		return answers.err
	}
}

// Drop forgets records, because the store holds them durably or because
// nothing was sent. It does not wait: a record may come back if the machine
// dies right after, or while the journal is broken. Unknown nonces are ignored.
func (j *Journal) Drop(nonces ...credential.Nonce) {
	_ = failpoint.Hit(failpoint.JournalDrop)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closing {
		return // nobody will read it from here; an adopter finds the records and rolls them forward again
	}
	for _, nonce := range nonces {
		if _, known := j.rooms[nonce]; known {
			j.drop(nonce)
		}
	}
	j.signal()
}

// Close writes what waits and gives up the lock. A broken journal moves to
// another file first, if it can at once. If no record is left the file is
// removed, otherwise it stays for whoever adopts it. Every later call fails
// with [ErrClosed]; closing again returns the same result.
func (j *Journal) Close() error {
	j.mu.Lock()
	j.closing = true
	j.signal()
	j.mu.Unlock()
	<-j.stopped
	return j.result
}
