package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// fresh is how old what a pick goes by may be.
	fresh = 2 * time.Second
	grace = 3 * time.Second
)

// estate is a due index that changes in every way that it can, and a backlog that
// looks at it.
type estate struct {
	*fakeIndex

	backlog *backlog
	changed map[credential.ID]credential.Millis // since when an entry is as it is
	count   int
}

func newEstate(page int) *estate {
	clock := &fakeClock{}
	index := newFakeIndex(clock)
	index.scores["acme"] = map[credential.ID]credential.Millis{}
	index.expires, index.sent = map[credential.ID]credential.Millis{}, map[credential.ID]credential.Millis{}
	return &estate{
		fakeIndex: index, changed: map[credential.ID]credential.Millis{},
		backlog: &backlog{
			index: index, clock: clock, within: func(string) time.Duration { return grace }, poll: time.Second, page: page, provider: "acme",
		},
	}
}

// put has an entry due at a moment, with a token that ends at another.
func (e *estate) put(id credential.ID, due, ends, sent credential.Millis) {
	e.add("acme", due, id)
	e.expires[id], e.sent[id] = ends, sent
	e.changed[id] = max(due, e.clock.Now())
}

func (e *estate) arrive(n int, due, ends credential.Millis) (ids []credential.ID) {
	for range n {
		e.count++
		id := credential.ID(fmt.Sprintf("c-%06d", e.count))
		e.put(id, due, ends, 0)
		ids = append(ids, id)
	}
	return ids
}

// overdue lists what is, as it is.
func (e *estate) overdue() []credential.Overdue {
	var list []credential.Overdue
	for id, due := range e.scores["acme"] {
		if due <= e.clock.Now() {
			list = append(list, credential.Overdue{ID: id, Due: due, ExpiresAt: e.expires[id], FirstSent: e.sent[id]})
		}
	}
	slices.SortFunc(list, func(a, b credential.Overdue) int { return cmp.Or(cmp.Compare(a.Due, b.Due), cmp.Compare(a.ID, b.ID)) })
	return list
}

// claim picks n and takes out those that are overdue.
func (e *estate) claim(t require.TestingT, n int) (claimed []credential.Overdue, more bool) {
	ids, more, err := e.backlog.pick(context.Background(), n)
	require.NoError(t, err)
	require.LessOrEqual(t, len(ids), n)
	for _, o := range e.overdue() {
		if slices.Contains(ids, o.ID) {
			claimed = append(claimed, o)
			e.done(o.ID)
		}
	}
	slices.Sort(ids)
	require.Len(t, slices.Compact(slices.Clone(ids)), len(ids), "nobody is picked twice")
	return claimed, more
}

// requireBest checks that nobody was left behind who was to be called before one
// that was claimed, at any moment that the pick may have gone by.
func (e *estate) requireBest(t require.TestingT, claimed []credential.Overdue) {
	now := e.clock.Now()
	settled := func(o credential.Overdue) bool { return now.Sub(e.changed[o.ID]) >= fresh }
	for _, left := range e.overdue() {
		for _, got := range claimed {
			if settled(left) && settled(got) {
				require.False(t, before(left, got, now), "at %d %+v was claimed and %+v was not", now, got, left)
			}
		}
	}
}

func before(a, b credential.Overdue, now credential.Millis) bool {
	a.Due, b.Due, a.ID, b.ID = 1, 0, "a", "b" // what is alike has no order here
	for at := now.Add(-fresh); at <= now; at = at.Add(50 * time.Millisecond) {
		pair := []credential.Overdue{a, b}
		credential.OrderOverdue(pair, grace, at)
		if pair[0].ID != "a" {
			return false
		}
	}
	return true
}

func TestWhateverArrivesTheBestAreClaimed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// A bubble does not let a deadline be asked for.
		rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) {
			e := newEstate(rapid.IntRange(20, 60).Draw(t, "page"))
			span := func(name string, from, to int) time.Duration {
				return time.Duration(rapid.IntRange(from, to).Draw(t, name)) * 100 * time.Millisecond
			}
			backlogged := rapid.IntRange(0, 200).Draw(t, "at first")
			for range backlogged {
				e.arrive(1, e.clock.Now().Add(-span("overdue for", 0, 3)), e.clock.Now().Add(span("ends in", -100, 300)))
			}
			var taken []credential.Overdue // by the other replica
			for range rapid.IntRange(1, 40).Draw(t, "looks") {
				<-time.After(time.Duration(rapid.IntRange(1, 120).Draw(t, "ms")) * time.Millisecond)
				now := e.clock.Now()
				switch rapid.IntRange(0, 6).Draw(t, "what") {
				case 0:
					e.arrive(rapid.IntRange(1, 30).Draw(t, "n"), now, now.Add(span("ends in", -10, 100)))
				case 1: // the other one claims
					for _, o := range e.overdue() {
						if len(taken) < 20 && rapid.Bool().Draw(t, "takes") {
							taken = append(taken, o)
							e.put(o.ID, now.Add(claimLasts), o.ExpiresAt, o.FirstSent)
						}
					}
				case 2: // and puts back
					for _, o := range taken {
						e.put(o.ID, o.Due, o.ExpiresAt, o.FirstSent)
					}
					taken = nil
				case 3: // or leaves them in doubt
					for _, o := range taken {
						e.put(o.ID, now-1, o.ExpiresAt, now-1)
					}
					taken = nil
				case 4: // or is done with them
					for _, o := range taken {
						e.done(o.ID)
					}
					taken = nil
				case 5: // somebody is back, and gone again
					if list := e.overdue(); len(list) > 0 {
						o := rapid.SampledFrom(list).Draw(t, "touched")
						e.put(o.ID, now.Add(span("due in", 0, 20)), now.Add(span("ends in", 0, 100)), 0)
					}
				case 6:
					e.backlog.again()
				}
				claimed, _ := e.claim(t, rapid.IntRange(1, 4).Draw(t, "want"))
				e.requireBest(t, claimed)
			}
			<-time.After(claimLasts)
			for range 40 {
				<-time.After(100 * time.Millisecond)
				claimed, _ := e.claim(t, 40)
				e.requireBest(t, claimed)
			}
			require.Empty(t, e.overdue(), "nobody is forgotten")
		})
	})
}

func TestWhatWasPutBackIsFoundAmongThoseDueLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(100)
		start := e.clock.Now()
		e.arrive(1000, start.Add(-time.Hour), start.Add(time.Hour))
		back := e.arrive(1, start.Add(-30*time.Minute), start.Add(time.Minute))[0]
		e.arrive(1000, start.Add(-time.Minute), start.Add(time.Hour))
		claimed, more := e.claim(t, 1)
		require.Equal(t, back, claimed[0].ID)
		require.True(t, more)
		e.put(back, start.Add(-30*time.Minute), start.Add(time.Minute), 0)
		looks := 0
		for ; claimed[0].ID != back || looks == 0; looks++ {
			<-time.After(100 * time.Millisecond)
			claimed, _ = e.claim(t, 1)
		}
		assert.LessOrEqual(t, looks, 20)
		assert.Equal(t, 2002, e.records, "each record was read once, and again the one that came back")
	})
}

// Where reading all takes long, what became due is read apart from that.
func TestWhatBecameDueIsFoundBeforeAllIsReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(10)
		start := e.clock.Now()
		e.arrive(800, start.Add(-time.Hour), start.Add(time.Hour))
		e.claim(t, 1)
		for range 3 {
			e.pages = 0
			urgent := e.arrive(20, e.clock.Now(), start.Add(time.Minute))
			for range 12 {
				<-time.After(100 * time.Millisecond)
				claimed, _ := e.claim(t, 1)
				require.Len(t, claimed, 1)
				if slices.Contains(urgent, claimed[0].ID) {
					urgent = nil
					break
				}
			}
			assert.Empty(t, urgent, "found within a poll and a look")
			assert.LessOrEqual(t, e.pages, 12*againPages+2*4)
			for range 19 { // the rest of them
				e.claim(t, 1)
			}
		}
	})
}

func TestWhatOthersTookIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(100)
		now := e.clock.Now()
		gone := e.arrive(900, now.Add(-time.Hour), now.Add(time.Minute))
		e.arrive(100, now.Add(-time.Hour), now.Add(time.Hour))
		e.claim(t, 1)
		e.done(gone...)
		for range 15 {
			<-time.After(100 * time.Millisecond)
			_, _, err := e.backlog.pick(t.Context(), 1)
			require.NoError(t, err)
		}
		claimed, _ := e.claim(t, 10)
		assert.Len(t, claimed, 10)
		assert.LessOrEqual(t, len(e.backlog.known), 100)
	})
}

// A burst has one due time; pages end in its midst.
func TestAnyNumberMayBeDueAtTheSameMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(50)
		now := e.clock.Now()
		var wanted []credential.ID
		for i := range 500 {
			wanted = append(wanted, e.arrive(1, now, now.Add(time.Duration(1000-i)*time.Second))...)
		}
		slices.Reverse(wanted)
		var got []credential.ID
		for range 50 {
			claimed, _ := e.claim(t, 10)
			require.Len(t, claimed, 10)
			for _, o := range claimed {
				got = append(got, o.ID)
			}
			<-time.After(100 * time.Millisecond)
		}
		slices.Sort(got)
		slices.Sort(wanted)
		assert.Equal(t, wanted, got)
		assert.Equal(t, 500, e.records)
	})
}

func TestWhereAllAreTakenNoRecordIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(50)
		for range 100 {
			e.arrive(120, e.clock.Now(), 0)
			claimed, more := e.claim(t, 120)
			require.Len(t, claimed, 120)
			require.False(t, more)
			<-time.After(100 * time.Millisecond)
		}
		assert.Zero(t, e.records)
		assert.Empty(t, e.backlog.known)
		assert.Empty(t, e.backlog.unread)
	})
}

func TestABacklogThatWasNotLookedAtForLongIsReadAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(50)
		now := e.clock.Now()
		e.arrive(1000, now.Add(-time.Hour), now.Add(time.Hour))
		e.claim(t, 1)
		urgent := e.arrive(1, now.Add(-time.Hour), now.Add(time.Minute))[0]
		<-time.After(3 * time.Second)
		claimed, _ := e.claim(t, 1)
		assert.Equal(t, urgent, claimed[0].ID)
		assert.Equal(t, 1001, e.records)
	})
}

func TestABacklogSurvivesAnIndexThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(50)
		now := e.clock.Now()
		e.arrive(1000, now.Add(-time.Hour), now.Add(time.Hour))
		e.fail["acme"] = errAway
		_, _, err := e.backlog.pick(t.Context(), 1)
		require.ErrorIs(t, err, errAway)
		delete(e.fail, "acme")
		urgent := e.arrive(1, now, now.Add(time.Minute))[0]
		<-time.After(time.Second)
		claimed, _ := e.claim(t, 1)
		assert.Equal(t, urgent, claimed[0].ID)
	})
}
