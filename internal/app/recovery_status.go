package app

import (
	"context"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/clock"
	"github.com/refreshd/refreshd/internal/roster"
)

// rememberEvery is how old what is told of the service may be once Redis is
// away.
const rememberEvery = 10 * time.Second

// processes looks at who works on this Redis.
func (s *service) processes() roster.Watch {
	return roster.Watch{Store: s.store, Self: s.owner, Beats: s.beats, Boot: clock.Boot, Folder: s.folder}
}

// watchStatus follows the heartbeats of all processes, and remembers how the
// service is for the time when Redis cannot tell, until the service stops. A
// process that answers no API is asked by nobody.
func (s *service) watchStatus(ctx context.Context) error {
	if !s.opts.Roles.API {
		return nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var done sync.WaitGroup
	done.Go(func() { s.processes().Keep(ctx) })
	done.Go(func() {
		ticker := time.NewTicker(rememberEvery)
		defer ticker.Stop()
		for ctx.Err() == nil {
			within, end := context.WithTimeout(ctx, statusWithin)
			_ = apiService{s}.remember(within) // what was known stays; the engine tells of an outage
			end()
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
	})
	s.life.add("status", func(context.Context) error { cancel(); done.Wait(); return nil })
	return nil
}

// recoveryStatus is the picture as the API shows it, but for the gate.
func recoveryStatus(p roster.Picture) api.RecoveryStatus {
	status := api.RecoveryStatus{
		Settled: p.Settled, Open: p.Open, InDoubt: p.InDoubt, Processes: make([]api.ProcessStatus, 0, len(p.Processes)),
	}
	for _, one := range p.Processes {
		status.Processes = append(status.Processes, api.ProcessStatus{
			Owner: one.Owner, Self: one.Self, Listed: one.Listed, Journal: one.Journal, Ready: one.Ready,
			SilentSeconds: one.Silent.Round(100 * time.Millisecond).Seconds(), Silent: one.Still, Here: one.Here, Locked: one.Locked,
			Open: one.Open, InDoubt: one.InDoubt,
		})
	}
	return status
}
