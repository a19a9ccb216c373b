package scheduler

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// mostKnown is how many overdue credentials are read, those due longest first.
	// What becomes due while more wait is read in any case.
	mostKnown = 100_000
	// pageSize is how many are read of the index with one command, which takes Redis
	// less than a millisecond; the records of so many take it 5 to 8, in two scripts.
	pageSize = 1000
	// overlap is the part of a page that is read again with the next where all have
	// one score: some of those before them may have been claimed in between.
	overlap = 10
	// againPages is how many pages of a backlog that is known are read at a look.
	againPages = 4
	// stepTime is how long reading holds up the other providers of a shard.
	stepTime = 50 * time.Millisecond
	// againRecords is how many records of sessions are read again in one poll.
	againRecords = 3000
	// behind is by how much a score may have been in the past when it was written.
	behind = time.Second
)

// backlog is what is known of the overdue of one provider in one shard. While
// they are served, those that became due are read once a poll. All the others are
// read again and again, at a bounded pace, for whoever was put back has a place
// among them. That is the due index alone: records are read once, and again when
// the score has changed, or whoever was handed out is back. Those of sessions are
// read again at a bounded pace: what somebody does moves a session's clock, and not
// always its score.
type backlog struct {
	index    Index
	clock    Clock
	within   func(provider string) time.Duration // [Options.RecoverWithin]
	poll     time.Duration
	page     int // how many are read with one command
	shard    int
	provider string

	known  map[credential.ID]mark
	ahead  []credential.Overdue // in the order in which they are to be called
	found  map[credential.ID]credential.Overdue
	unread []credential.ID // those of found whose records were not read

	next     credential.Millis // no clock passes before; 0 if none will
	sessions []credential.ID   // whose records are to be read again
	renewed  time.Time         // when some of them were

	blind  bool // nothing is claimed before all has been read
	round  uint32
	whole  *passage          // under way; nil if none is
	recent *passage          // likewise
	newest credential.Millis // what was due until then is known, or being read
	began  time.Time         // of the last reading of the whole
	asked  time.Time         // when something was picked last
	others time.Duration     // for how long the lists of a shard, one after the other, keep each waiting
}

// mark is what tells whether an entry has changed.
type mark struct {
	due   credential.Millis
	round uint32 // of the last reading of the whole that met it
}

// passage is a way through scores, page by page.
type passage struct {
	from, till credential.Millis
	skip       int // of those with the score from
	left       int
	met        credential.Millis // once it is over: whoever is overdue since then was met
}

// forget is for when nothing is overdue.
func (b *backlog) forget() {
	b.known, b.ahead, b.found, b.unread, b.whole, b.recent = nil, nil, nil, nil, nil, nil
	b.next, b.sessions = 0, nil
}

// again has all that is overdue read anew: it may be other than it was.
func (b *backlog) again() { b.blind, b.whole = true, nil }

// pick returns up to n overdue IDs, those first that are to be called first, and
// whether there are more. It answers none while it has to read on.
func (b *backlog) pick(ctx context.Context, n int) (ids []credential.ID, more bool, err error) {
	if len(b.ahead) == 0 {
		b.blind = true
	}
	if err := b.read(ctx, n); err != nil || b.blind {
		return nil, b.blind, err
	}
	n = min(n, len(b.ahead))
	ids = make([]credential.ID, n)
	for i, o := range b.ahead[:n] {
		ids[i] = o.ID
		delete(b.known, o.ID)
	}
	b.ahead = b.ahead[n:]
	return ids, len(b.ahead) > 0, nil
}

// follow brings what is known up to date while nobody is picked.
func (b *backlog) follow(ctx context.Context) error {
	if b.known == nil {
		b.blind = true
	}
	return b.read(ctx, 0)
}

// passed returns up to n overdue IDs whose own clocks have passed, the first first.
// As those that are picked they are known no more: when they are back, their records
// are read again.
func (b *backlog) passed(now credential.Millis, n int) []credential.ID {
	if n <= 0 || b.next == 0 || b.next > now {
		return nil
	}
	var list []credential.Overdue
	b.next = 0
	note := func(o credential.Overdue) {
		if o.Clock != 0 && o.Clock <= now {
			list = append(list, o)
		} else {
			b.coming(o.Clock)
		}
	}
	for _, o := range b.found {
		note(o)
	}
	for _, o := range b.ahead {
		_, anew := b.found[o.ID]
		if _, ok := b.known[o.ID]; ok && !anew {
			note(o)
		}
	}
	slices.SortFunc(list, func(x, y credential.Overdue) int {
		return cmp.Or(cmp.Compare(x.Clock, y.Clock), cmp.Compare(x.ID, y.ID))
	})
	if len(list) > n {
		b.coming(list[n].Clock)
		list = list[:n]
	}
	ids := make([]credential.ID, len(list))
	for i, o := range list {
		ids[i] = o.ID
		delete(b.known, o.ID)
		delete(b.found, o.ID)
	}
	b.ahead = slices.DeleteFunc(b.ahead, func(o credential.Overdue) bool {
		_, ok := b.known[o.ID]
		return !ok
	})
	return ids
}

// coming notes a moment at which a clock passes, 0 if none does.
func (b *backlog) coming(clock credential.Millis) {
	if clock != 0 && (b.next == 0 || clock < b.next) {
		b.next = clock
	}
}

// read brings what is known up to date. n is how many are wanted: if there are
// no more, their order does not matter, and no record is read.
func (b *backlog) read(ctx context.Context, n int) error {
	now := time.Now()
	if now.Sub(b.asked) > 2*b.poll+b.others && !b.blind {
		b.again() // much may have been put back since
	}
	defer func() { b.asked = time.Now() }()
	if b.whole == nil && (b.blind || now.Sub(b.began) >= b.poll) {
		b.start(now)
	}
	b.renew(now)
	whole, err := b.readWhole(ctx, n)
	if err != nil || b.blind && !whole {
		return err
	}
	recent := false
	if b.clock.Now().Sub(b.newest) >= b.poll {
		if recent, err = b.readRecent(ctx, n); err != nil {
			return err
		}
	}
	if !whole && (!recent || len(b.found) == 0) {
		return nil // in the order in which it was put a moment ago
	}
	return b.order(ctx, n)
}

// start begins a reading of the whole.
func (b *backlog) start(now time.Time) {
	if b.known == nil {
		b.known, b.found = map[credential.ID]mark{}, map[credential.ID]credential.Overdue{}
	}
	b.round++
	b.began = now
	b.whole = &passage{till: b.clock.Now(), left: mostKnown}
	if b.blind {
		b.recent, b.newest = nil, b.whole.till
	}
}

// renew has the records of some sessions read again, all of them in turn.
func (b *backlog) renew(now time.Time) {
	if b.blind || now.Sub(b.renewed) < b.poll {
		return
	}
	b.renewed = now
	if len(b.sessions) == 0 {
		b.sessions = nil
		for _, o := range b.ahead {
			if o.Session {
				b.sessions = append(b.sessions, o.ID)
			}
		}
	}
	some := b.sessions[:min(againRecords, len(b.sessions))]
	b.sessions = b.sessions[len(some):]
	for _, id := range some {
		m, ok := b.known[id]
		if _, anew := b.found[id]; ok && !anew {
			b.found[id] = credential.Overdue{ID: id, Due: m.due}
			b.unread = append(b.unread, id)
		}
	}
}

// readWhole goes on with the reading of the whole and reports whether it came
// to its end.
func (b *backlog) readWhole(ctx context.Context, n int) (bool, error) {
	if b.whole == nil {
		return false, nil
	}
	pages := againPages
	if b.blind {
		pages = mostKnown
	}
	over, err := b.pages(ctx, b.whole, pages, n)
	if err != nil || !over {
		return false, err
	}
	// Whoever was not met where it was is not overdue any more.
	for id, m := range b.known {
		if m.round != b.round && m.due <= b.whole.met {
			delete(b.known, id)
			delete(b.found, id)
		}
	}
	b.newest = max(b.newest, b.whole.met)
	b.whole, b.blind = nil, false
	return true, nil
}

// readRecent reads what became due since that was read last.
func (b *backlog) readRecent(ctx context.Context, n int) (bool, error) {
	if b.recent == nil {
		b.recent = &passage{from: b.newest.Add(-behind), till: b.clock.Now(), left: mostKnown}
	}
	over, err := b.pages(ctx, b.recent, mostKnown, n)
	if over {
		b.newest, b.recent = b.recent.till, nil
	}
	return over, err
}

// pages reads up to so many pages, no longer than a step lasts, and reports
// whether that was the last one.
func (b *backlog) pages(ctx context.Context, r *passage, most, n int) (over bool, err error) {
	started := time.Now()
	for range most {
		list, err := b.index.Overdue(ctx, b.shard, b.provider, r.from, r.till, r.skip, b.page)
		if err != nil {
			return false, err
		}
		for _, o := range list {
			m, ok := b.known[o.ID]
			if !ok || m.due != o.Due {
				b.found[o.ID] = o
				b.unread = append(b.unread, o.ID)
			}
			b.known[o.ID] = mark{o.Due, b.round}
		}
		if r.left -= len(list); len(list) < b.page {
			r.met = r.till
			return true, nil
		}
		r.pass(list)
		if len(b.known) > n {
			if err := b.readRecords(ctx); err != nil {
				return false, err
			}
		}
		if r.left <= 0 {
			r.met = r.from - 1
			return true, nil
		}
		if time.Since(started) >= stepTime {
			break
		}
	}
	return false, nil
}

// pass moves behind a page. Any number may have the same score.
func (r *passage) pass(page []credential.Overdue) {
	last := page[len(page)-1].Due
	if last != r.from {
		r.from, r.skip = last, 0
	}
	for i := len(page) - 1; i >= 0 && page[i].Due == last; i-- {
		r.skip++
	}
	r.skip = max(r.skip-len(page)/overlap, 0)
}

// readRecords reads what the order depends on.
func (b *backlog) readRecords(ctx context.Context) error {
	list := make([]credential.Overdue, 0, len(b.unread))
	for _, id := range b.unread {
		if o, ok := b.found[id]; ok {
			list = append(list, o)
		}
	}
	if err := b.index.Expiries(ctx, b.shard, list); err != nil {
		return err
	}
	for _, o := range list {
		b.found[o.ID] = o
		b.coming(o.Clock)
	}
	b.unread = b.unread[:0]
	return nil
}

// order puts all that is known into the order in which it is to be called.
func (b *backlog) order(ctx context.Context, n int) error {
	if len(b.known) > n {
		if err := b.readRecords(ctx); err != nil {
			return err
		}
	}
	list := b.ahead[:0]
	for _, o := range b.ahead {
		_, anew := b.found[o.ID]
		if _, ok := b.known[o.ID]; ok && !anew {
			list = append(list, o)
		}
	}
	for _, o := range b.found {
		list = append(list, o)
	}
	b.found, b.unread = map[credential.ID]credential.Overdue{}, nil
	credential.OrderOverdue(list, b.within(b.provider), b.clock.Now())
	if len(list) > 2*mostKnown {
		for _, o := range list[2*mostKnown:] {
			delete(b.known, o.ID)
		}
		list = list[:2*mostKnown]
	}
	b.ahead = list
	return nil
}
