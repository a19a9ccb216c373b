package main

import (
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/app"
)

// Whoever is told to stop twice in the same moment drains: supervisors send a
// signal to the process and to its group. A second wish ends it at once.
func TestTheSameSignalTwiceIsOneWish(t *testing.T) {
	t.Parallel()
	type sent struct {
		signal os.Signal
		after  time.Duration // the one before
	}
	const term, interrupt, hup = syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP
	for name, row := range map[string]struct {
		more         []sent // than the first SIGTERM
		ends, reload bool
	}{
		"once":                         {},
		"twice in the same moment":     {more: []sent{{term, 0}}},
		"many times within a second":   {more: []sent{{term, 0}, {term, oneWish / 2}, {term, oneWish/2 - 1}}},
		"again after a second":         {more: []sent{{term, oneWish}}, ends: true},
		"twice, and after a second":    {more: []sent{{term, 0}, {term, oneWish}}, ends: true},
		"a second after the first":     {more: []sent{{term, oneWish / 2}, {term, oneWish / 2}}, ends: true},
		"and interrupted":              {more: []sent{{interrupt, 0}}, ends: true},
		"with a reload in between":     {more: []sent{{hup, 0}, {term, 0}}, reload: true},
		"and reloaded, much later":     {more: []sent{{hup, time.Hour}}, reload: true},
		"again much later, once more":  {more: []sent{{term, time.Hour}}, ends: true},
		"interrupted much later, once": {more: []sent{{interrupt, time.Hour}}, ends: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				signals, done := make(chan os.Signal), make(chan struct{})
				var drains []error
				ends := 0
				h := hearing{
					reload: make(chan struct{}, 1),
					drain:  func(why error) { drains = append(drains, why) }, end: func() { ends++ },
				}
				heard := make(chan struct{})
				go func() {
					defer close(heard)
					h.hear(signals, done)
				}()
				signals <- term
				for _, next := range row.more {
					<-time.After(next.after)
					signals <- next.signal
				}
				close(done)
				<-heard
				require.Len(t, drains, 1)
				require.ErrorIs(t, drains[0], app.ErrStopped)
				require.ErrorContains(t, drains[0], "terminated")
				assert.Equal(t, row.ends, ends == 1)
				assert.Equal(t, row.reload, len(h.reload) == 1)
			})
		})
	}
}
