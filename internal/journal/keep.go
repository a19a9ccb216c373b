package journal

import (
	"errors"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// keepPatience is how long a reply waits for a broken journal: long enough for
// some attempts to mend it, and short enough that there is time left to store
// the reply, should they fail.
const keepPatience = 4 * time.Second

// lateKeep is a reply that came while the journal was broken.
type lateKeep struct {
	nonce   credential.Nonce
	frame   []byte
	settled chan struct{} // closed when the journal is usable again, or is closed
	batch   *batch        // set before settled is closed, as is err
	err     error
}

// Keep holds a reply in place of the intent with its nonce, and returns when
// that is durable. Up to [Options.MaxReply] sealed bytes it needs no more room
// than the intent has set aside; a longer reply, or one without an intent,
// fails with [ErrNoRoom] where the disk is full. Keeping again with the same
// nonce replaces what was kept. While the journal is broken it waits up to 4 s
// to be usable again before it fails with [ErrBroken].
func (j *Journal) Keep(k Keep) error { return j.Hand(k)() }

// Hand begins to keep a reply: when it returns the kernel has it, unless the
// journal is broken or that fails, and the end of this process does not take it
// away any more. durable does the rest of [Journal.Keep]; it is called once.
func (j *Journal) Hand(k Keep) (durable func() error) {
	if err := k.check(); err != nil {
		return func() error { return err }
	}
	b, l, err := j.admit(&k)
	if b != nil && err == nil {
		j.tell()
	}
	return func() error { return j.settle(&k, b, l, err) }
}

// settle waits until an admitted reply is durable.
func (j *Journal) settle(k *Keep, b *batch, l *lateKeep, err error) error {
	var deadline time.Time
	for {
		if l != nil {
			if deadline.IsZero() {
				deadline = time.Now().Add(keepPatience)
			}
			b, err = j.await(l, time.Until(deadline))
		}
		if err != nil {
			return err
		}
		<-b.done
		if !errors.Is(b.err, ErrBroken) {
			return b.err
		}
		b, l, err = j.admit(k)
	}
}

// admit adds a reply to what will be written, or to those that wait for a
// broken journal.
func (j *Journal) admit(k *Keep) (*batch, *lateKeep, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil && !j.closing {
		l := &lateKeep{nonce: k.Nonce, frame: j.frames.appendKeep(nil, k), settled: make(chan struct{})}
		j.late = append(j.late, l)
		j.signal()
		return nil, l, nil
	}
	if err := j.usable(); err != nil {
		return nil, nil, err
	}
	b, err := j.put(k.Nonce, j.frames.appendKeep(j.next.buf, k))
	return b, nil, err
}

// put adds a reply, which the caller has appended to the next batch's buffer.
// Called with mu held.
func (j *Journal) put(nonce credential.Nonce, buf []byte) (*batch, error) {
	mark := len(j.next.ops)
	j.add(nonce, typeKeep, dropSize, buf)
	return j.submit(mark)
}

// await returns the batch that a late reply is written with.
func (j *Journal) await(l *lateKeep, patience time.Duration) (*batch, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-l.settled:
		return l.batch, l.err
	case <-timer.C:
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if i := slices.Index(j.late, l); i >= 0 {
		j.late = slices.Delete(j.late, i, i+1)
		return nil, j.broken
	}
	return l.batch, l.err
}
