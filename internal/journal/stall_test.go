package journal

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hanging lets a step neither fail nor return until it is let go.
func hanging(s step) (hook func(step, string) error, let func()) {
	gate := make(chan struct{})
	return func(taken step, _ string) error {
		if taken == s {
			<-gate
		}
		return nil
	}, sync.OnceFunc(func() { close(gate) })
}

// answers is what a journal has told of its disk.
type answers struct {
	mu      sync.Mutex
	stalled []error
	resumed int
}

func (a *answers) options(opts Options) Options {
	opts.OnStalled = func(err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.stalled = append(a.stalled, err)
	}
	opts.OnResumed = func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.resumed++
	}
	return opts
}

// told returns why the disk did not answer, once for each time, and how often it did
// again.
func (a *answers) told() (stalled []error, resumed int) {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.stalled), a.resumed
}

// later calls f in another goroutine, and returns what shows its error once it has one.
func later(f func() error) (ended func() (error, bool)) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return func() (error, bool) {
		synctest.Wait()
		select {
		case err := <-done:
			return err, true
		default:
			return nil, false
		}
	}
}

// A disk that hangs is told of once, and nothing more is taken on that it would have
// to hold first. A reply goes on waiting, and is kept as soon as the disk goes on.
func TestADiskThatHangs(t *testing.T) {
	t.Parallel()
	for _, s := range []step{stepWrite, stepSync} {
		t.Run(string(s), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newMemDisk()
				var heard answers
				j := onDisk(t, d, heard.options(Options{}))
				require.NoError(t, j.Intent(t.Context(), []Intent{intent(1)}))
				hook, let := hanging(s)
				defer let()
				d.setHook(hook)
				first := later(func() error { return j.Intent(t.Context(), []Intent{intent(2)}) })
				pass(stallLook / 2) // the disk has that one in hand, and not those
				second := later(func() error { return j.Intent(t.Context(), []Intent{intent(3)}) })
				change := later(func() error { return j.Change(t.Context(), change(4, "change")) })
				kept := later(func() error { return j.Keep(keep(1, "reply")) })

				pass((stallLooks - 1) * stallLook)
				for _, ended := range []func() (error, bool){first, second, change, kept} {
					_, over := ended()
					require.False(t, over, "it may be slow")
				}
				require.NoError(t, j.Trouble())
				stalled, _ := heard.told()
				require.Empty(t, stalled)

				pass(stallLook)
				for _, ended := range []func() (error, bool){first, second, change} {
					err, over := ended()
					require.True(t, over)
					require.ErrorIs(t, err, ErrStalled)
				}
				require.ErrorIs(t, j.Intent(t.Context(), []Intent{intent(5)}), ErrStalled, "at once")
				require.ErrorIs(t, j.Change(t.Context(), Change{Nonce: nonce(6), ID: "alice", Kind: Logout}), ErrStalled)
				require.ErrorIs(t, j.Trouble(), ErrStalled)
				require.ErrorIs(t, j.Stalled(), ErrStalled)
				stalled, _ = heard.told()
				require.Len(t, stalled, 1)
				require.ErrorContains(t, stalled[0], "/journal/owner-1.wal: a write or a sync has not returned for 5s")
				pass(time.Hour)
				_, over := kept()
				require.False(t, over, "a reply is not given up")
				stalled, resumed := heard.told()
				require.Len(t, stalled, 1, "that is told once")
				require.Zero(t, resumed)

				let()
				err, over := kept()
				require.True(t, over)
				require.NoError(t, err)
				_, resumed = heard.told()
				require.Equal(t, 1, resumed)
				require.NoError(t, j.Trouble())
				require.NoError(t, j.Stalled())
				require.NoError(t, j.Intent(t.Context(), []Intent{intent(2)}), "a nonce that was given up may be used")
				assert.Equal(t, Records{Intents: []Intent{intent(2)}, Keeps: []Keep{keep(1, "reply")}}, none(afterCrash(t, d, 1)))
				stalled, _ = heard.told()
				require.Len(t, stalled, 1)
				require.NoError(t, j.Close())
			})
		})
	}
}

// A disk that is slow, or slow time and again, is not one that hangs.
func TestASlowDiskDoesNotHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		var heard answers
		j := onDisk(t, d, heard.options(Options{}))
		d.setHook(func(s step, _ string) error {
			if s == stepSync {
				pass(stallLooks*stallLook - time.Millisecond)
			}
			return nil
		})
		for n := range uint64(5) {
			require.NoError(t, j.Intent(t.Context(), []Intent{intent(n + 1)}))
		}
		require.NoError(t, j.Close())
		stalled, resumed := heard.told()
		assert.Empty(t, stalled)
		assert.Zero(t, resumed)
	})
}

// A write that hangs and fails then has broken the journal, as one that fails at once.
func TestAWriteThatHangsAndFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, trouble := newMemDisk(), told{}
		var heard answers
		j := onDisk(t, d, heard.options(trouble.options(Options{})))
		gate := make(chan struct{})
		d.setHook(func(s step, _ string) error {
			if s == stepSync {
				<-gate
				return errDisk
			}
			return nil
		})
		require.ErrorIs(t, j.Intent(t.Context(), []Intent{intent(1)}), ErrStalled)
		close(gate)
		stalled, resumed := heard.told()
		require.Len(t, stalled, 1)
		require.Equal(t, 1, resumed)
		require.Len(t, trouble.broken(), 1)
		require.ErrorIs(t, j.Trouble(), ErrBroken)
		require.NoError(t, j.Stalled())
		d.setHook(once(stepRead, 0, nil))
		pass(firstPause)
		synctest.Wait()
		require.Len(t, trouble.healed(), 1)
		require.NoError(t, j.Intent(t.Context(), []Intent{intent(1)}))
		require.NoError(t, j.Close())
	})
}

// While anything hangs the disk does not answer, whatever else does.
func TestTheDiskAnswersWhenNothingHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var heard answers
		opts := heard.options(Options{})
		s := newStall("the journal", opts.OnStalled, opts.OnResumed)
		first := s.step()
		pass(stallLook)
		second := s.step()
		pass(2 * stallLooks * stallLook)
		first()
		s.step()()
		require.ErrorIs(t, s.trouble(), ErrStalled)
		_, resumed := heard.told()
		assert.Zero(t, resumed)
		second()
		require.NoError(t, s.trouble())
		stalled, resumed := heard.told()
		assert.Equal(t, 1, resumed)
		assert.Len(t, stalled, 1)
	})
}
