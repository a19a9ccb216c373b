package worker

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/tasks"
)

var errAway = errors.New("redis is away")

type wallClock struct{}

func (wallClock) Now() credential.Millis { return credential.At(time.Now()) }

// fakeWalker has its credentials in pages, and an index of their scores.
type fakeWalker struct {
	mu      sync.Mutex
	pages   [][]credential.Held
	scores  map[credential.ID]credential.Millis
	visited []int
	slow    time.Duration // each page takes that long
	err     error         // of the next Walks
	damaged []error       // records of every page that cannot be read
}

// recordsError is what the store answers where single records cannot be read.
type recordsError struct{ errs []error }

func (e *recordsError) Error() string   { return "some records cannot be read" }
func (e *recordsError) At(i int) error  { return e.errs[i] }
func (e *recordsError) Unwrap() []error { return e.errs }

func (w *fakeWalker) Walk(ctx context.Context, _, cursor string, _ int) ([]credential.Held, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, "", w.err
	}
	page := 0
	if cursor != "" {
		var err error
		if page, err = strconv.Atoi(cursor); err != nil {
			return nil, "", err
		}
	}
	select {
	case <-time.After(w.slow):
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
	w.visited = append(w.visited, page)
	next := ""
	if page+1 < len(w.pages) {
		next = strconv.Itoa(page + 1)
	}
	if w.damaged != nil {
		return w.pages[page], next, &recordsError{w.damaged}
	}
	return w.pages[page], next, nil
}

func (w *fakeWalker) Suspects(_ context.Context, _ string, list []credential.Held, due []credential.Millis, _ credential.Millis) ([]bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	suspects := make([]bool, len(list))
	for i, h := range list {
		suspects[i] = w.scores[h.Record.ID] != due[i]
	}
	return suspects, nil
}

func (w *fakeWalker) Heal(_ context.Context, h credential.Held, due credential.Millis) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.scores[h.Record.ID] == due {
		return false, nil
	}
	w.scores[h.Record.ID] = due
	return true, nil
}

func (w *fakeWalker) set(change func(*fakeWalker)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

func (w *fakeWalker) pagesVisited() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.visited)
}

// fakeSlots is one provider's slot, with the store's rules.
type fakeSlots struct {
	mu      sync.Mutex
	running int64
	done    int64
	owner   string
	until   time.Time
	kept    Progress
	outcome string
	saves   int
	err     error
}

func (f *fakeSlots) StartSlot(_ context.Context, _ string, slot int64, owner string, lease time.Duration) (Progress, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil:
		return Progress{}, false, f.err
	case slot <= f.done, f.running > slot, f.running != 0 && time.Now().Before(f.until) && f.owner != owner:
		return f.kept, false, nil
	case f.running != slot:
		f.kept = Progress{}
	}
	f.running, f.owner, f.until = slot, owner, time.Now().Add(lease)
	return Progress{Cursor: f.kept.Cursor, Counts: maps.Clone(f.kept.Counts)}, true, nil
}

func (f *fakeSlots) SaveSlot(_ context.Context, _ string, slot int64, owner string, progress Progress, lease time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil:
		return f.err
	case f.running != slot || f.owner != owner:
		return ErrSlotLost
	}
	f.kept, f.until = progress, time.Now().Add(lease)
	f.saves++
	return nil
}

func (f *fakeSlots) FinishSlot(_ context.Context, _ string, slot int64, owner string, counts map[string]int64, outcome string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil:
		return f.err
	case f.running != slot || f.owner != owner:
		return ErrSlotLost
	}
	f.running, f.done, f.outcome = 0, slot, outcome
	f.kept = Progress{Counts: counts}
	return nil
}

func (f *fakeSlots) set(change func(*fakeSlots)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// fakeVerifier refuses what it was told to.
type fakeVerifier struct {
	mu     sync.Mutex
	asked  []credential.ID
	chunks int
	bad    map[credential.ID]bool
	err    error
	idle   bool // there is nothing to ask
}

func (v *fakeVerifier) Verify(_ context.Context, _ string, ids []credential.ID) (asked, refused int, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil || v.idle {
		return 0, 0, v.err
	}
	v.chunks++
	for _, id := range ids {
		v.asked = append(v.asked, id)
		if v.bad[id] {
			refused++
		}
	}
	return len(ids), refused, nil
}

// fakeTuner counts what it was shown.
type fakeTuner struct {
	seen  atomic.Int64
	tunes int          // of each page
	away  atomic.Int64 // so many calls do not reach the store
}

func (f *fakeTuner) Tune(_ context.Context, provider string, list []credential.Held) (int, error) {
	if f.away.Add(-1) >= 0 {
		return 0, errAway
	}
	f.seen.Add(int64(len(list)))
	return f.tunes, nil
}

// sweepBench is a pool without servers.
type sweepBench struct {
	tuner  *fakeTuner
	pool   *Pool
	verify *fakeVerifier
	walker *fakeWalker
	slots  *fakeSlots
}

func newSweepBench(t *testing.T, pages ...[]credential.Held) *sweepBench {
	t.Helper()
	b := &sweepBench{tuner: &fakeTuner{}, verify: &fakeVerifier{idle: true}, walker: &fakeWalker{pages: pages, scores: map[credential.ID]credential.Millis{}}, slots: &fakeSlots{}}
	stopping, cancel := context.WithCancelCause(t.Context())
	b.pool = &Pool{
		walker: b.walker, verifier: b.verify, tuner: b.tuner, slots: b.slots, clock: wallClock{}, owner: "owner", log: zerolog.New(io.Discard),
		metrics: newMetrics(prometheus.NewRegistry()), stopping: stopping, cancel: cancel,
	}
	return b
}

// sweep runs a task that may take allowed.
func (b *sweepBench) sweep(t *testing.T, s tasks.Sweep, allowed time.Duration) error {
	t.Helper()
	task, err := tasks.NewSlot(s, allowed)
	if s.Slot == 0 {
		task, err = tasks.NewExtra(s.Provider, "test", time.Now(), allowed)
	}
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), allowed+tasks.Grace)
	defer cancel()
	_, err = b.pool.fetchSweep(ctx, task.Payload())
	return err
}

func (b *sweepBench) fetched(outcome string) float64 {
	return testutil.ToFloat64(b.pool.metrics.fetches.WithLabelValues("acme", outcome))
}

func held(id credential.ID, state credential.State, refreshAt credential.Millis) credential.Held {
	return credential.Held{Record: credential.Record{ID: id, Provider: "acme", State: state, Refreshable: true, RefreshAt: refreshAt}}
}

// page has n active credentials that are due at far.
func page(n int, far credential.Millis) []credential.Held {
	list := make([]credential.Held, n)
	for i := range list {
		list[i] = held(credential.ID("c"+strconv.Itoa(i)+"-"+strconv.FormatInt(int64(far), 10)), credential.StateActive, far)
	}
	return list
}

var thisSlot = tasks.Sweep{Provider: "acme", Slot: 900} //nolint:gochecknoglobals // a constant of the tests

func elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// The provider is asked about every credential of which calls are made, in
// pieces between which the slot is kept.
func TestASweepHasTokensVerified(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := credential.At(time.Now()).Add(time.Hour)
		list := append(page(2*verifyChunk, far), held("gone", credential.StateReauthRequired, 0))
		b := newSweepBench(t, list)
		b.tuner.tunes = 1
		b.verify.idle, b.verify.bad = false, map[credential.ID]bool{list[3].Record.ID: true}
		require.NoError(t, b.sweep(t, thisSlot, time.Minute))
		assert.Len(t, b.verify.asked, 2*verifyChunk)
		assert.NotContains(t, b.verify.asked, credential.ID("gone"))
		assert.Equal(t, 2, b.verify.chunks)
		assert.Equal(t, 2, b.slots.saves)
		assert.Equal(t, b.slots.kept.Counts[countSeen], b.tuner.seen.Load(), "sessions are seen to")
		assert.Positive(t, b.slots.kept.Counts[countTuned])
		assert.EqualValues(t, 2*verifyChunk, b.slots.kept.Counts[countVerified])
		assert.EqualValues(t, 1, b.slots.kept.Counts[countRefused])
	})
}

func TestASweepOutlivesAVerifierThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSweepBench(t, page(3, credential.At(time.Now()).Add(time.Hour)))
		b.verify.err = errAway
		time.AfterFunc(10*time.Second, func() {
			b.verify.mu.Lock()
			defer b.verify.mu.Unlock()
			b.verify.err, b.verify.idle = nil, true
		})
		require.NoError(t, b.sweep(t, thisSlot, time.Minute))
		assert.Equal(t, outcomeFinished, b.slots.outcome)
	})
}

func TestASweepOutlivesATunerThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSweepBench(t, page(3, credential.At(time.Now()).Add(time.Hour)))
		b.tuner.away.Store(3)
		require.NoError(t, b.sweep(t, thisSlot, time.Minute))
		assert.Equal(t, outcomeFinished, b.slots.outcome)
		assert.EqualValues(t, 3, b.tuner.seen.Load(), "none was left out")
	})
}

func TestASweepComparesEveryScoreAndCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := credential.At(time.Now())
		past, far := now.Add(-time.Minute), now.Add(time.Hour)
		open := held("open", credential.StateActive, past)
		open.Attempt = &credential.Attempt{Deadline: far}
		b := newSweepBench(t,
			[]credential.Held{
				held("due", credential.StateActive, past), held("later", credential.StateDegraded, far),
				held("gone", credential.StateReauthRequired, 0),
			},
			nil,
			[]credential.Held{held("out", credential.StateLoggedOut, 0), held("lost", credential.StateExpired, past), open},
		)
		b.walker.scores = map[credential.ID]credential.Millis{
			"due": past, "later": past, "gone": past, "out": 0, "open": far,
		}
		require.NoError(t, b.sweep(t, thisSlot, time.Minute))
		want := map[string]int64{"seen": 6, "live": 4, "dead": 2, "due": 2, "healed": 3}
		assert.Empty(t, cmp.Diff(want, b.slots.kept.Counts))
		assert.Equal(t, map[credential.ID]credential.Millis{
			"due": past, "later": far, "gone": 0, "out": 0, "lost": past, "open": far,
		}, b.walker.scores)
		assert.Equal(t, outcomeFinished, b.slots.outcome)
		assert.EqualValues(t, 900, b.slots.done)
		assert.Equal(t, 2, b.slots.saves, "the cursor is kept after every page but the last")
		assert.InDelta(t, 1, b.fetched(outcomeFinished), 0)
		for kind, n := range want {
			assert.InDelta(t, n, testutil.ToFloat64(b.pool.metrics.credentials.WithLabelValues("acme", kind)), 0, kind)
		}
		assert.Equal(t, 1, testutil.CollectAndCount(b.pool.metrics.fetchTime))
	})
}

func TestASweepThatIsOutOfTimeEndsByItselfAndSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := credential.At(time.Now()).Add(time.Hour)
		b := newSweepBench(t, page(3, far), page(3, far+1), page(3, far+2))
		b.walker.slow = 40 * time.Second
		started := time.Now()
		require.NoError(t, b.sweep(t, thisSlot, time.Minute))
		assert.Equal(t, time.Minute, time.Since(started))
		assert.Equal(t, outcomeTimedOut, b.slots.outcome)
		assert.EqualValues(t, 900, b.slots.done, "the next slot begins anew")
		assert.EqualValues(t, 3, b.slots.kept.Counts[countSeen])
		assert.InDelta(t, 1, b.fetched(outcomeTimedOut), 0)
		assert.Zero(t, testutil.CollectAndCount(b.pool.metrics.credentials), "half of a count is not shown")
	})
}

func TestAStopInterruptsASweepWhichAnotherGoesOnWith(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := credential.At(time.Now()).Add(time.Hour)
		b := newSweepBench(t, page(3, far), page(3, far+1), page(3, far+2))
		b.walker.slow = 10 * time.Second
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, b.sweep(t, thisSlot, time.Minute)) })
		elapse(15 * time.Second)
		stopped := time.Now()
		b.pool.cancel(errStopping)
		wg.Wait()
		assert.Zero(t, time.Since(stopped))
		assert.InDelta(t, 1, b.fetched(outcomeInterrupted), 0)
		assert.Zero(t, b.slots.done)

		next := newSweepBench(t)
		next.pool.walker, next.pool.slots = b.walker, b.slots
		elapse(10 * time.Millisecond)
		resumed := thisSlot
		resumed.Resume = 1
		require.NoError(t, next.sweep(t, resumed, time.Minute))
		assert.Equal(t, []int{0, 1, 2}, b.walker.pagesVisited(), "no page twice")
		assert.EqualValues(t, 900, b.slots.done)
		assert.EqualValues(t, 9, b.slots.kept.Counts[countSeen])
		assert.EqualValues(t, 9, b.slots.kept.Counts[countHealed])
	})
}

func TestASlotInOtherHandsOrDoneIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSweepBench(t, page(1, 1))
		b.slots.running, b.slots.owner, b.slots.until = 900, "somebody else", time.Now().Add(time.Second)
		require.NoError(t, b.sweep(t, thisSlot, time.Minute))
		b.slots.running, b.slots.done = 0, 900
		require.NoError(t, b.sweep(t, thisSlot, time.Minute))
		assert.Empty(t, b.walker.visited)
	})
}

func TestASlotThatWaitedForALongerThanItsIntervalIsLeftOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSweepBench(t, page(1, 1))
		late := thisSlot
		late.Next = time.Now().Unix()
		require.NoError(t, b.sweep(t, late, time.Minute))
		assert.Empty(t, b.walker.visited)
		assert.Zero(t, b.slots.running)
		late.Next++
		require.NoError(t, b.sweep(t, late, time.Minute))
		assert.EqualValues(t, 900, b.slots.done)
	})
}

func TestASweepThatWasTakenOverEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSweepBench(t, page(1, 1), page(1, 2), page(1, 3))
		b.walker.slow = 10 * time.Second
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, b.sweep(t, thisSlot, time.Minute)) })
		elapse(15 * time.Second)
		b.slots.set(func(f *fakeSlots) { f.owner = "somebody else" })
		wg.Wait()
		assert.Equal(t, []int{0, 1}, b.walker.visited)
		assert.InDelta(t, 1, b.fetched(outcomeLost), 0)
		assert.EqualValues(t, 900, b.slots.running, "and touches nothing of the other's")
	})
}

func TestASweepWaitsForAStoreThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSweepBench(t, page(2, 1), page(2, 2))
		b.slots.err, b.walker.err = errAway, errAway
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, b.sweep(t, thisSlot, 5*time.Minute)) })
		elapse(time.Minute)
		b.slots.set(func(f *fakeSlots) { f.err = nil })
		elapse(time.Minute)
		b.walker.set(func(w *fakeWalker) { w.err = nil })
		wg.Wait()
		assert.Equal(t, outcomeFinished, b.slots.outcome)
		assert.EqualValues(t, 4, b.slots.kept.Counts[countSeen])
	})
}

func TestASweepThatCannotBeginAtAllFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSweepBench(t, page(2, 1))
		b.slots.err = errAway
		require.ErrorIs(t, b.sweep(t, thisSlot, time.Minute), errAway)
	})
}

func TestRecordsThatCannotBeReadAreCountedAndPassedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSweepBench(t, page(2, 1), page(2, 2))
		b.walker.damaged = []error{errors.New("one"), errors.New("two")}
		require.NoError(t, b.sweep(t, thisSlot, time.Minute))
		assert.Equal(t, outcomeFinished, b.slots.outcome)
		assert.EqualValues(t, 4, b.slots.kept.Counts[countUnreadable])
		assert.EqualValues(t, 4, b.slots.kept.Counts[countSeen])
	})
}

func TestAnExtraSweepKeepsNoState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSweepBench(t, page(2, 1), page(2, 2))
		b.slots.err = errAway // it is never asked
		require.NoError(t, b.sweep(t, tasks.Sweep{Provider: "acme"}, time.Minute))
		assert.Equal(t, []int{0, 1}, b.walker.visited)
		assert.InDelta(t, 1, b.fetched(outcomeFinished), 0)
	})
}

func TestAMalformedSweepIsRefused(t *testing.T) {
	t.Parallel()
	b := newSweepBench(t)
	var refused *tasks.PayloadError
	_, err := b.pool.fetchSweep(t.Context(), []byte(`{}`))
	require.ErrorAs(t, err, &refused)
}
