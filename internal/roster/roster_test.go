package roster

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore is a store with what it was given.
type fakeStore struct {
	roster credential.Roster
	open   map[string][]credential.ID
	doubts map[credential.ID]bool
	err    error
	looks  atomic.Int64
}

func (s *fakeStore) Run(context.Context) (string, error) { return "run-2", s.err }

func (s *fakeStore) Roster(context.Context) (credential.Roster, error) {
	s.looks.Add(1)
	return s.roster, s.err
}

func (s *fakeStore) OpenOwners(context.Context) (map[string][]credential.ID, error) {
	return s.open, s.err
}

func (s *fakeStore) Records(_ context.Context, ids ...credential.ID) ([]*credential.Held, error) {
	list := make([]*credential.Held, len(ids))
	for i, id := range ids {
		list[i] = &credential.Held{Attempt: &credential.Attempt{Doubt: s.doubts[id]}}
	}
	return list, s.err
}

// folder is one whose journals are locked, or not.
type folder map[string]bool

func (folder) Place() string { return "here" }

func (f folder) Look(owner string) (there, locked bool, err error) {
	locked, there = f[owner]
	return there, locked, nil
}

// Of this machine is whoever has, or had, his journal in the folder of the one that
// looks; a lock tells the stopped from the dead.
func TestWhoIsOfThisMachine(t *testing.T) {
	t.Parallel()
	store := &fakeStore{
		roster: credential.Roster{Members: map[string]credential.Member{"me": {Place: "here"}, "stopped": {Place: "here"}, "left": {Place: "here"}, "far": {Place: "there"}}},
		open:   map[string][]credential.ID{"dead": {"alice"}, "lost": {"bob"}},
	}
	w := Watch{
		Store: store, Self: "me", Beats: NewHeartbeats(time.Second), Boot: func() time.Duration { return 0 },
		Folder: folder{"me": true, "stopped": true, "dead": false},
	}
	p, err := w.Picture(t.Context())
	require.NoError(t, err)
	told := map[string][2]bool{}
	for _, one := range p.Processes {
		told[one.Owner] = [2]bool{one.Here, one.Locked}
	}
	assert.Equal(t, map[string][2]bool{
		"me": {true, true}, "stopped": {true, true}, "left": {true, false}, "dead": {true, false}, "far": {}, "lost": {},
	}, told)
}

// members have these heartbeats, and are ready for run-2.
func members(beats map[string]uint64) credential.Roster {
	r := credential.Roster{Settled: "run-2", Members: map[string]credential.Member{}}
	for owner, beat := range beats {
		r.Members[owner] = credential.Member{Beat: beat, Place: "p", Ready: "run-2"}
	}
	return r
}

// A process that is stopped is not ready, and it is told for how long its
// heartbeat stands still.
func TestAHeartbeatThatStandsStill(t *testing.T) {
	t.Parallel()
	now := time.Hour
	store := &fakeStore{}
	w := Watch{Store: store, Self: "me", Beats: NewHeartbeats(5 * time.Second), Boot: func() time.Duration { return now }, Folder: folder{}}
	for i := range uint64(8) { // the last look is 7 s after the first
		now = time.Hour + time.Duration(i)*time.Second
		store.roster = members(map[string]uint64{"me": i, "stopped": min(i, 1), "slow": i / 3})
		require.NoError(t, w.Look(t.Context()))
		p, err := w.Picture(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"me", "slow", "stopped"}, []string{p.Processes[0].Owner, p.Processes[1].Owner, p.Processes[2].Owner})
		assert.True(t, p.Processes[0].Ready && p.Processes[1].Ready)
		assert.Zero(t, p.Processes[0].Silent)
		silent := max(0, time.Duration(i)*time.Second-time.Second)
		assert.Equal(t, silent, p.Processes[2].Silent, "at %d s", i)
		assert.Equal(t, silent >= 5*time.Second, p.Processes[2].Still)
		assert.Equal(t, silent < 5*time.Second, p.Processes[2].Ready)
	}

	// It goes on.
	now += time.Second
	store.roster = members(map[string]uint64{"stopped": 2})
	p, err := w.Picture(t.Context())
	require.NoError(t, err)
	assert.Equal(t, Process{Owner: "stopped", Listed: true, Journal: true, Ready: true}, p.Processes[0])
}

// While Redis was away nobody's heartbeat could be seen.
func TestALateLookSaysNothing(t *testing.T) {
	t.Parallel()
	h := NewHeartbeats(5 * time.Second)
	r := members(map[string]uint64{"b": 1})
	h.Look(r, time.Hour)
	h.Look(r, time.Hour+4*time.Second)
	silent, still := h.silent("b")
	assert.Equal(t, 4*time.Second, silent)
	assert.False(t, still)
	h.Look(r, time.Hour+10*time.Second)
	silent, still = h.silent("b")
	assert.Zero(t, silent)
	assert.False(t, still)
	_, still = h.silent("nobody")
	assert.False(t, still)
}

func TestPicture(t *testing.T) {
	t.Parallel()
	store := &fakeStore{
		roster: credential.Roster{Settled: "run-1", Members: map[string]credential.Member{
			"b": {Beat: 1, Place: "p", Ready: "run-2"}, "a": {Beat: 1, Ready: "run-1"}, "me": {Beat: 1, Place: "p", Ready: "run-2"},
		}},
		open:   map[string][]credential.ID{"b": {"x", "y"}, "dead": {"z"}, "half": {"v", "w"}},
		doubts: map[credential.ID]bool{"z": true, "w": true},
	}
	w := Watch{Store: store, Self: "me", Beats: NewHeartbeats(time.Second), Boot: func() time.Duration { return time.Hour }, Folder: folder{}}
	p, err := w.Picture(t.Context())
	require.NoError(t, err)
	assert.Equal(t, Picture{
		Open: 5, InDoubt: 2,
		Processes: []Process{
			{Owner: "me", Self: true, Listed: true, Journal: true, Ready: true},
			{Owner: "a", Listed: true},
			{Owner: "b", Listed: true, Journal: true, Ready: true, Open: 2},
			{Owner: "dead", Open: 1, InDoubt: 1},
			{Owner: "half", Open: 2, InDoubt: 1},
		},
	}, p)

	store.err = errors.New("away")
	_, err = w.Picture(t.Context())
	require.ErrorIs(t, err, store.err)
}

func TestKeepLooksEverySecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{err: errors.New("away")}
		w := Watch{Store: store, Beats: NewHeartbeats(time.Second), Boot: func() time.Duration { return 0 }, Folder: folder{}}
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		w.Keep(ctx)
		assert.EqualValues(t, 3, store.looks.Load())
	})
}
