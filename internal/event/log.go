package event

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

const (
	pageSize  = 512                    // entries per read
	blockFor  = 300 * time.Millisecond // how long one read of the tail waits: two are well under the second in which memory counts as current
	recentMax = 4096                   // entries of each shard that are kept in memory for readers
	firstWait = 100 * time.Millisecond
	maxWait   = 2 * time.Second
)

// Store reads the event log. Positions are stream IDs; [Start] is before all.
type Store interface {
	// Events returns up to count entries after a position, waiting up to
	// block for the first; none is no error.
	Events(ctx context.Context, shard int, after string, count int, block time.Duration) ([]credential.LogEntry, error)
	// LastEvent returns the position of the log's end.
	LastEvent(ctx context.Context, shard int) (string, error)
	// TrimmedTo returns the position of the newest entry that was trimmed,
	// [Start] if none ever was.
	TrimmedTo(ctx context.Context, shard int) (string, error)
	Shards() int
	// Epoch names this log among those that have the same numbers.
	Epoch() string
}

// Listener hears of every entry, in each shard's order, as it is read.
type Listener interface {
	Observe(event credential.Event)
	// Asks is called before a shard's log is read.
	Asks(shard int)
	// Heard is called when it was read to its end: to that which it had when it
	// was asked for, or later.
	Heard(shard int)
}

// Log follows the event log for this process and serves its readers, most of
// them from memory.
type Log struct {
	store     Store
	log       zerolog.Logger
	listeners []Listener

	mu     sync.Mutex
	recent []tail        // by shard
	moved  chan struct{} // closed and replaced when something arrives

	ctx    context.Context //nolint:containedctx // the follower's own life
	cancel context.CancelFunc
	loops  sync.WaitGroup
}

// tail is the end of one shard's log. It is complete after since.
type tail struct {
	since   string
	entries []credential.LogEntry
	ready   bool
}

func (t *tail) last() string {
	if len(t.entries) == 0 {
		return t.since
	}
	return t.entries[len(t.entries)-1].Position
}

// NewLog returns a follower that has not started.
func NewLog(store Store, log zerolog.Logger) *Log {
	ctx, cancel := context.WithCancel(context.Background())
	return &Log{
		store: store, log: log,
		recent: make([]tail, store.Shards()), moved: make(chan struct{}),
		ctx: ctx, cancel: cancel,
	}
}

// Listen adds listeners. It must not be called once the log is followed.
func (l *Log) Listen(listeners ...Listener) { l.listeners = append(l.listeners, listeners...) }

// Start finds the log's end and follows it from there.
func (l *Log) Start(ctx context.Context) error {
	for shard := range l.recent {
		end, err := l.store.LastEvent(ctx, shard)
		if err != nil {
			return fmt.Errorf("end of the event log of shard %d: %w", shard, err)
		}
		l.recent[shard] = tail{since: end, ready: true}
	}
	for shard := range l.recent {
		l.loops.Go(func() { l.follow(shard) })
	}
	return nil
}

// Stop ends the following and wakes whoever waits. It can be called twice, and
// without Start.
func (l *Log) Stop() {
	l.cancel()
	l.loops.Wait()
}

// Done is closed when the follower is stopped.
func (l *Log) Done() <-chan struct{} { return l.ctx.Done() }

func (l *Log) follow(shard int) {
	wait := firstWait
	for l.ctx.Err() == nil {
		l.mu.Lock()
		after := l.recent[shard].last()
		l.mu.Unlock()
		for _, listener := range l.listeners {
			listener.Asks(shard)
		}
		entries, err := l.store.Events(l.ctx, shard, after, pageSize, blockFor)
		if err == nil && len(entries) > 0 {
			err = failpoint.Hit(failpoint.EventRead)
		}
		if err != nil {
			if l.ctx.Err() != nil {
				return
			}
			l.log.Warn().Err(err).Int("shard", shard).Stringer("again_in", wait).Msg("the event log cannot be read")
			l.pause(wait)
			wait = min(2*wait, maxWait)
			continue
		}
		wait = firstWait
		if len(entries) > 0 {
			l.keep(shard, entries) // before anyone hears of them: who hears reads
		}
		for _, entry := range entries {
			for _, listener := range l.listeners {
				listener.Observe(entry.Event)
			}
		}
		if len(entries) < pageSize {
			for _, listener := range l.listeners {
				listener.Heard(shard)
			}
		}
	}
}

func (l *Log) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.ctx.Done():
	}
}

func (l *Log) keep(shard int, entries []credential.LogEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &l.recent[shard]
	t.entries = append(t.entries, entries...)
	// Cut back only when twice as many are there: each entry is copied once.
	if over := len(t.entries) - recentMax; over > recentMax {
		t.since = t.entries[over-1].Position
		t.entries = slices.Clone(t.entries[over:])
	}
	close(l.moved)
	l.moved = make(chan struct{})
}

// ErrReset says that entries after the cursor are gone, or that it belongs to
// another log: the reader has to look at the present state for itself and go
// on from the cursor that comes with it.
var ErrReset = errors.New("events after this cursor are gone")

// Place checks a cursor against the log. A cursor from elsewhere, or one that
// the log was trimmed past, gives [ErrReset] and the place to go on from: the
// oldest entry that is left, in the shards that this concerns.
func (l *Log) Place(ctx context.Context, c Cursor) (Cursor, error) {
	if c.Epoch == "" {
		c = c.Clone()
		c.Epoch = l.store.Epoch()
		return c, nil
	}
	if c.Epoch != l.store.Epoch() {
		return startCursor(l.store.Epoch(), len(l.recent)), ErrReset
	}
	at, reset := c.Clone(), error(nil)
	for shard, last := range c.Last {
		if _, ok := l.fromMemory(shard, last, 0); ok {
			continue // all that follows is in memory, so nothing of it was trimmed
		}
		trimmed, err := l.store.TrimmedTo(ctx, shard)
		if err != nil {
			return Cursor{}, err
		}
		seen, err := parsePosition(last)
		if err != nil {
			return Cursor{}, err
		}
		gone, err := parsePosition(trimmed)
		if err != nil {
			return Cursor{}, err
		}
		if gone.after(seen) {
			at.Last[shard], reset = trimmed, ErrReset // the oldest that is left comes next
		}
	}
	return at, reset
}

// Epoch names the log among those that have the same numbers.
func (l *Log) Epoch() string { return l.store.Epoch() }

// Parse reads the text of a cursor over this log's shards.
func (l *Log) Parse(text string) (Cursor, error) { return ParseCursor(text, len(l.recent)) }

// End returns the cursor at the end of the log.
func (l *Log) End(ctx context.Context) (Cursor, error) {
	c := startCursor(l.store.Epoch(), len(l.recent))
	for shard := range c.Last {
		end, err := l.store.LastEvent(ctx, shard)
		if err != nil {
			return Cursor{}, err
		}
		c.Last[shard] = end
	}
	return c, nil
}

// Numbered is an entry with the shard it stands in.
type Numbered struct {
	Shard int
	credential.LogEntry
}

// Read returns up to about max entries after the cursor, in each shard's
// order, and the cursor behind them. None means that the end was reached.
func (l *Log) Read(ctx context.Context, c Cursor, most int) ([]Numbered, Cursor, error) {
	return l.read(ctx, c, most, l.readShard)
}

// ReadStored does what Read does, but from the store alone: what it does not
// find is not there, while this process's memory may lag behind the one that
// told of it.
func (l *Log) ReadStored(ctx context.Context, c Cursor) ([]Numbered, Cursor, error) {
	return l.read(ctx, c, pageSize, func(ctx context.Context, shard int, after string, most int) ([]credential.LogEntry, error) {
		return l.store.Events(ctx, shard, after, most, 0)
	})
}

func (l *Log) read(
	ctx context.Context, c Cursor, most int,
	readShard func(ctx context.Context, shard int, after string, most int) ([]credential.LogEntry, error),
) ([]Numbered, Cursor, error) {
	c = c.Clone()
	var found []Numbered
	for shard := range c.Last {
		entries, err := readShard(ctx, shard, c.Last[shard], most)
		if err != nil {
			return nil, Cursor{}, err
		}
		for _, entry := range entries {
			found = append(found, Numbered{Shard: shard, LogEntry: entry})
			c.Last[shard] = entry.Position
		}
	}
	return found, c, nil
}

// readShard reads one shard's log after a position, from memory if that
// reaches back far enough.
func (l *Log) readShard(ctx context.Context, shard int, after string, most int) ([]credential.LogEntry, error) {
	if entries, ok := l.fromMemory(shard, after, most); ok {
		return entries, nil
	}
	return l.store.Events(ctx, shard, after, min(most, pageSize), 0)
}

func (l *Log) fromMemory(shard int, after string, most int) ([]credential.LogEntry, bool) {
	at, err := parsePosition(after)
	if err != nil {
		return nil, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &l.recent[shard]
	since, err := parsePosition(t.since)
	if err != nil || !t.ready || since.after(at) {
		return nil, false
	}
	from, _ := slices.BinarySearchFunc(t.entries, at, func(e credential.LogEntry, at position) int {
		p, err := parsePosition(e.Position)
		if err == nil && p.after(at) {
			return 1
		}
		return -1
	})
	rest := t.entries[from:]
	return slices.Clone(rest[:min(len(rest), most)]), true
}

// Changed returns a channel that is closed when the next entry arrives. Take
// it before reading, so that nothing slips between.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.moved
}
