package wire

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// A process that runs all the time has exactly the time it was given.
func TestAllowance(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{1, minSlice, minSlice + 1, 333 * time.Millisecond, time.Second, 20*time.Second + 7, 5 * time.Minute} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ended := make(chan time.Duration, 2)
				a := allow(d, func() { ended <- time.Since(began) })
				assert.Equal(t, d, <-ended)
				<-time.After(d)
				a.stop()
				assert.Empty(t, ended, "it ends once")

				stopped := allow(d, func() { ended <- time.Since(began) })
				<-time.After(d - 1)
				stopped.stop()
				<-time.After(d)
				assert.Empty(t, ended)
			})
		})
	}
}

// However late a slice is seen to have ended, it counts for no more than it is:
// time in which the process stood still is none of the call's.
func TestStandingStillCostsOneSlice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const d, still = 20 * time.Second, time.Hour
		began := time.Now()
		ended := make(chan time.Duration, 1)
		a := allow(d, func() { ended <- time.Since(began) })
		a.timer.Reset(still) // the slice's end is seen when the process goes on
		assert.Equal(t, still+d-d/sliceCount, <-ended)
		a.stop()
	})
}

// While the reply is there and waits for its turn, no time passes.
func TestHeldAllowance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const d, held = time.Second, time.Hour
		began := time.Now()
		ended := make(chan time.Duration, 1)
		a := allow(d, func() { ended <- time.Since(began) })
		<-time.After(d / 4)
		a.hold(true)
		<-time.After(held)
		assert.Empty(t, ended)
		a.hold(false)
		assert.InDelta(t, held+d, <-ended, float64(2*d/sliceCount))
		a.stop()
	})
}
