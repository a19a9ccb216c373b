package scheduler

import (
	"context"
	"fmt"
	"sort"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/tasks"
)

// slowIndex has lists in their order, of which each command takes a while. What is
// claimed is gone.
type slowIndex struct {
	*fakeIndex

	lists map[string][]credential.Overdue
	gone  map[credential.ID]bool
	page  time.Duration
}

func (s *slowIndex) NextDue(_ context.Context, _ int, provider string) (credential.Millis, bool, error) {
	return s.lists[provider][0].Due, true, nil
}

func (s *slowIndex) Overdue(_ context.Context, _ int, provider string, from, till credential.Millis, skip, most int) (page []credential.Overdue, _ error) {
	<-time.After(s.page)
	list := s.lists[provider]
	for _, o := range list[sort.Search(len(list), func(i int) bool { return list[i].Due >= from }):] {
		switch {
		case o.Due > till || len(page) == most:
			return page, nil
		case s.gone[o.ID]:
		case skip > 0:
			skip--
		default:
			page = append(page, o)
		}
	}
	return page, nil
}

func (s *slowIndex) Expiries(_ context.Context, _ int, list []credential.Overdue) error {
	<-time.After(s.page * time.Duration(1+len(list)/500))
	for i := range list {
		list[i].ExpiresAt = list[i].Due.Add(24 * time.Hour)
	}
	return nil
}

func (s *slowIndex) Claim(_ context.Context, _ int, _ string, ids []credential.ID, _ credential.Nonce, _ time.Duration) ([]credential.ID, error) {
	for _, id := range ids {
		s.gone[id] = true
	}
	return ids, nil
}

func (s *slowIndex) Release(context.Context, string, []credential.ID, credential.Millis) error {
	return nil
}

// Where so many providers have a backlog that going through all of them takes
// seconds, each is still served at each look: it was kept waiting by the others, and
// is not looked at anew from the start.
func TestManyBacklogsOfAShardAreServedSideBySide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const providers, each = 50, 5000
		var all []string
		for i := range providers {
			all = append(all, fmt.Sprintf("p%02d", i))
		}
		b := newBench(t, func(_ string, window time.Duration) (int, error) { return int(50 * window.Seconds()), nil }, all...)
		s := &slowIndex{fakeIndex: b.index, lists: map[string][]credential.Overdue{}, gone: map[credential.ID]bool{}, page: 20 * time.Millisecond}
		for _, provider := range all {
			for i := range each {
				s.lists[provider] = append(s.lists[provider], credential.Overdue{
					ID: credential.ID(fmt.Sprintf("%s-%06d", provider, i)), Due: b.clock.Now().Add(-time.Hour + time.Duration(i)*time.Millisecond),
				})
			}
		}
		b.d.index = s
		stop := run(t, b.loop)
		elapse(40 * time.Second) // until all has been read once
		before := len(b.queue.sent())
		elapse(30 * time.Second)
		stop()
		t.Logf("%d batches in 30 s", len(b.queue.sent())-before)
		assert.GreaterOrEqual(t, len(b.queue.sent())-before, 4*providers)
	})
}

// After a moment in which nobody looked, whoever was put back meanwhile has its
// place before anybody is claimed.
func TestAfterAStandstillAllIsReadBeforeAnybodyIsClaimed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const many = 8000 // more than is read at a look while those that are known are served
		stall := time.Duration(0)
		b := newBench(t, func(provider string, _ time.Duration) (int, error) {
			if provider == "b" {
				<-time.After(stall)
				return 0, nil
			}
			return 1, nil
		}, "a", "b")
		now := b.clock.Now()
		var last credential.ID
		for i := range many {
			last = credential.ID(fmt.Sprintf("c-%06d", i))
			b.index.add("a", now.Add(-time.Hour+time.Duration(i)*time.Millisecond), last)
		}
		b.index.add("b", now, "other")
		l := &shardLoop{d: b.d, queue: tasks.RefreshQueue(0), log: b.d.log}
		for len(b.queue.ids("a")) < 3 {
			<-time.After(l.pass(t.Context()))
		}
		stall = 10 * time.Second
		l.turn = 0 // "a" goes first
		l.lists[1].lookAt = time.Now()
		l.pass(t.Context())
		stall = 0
		require.NotContains(t, b.queue.ids("a"), last)
		b.index.add("a", now.Add(-time.Minute), "back")
		b.index.expires = map[credential.ID]credential.Millis{"back": b.clock.Now().Add(time.Minute)}
		sent := len(b.queue.ids("a"))
		for len(b.queue.ids("a")) == sent {
			<-time.After(l.pass(t.Context()))
		}
		assert.Equal(t, credential.ID("back"), b.queue.ids("a")[sent])
	})
}
