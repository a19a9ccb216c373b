package demo

import (
	"cmp"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/practice"
)

const (
	// keptEvents is how many of the last events are shown.
	keptEvents = 10
	// rateOver is the time over which rates are told.
	rateOver = 10 * time.Second
)

// row is what is known of one credential.
type row struct {
	ID      string
	State   credential.State
	Version uint64
	Expires time.Time // zero if there is none
	Last    credential.EventType
	At      time.Time // of the last event
}

// board is what the demo knows: the credentials, the last events and the
// counts. One goroutine has it.
type board struct {
	rows      map[string]*row
	events    []event                      // the last ones, newest at the end
	seen      map[credential.EventType]int // since the start
	refreshes []time.Time                  // within rateOver, oldest first
	provider  practice.Summary
	notice    string // what the demo itself did last
}

func newBoard() *board {
	return &board{rows: make(map[string]*row), seen: make(map[credential.EventType]int)}
}

// took takes in an event. One that is delivered a second time changes nothing,
// and took reports false.
func (b *board) took(e event) bool {
	if e.ID != "" {
		r := b.row(e.ID)
		if e.Version <= r.Version && r.Last != "" {
			return false
		}
		if e.Version >= r.Version {
			*r = row{ID: e.ID, State: e.State, Version: e.Version, Expires: e.Expires}
		}
		r.Last, r.At = e.Type, e.At
		if e.State == credential.StateDeleted || credential.ID(e.ID).IsClient() {
			delete(b.rows, e.ID)
		}
	}
	b.seen[e.Type]++
	b.events = append(b.events, e)
	if len(b.events) > keptEvents {
		b.events = slices.Delete(b.events, 0, len(b.events)-keptEvents)
	}
	if e.Type == credential.EventRefreshed || e.Type == credential.EventRecovered {
		b.refreshes = append(b.refreshes, e.At)
	}
	return true
}

// listed takes in a record of the list. What an event has told since is newer.
func (b *board) listed(r row) {
	known := b.row(r.ID)
	if r.Version > known.Version {
		known.State, known.Version, known.Expires = r.State, r.Version, r.Expires
	}
}

func (b *board) row(id string) *row {
	r, ok := b.rows[id]
	if !ok {
		r = &row{ID: id}
		b.rows[id] = r
	}
	return r
}

// refreshed is how many refreshes have brought a token since the start.
func (b *board) refreshed() int {
	return b.seen[credential.EventRefreshed] + b.seen[credential.EventRecovered]
}

// rate is the refreshes per second of the last rateOver.
func (b *board) rate(now time.Time) float64 {
	from := now.Add(-rateOver)
	first, _ := slices.BinarySearchFunc(b.refreshes, from, time.Time.Compare)
	b.refreshes = slices.Delete(b.refreshes, 0, first)
	return float64(len(b.refreshes)) / rateOver.Seconds()
}

// counts is how many credentials are in each state.
func (b *board) counts() map[credential.State]int {
	n := make(map[credential.State]int)
	for _, r := range b.rows {
		n[r.State]++
	}
	return n
}

// sorted is the rows by ID, those that are not active before the others: where
// not all fit on the screen, they are what one wants to see.
func (b *board) sorted() []row {
	rows := make([]row, 0, len(b.rows))
	for _, r := range b.rows {
		rows = append(rows, *r)
	}
	calm := func(r row) int {
		if r.State == credential.StateActive {
			return 1
		}
		return 0
	}
	slices.SortFunc(rows, func(x, y row) int {
		return cmp.Or(cmp.Compare(calm(x), calm(y)), cmp.Compare(x.ID, y.ID))
	})
	return rows
}
