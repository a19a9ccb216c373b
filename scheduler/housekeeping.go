package scheduler

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

const (
	trimEvery   = time.Minute
	trimTimeout = time.Minute
)

// housekeeping keeps the event log at its retention.
type housekeeping struct {
	log       EventLog
	clock     Clock
	retention time.Duration
	logger    zerolog.Logger

	resting atomic.Pointer[time.Time]
}

func (h *housekeeping) loop(ctx context.Context) {
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if until := h.resting.Load(); until != nil && now.Before(*until) {
				continue
			}
			h.trim(ctx)
		}
	}
}

// rest lets the log grow for one retention. After the store's clock has jumped
// ahead, entries look older than they are: trimmed by age they would be lost
// to subscribers that are a second behind.
func (h *housekeeping) rest() {
	until := time.Now().Add(h.retention)
	h.resting.Store(&until)
}

func (h *housekeeping) trim(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, trimTimeout)
	defer cancel()
	n, err := h.log.TrimEvents(ctx, h.clock.Now().Add(-h.retention))
	switch {
	case err != nil && ctx.Err() == nil:
		h.logger.Warn().Err(err).Msg("the event log could not be trimmed, again in a minute")
	case n > 0:
		h.logger.Debug().Int64("entries", n).Msg("trimmed the event log")
	}
}
