package clock_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/clock"
	"github.com/refreshd/refreshd/internal/credential"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store's clock and a machine's, which tests move.
type world struct {
	mu    sync.Mutex
	store credential.Millis
	boot  time.Duration
	there time.Duration // how long a question is on its way to the store
	back  time.Duration // and its answer
	err   error
}

func (w *world) Now(context.Context) (credential.Millis, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	w.pass(w.there)
	answer := w.store
	w.pass(w.back)
	return answer, nil
}

// pass lets time go by, on both clocks.
func (w *world) pass(d time.Duration) {
	w.store = w.store.Add(d)
	w.boot += d
}

func (w *world) Boot() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.boot
}

func setup() (*world, *clock.Clock) {
	w := &world{store: 1_700_000_000_000, boot: 42 * time.Hour}
	return w, clock.New(w, w.Boot)
}

func read(t *testing.T, c *clock.Clock) time.Duration {
	t.Helper()
	step, err := c.Sync(t.Context())
	require.NoError(t, err)
	return step
}

func TestNowGoesOnBetweenReadings(t *testing.T) {
	t.Parallel()
	w, c := setup()
	assert.Zero(t, read(t, c), "the first reading has nothing to compare with")
	assert.Equal(t, w.store, c.Now())
	w.pass(90 * time.Minute)
	assert.Equal(t, w.store, c.Now())
	assert.Equal(t, w.boot, c.Boot())
	assert.Zero(t, read(t, c), "both clocks moved alike: no step")
}

func TestSuspensionIsNoStepOfTheStore(t *testing.T) {
	t.Parallel()
	w, c := setup()
	read(t, c)
	w.pass(8 * time.Hour) // CLOCK_BOOTTIME goes on while the machine sleeps
	assert.Zero(t, read(t, c))
}

func TestStepIsTold(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]time.Duration{
		"forward":          2 * clock.StepLimit,
		"back":             -2 * clock.StepLimit,
		"an hour back":     -time.Hour,
		"a year forward":   365 * 24 * time.Hour,
		"below the limit":  clock.StepLimit - time.Millisecond,
		"one millisecond":  time.Millisecond,
		"the machine hung": 0,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, c := setup()
			read(t, c)
			w.pass(time.Minute)
			w.store = w.store.Add(step)
			assert.Equal(t, step, read(t, c))
			assert.Equal(t, w.store, c.Now(), "the store's time holds from now on")
			w.pass(time.Minute)
			assert.Zero(t, read(t, c), "a step is told once")
		})
	}
}

func TestReadingIsAsOldAsHalfItsRoundTrip(t *testing.T) {
	t.Parallel()
	w, c := setup()
	w.there, w.back = 40*time.Millisecond, 40*time.Millisecond
	read(t, c)
	assert.Equal(t, w.store, c.Now(), "there and back alike: exact")
	w.there, w.back = 0, 60*time.Millisecond
	assert.Equal(t, -30*time.Millisecond, read(t, c), "all of it on the way back: half of it wrong")
	assert.Equal(t, w.store.Add(-30*time.Millisecond), c.Now())
}

// A reading that took long is worse than one that is known already, and says
// nothing against it, until the clocks may have parted by more; a real step shows
// all the same.
func TestASlowReadingIsNotTakenForABetterOne(t *testing.T) {
	t.Parallel()
	w, c := setup()
	w.there, w.back = time.Millisecond, time.Millisecond
	read(t, c)
	w.there, w.back = 0, 800*time.Millisecond
	w.pass(time.Minute)
	read(t, c)
	assert.Equal(t, w.store, c.Now(), "not half a second early")
	w.store = w.store.Add(-time.Minute)
	read(t, c)
	assert.InDelta(t, int64(w.store), int64(c.Now()), 400)
	w.there, w.back = time.Millisecond, time.Millisecond
	read(t, c)
	w.there, w.back = 0, 800*time.Millisecond
	w.pass(2 * time.Hour)
	w.store = w.store.Add(300 * time.Millisecond)
	read(t, c)
	assert.Equal(t, w.store.Add(-400*time.Millisecond), c.Now(), "they may have parted by more in that time")
}

func TestUnreadableSourceChangesNothing(t *testing.T) {
	t.Parallel()
	w, c := setup()
	read(t, c)
	away := errors.New("connection refused")
	w.err = away
	w.pass(time.Minute)
	_, err := c.Sync(t.Context())
	require.ErrorIs(t, err, away)
	assert.Equal(t, w.store, c.Now(), "the machine's clock carries on")
	w.err = nil
	w.store = w.store.Add(time.Hour)
	assert.Equal(t, time.Hour, read(t, c), "what happened meanwhile is still told")
}

func TestFailedFirstReadingIsNotComparedWith(t *testing.T) {
	t.Parallel()
	w, c := setup()
	w.err = errors.New("loading")
	_, err := c.Sync(t.Context())
	require.Error(t, err)
	w.err = nil
	assert.Zero(t, read(t, c))
}

// However long questions and answers take, the error of Now is bounded by half of
// what the round trip took of the reading that it goes by: the last one, unless an
// earlier one is known to be better. So is a step that nobody made.
func TestErrorIsBoundedByTheRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w, c := setup()
		off, since := time.Hour, w.boot
		for range rapid.IntRange(1, 20).Draw(r, "readings") {
			w.there = time.Duration(rapid.IntRange(0, 3000).Draw(r, "there")) * time.Millisecond
			w.back = time.Duration(rapid.IntRange(0, 3000).Draw(r, "back")) * time.Millisecond
			middle, half := w.boot+(w.there+w.back)/2, (w.there+w.back)/2+time.Millisecond
			step, err := c.Sync(t.Context())
			require.NoError(r, err)
			assert.LessOrEqual(r, step.Abs(), off+half)
			if off+(middle-since)/10_000 >= half {
				off, since = half, middle
			}
			assert.LessOrEqual(r, w.store.Sub(c.Now()).Abs(), off)
			w.pass(time.Duration(rapid.IntRange(0, 100_000).Draw(r, "pause")) * time.Millisecond)
			assert.LessOrEqual(r, w.store.Sub(c.Now()).Abs(), off)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	w, c := setup()
	read(t, c)
	want := w.store
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if _, err := c.Sync(t.Context()); !assert.NoError(t, err) {
					return
				}
			}
		})
		wg.Go(func() {
			for range 200 {
				assert.Equal(t, want, c.Now(), "nothing has moved")
			}
		})
	}
	wg.Wait()
}

func TestBootNeverGoesBack(t *testing.T) {
	t.Parallel()
	last := clock.Boot()
	require.Positive(t, last)
	for range 1000 {
		now := clock.Boot()
		require.GreaterOrEqual(t, now, last)
		last = now
	}
}

// A jump of the boot clock in the middle of a reading would count by half: such
// a reading is not used, and the next one tells.
func TestJumpWithinAReading(t *testing.T) {
	t.Parallel()
	w, c := setup()
	read(t, c)
	before := c.Now()
	w.there, w.back = 30*time.Minute, 30*time.Minute
	w.store = w.store.Add(-time.Hour) // the store's clock did not take part
	_, err := c.Sync(t.Context())
	require.ErrorIs(t, err, clock.ErrSlowReading)
	w.there, w.back = 0, 0
	assert.NotZero(t, read(t, c))
	assert.Less(t, c.Now().Sub(before).Abs(), time.Minute)
}
