package app

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/clock"
	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/logging"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/store"
)

// installation knows whether Redis still holds what this process started on. A
// Redis that came back empty answers every question, and every answer is wrong.
type installation struct {
	why atomic.Pointer[lostInstallation] // nil while all is well
}

type lostInstallation struct{ why error }

// checkInstallation looks again. What cannot be told for now changes nothing.
func (s *service) checkInstallation(ctx context.Context) error {
	err := s.store.Installed(ctx)
	was := s.lost.why.Load()
	log := logging.Component(s.log, "redis")
	switch {
	case err == nil && was != nil:
		s.lost.why.Store(nil)
		log.Info().Msg("Redis holds again what this process started on")
	case errors.Is(err, store.ErrEmptied) || errors.Is(err, store.ErrReplaced):
		if was == nil || !errors.Is(err, was.why) {
			s.lost.why.Store(&lostInstallation{why: err})
			log.Error().Err(err).Msg("what was stored in Redis is gone; bring back its backup, or start refreshd again to begin anew")
		}
	}
	return err
}

// journalsBelong refuses a Redis that holds another installation than the one
// whose journals are in the folder, or none, before anything is written there. It
// returns the name that Redis is to have should it hold none: it may have lost
// that in the first moments.
func (s *service) journalsBelong(ctx context.Context) (noted string, err error) {
	if !s.opts.Roles.Worker {
		return "", nil
	}
	found, err := store.Installation(ctx, s.redis.Client())
	if err != nil {
		return "", err
	}
	dir := s.journalDir()
	if err := journal.CheckInstallation(dir, found); err != nil {
		return "", err
	}
	was, err := journal.InstallationOf(dir)
	if err != nil || !was.Unsettled {
		return "", err
	}
	return was.ID, nil
}

// claimSettled stands for a folder whose installation Redis cannot lose any more.
const claimSettled = -1

// noteJournals notes that Redis cannot lose the installation any more that the
// folder of the journals was claimed for, and claims one again that somebody has
// removed and that was made anew.
func (s *service) noteJournals(p redisconn.Promise) {
	since := s.claimed.Load()
	if since == 0 || p.Away || s.lost.why.Load() != nil {
		return
	}
	dir := s.journalDir()
	noted, err := journal.InstallationOf(dir)
	switch {
	case err != nil:
	case noted.ID == "":
		if err = journal.Claim(dir, s.store.Epoch()); err == nil {
			s.claimed.Store(int64(clock.Boot()))
		}
	case since != claimSettled && clock.Boot()-time.Duration(since) > p.Loss:
		if err = journal.Settle(dir, s.store.Epoch()); err == nil {
			s.claimed.Store(claimSettled)
		}
	}
	if err != nil {
		log := logging.Component(s.log, "journal")
		log.Warn().Err(err).Msg("whose journals these are could not be noted for good; again in a moment")
	}
}

// emptied says in a few words that what was stored is gone, "" while it is not.
func (s *service) emptied() string {
	if lost := s.lost.why.Load(); lost != nil {
		return lost.why.Error() + "; /readyz has more"
	}
	return ""
}

// logStore is the store as the event log's readers see it.
type logStore struct {
	*store.Store

	lost *installation
}

// Epoch names the log. What is in one that has lost its entries is another log:
// a cursor from before leads to stream.reset, and so does one from meanwhile
// once the data are back.
func (l logStore) Epoch() string {
	if l.lost.why.Load() != nil {
		return l.Store.Epoch() + "-lost"
	}
	return l.Store.Epoch()
}

// installationFinding is what people are told, nil while all is well.
func (s *service) installationFinding() *api.Finding {
	lost := s.lost.why.Load()
	if lost == nil {
		return nil
	}
	if errors.Is(lost.why, store.ErrReplaced) {
		return &api.Finding{
			Topic: "installation", Severity: string(redisconn.SeverityFail), What: lost.why.Error(),
			Consequence: "nothing is refreshed, and what this process and its journals know is kept and not put into it; tokens in memory go on being served",
			Remedy:      "bring the right Redis back to its address, then everything goes on by itself; or start every refreshd again, and see what the start says of the journals",
		}
	}
	return &api.Finding{
		Topic: "installation", Severity: string(redisconn.SeverityFail), What: lost.why.Error(),
		Consequence: "credentials, API keys, subscriptions and the event log are gone, but for what was written in the last seconds and has been put back; " +
			"the keys that were in use a moment ago go on working here, and tokens in memory go on being served. What is stored now is gone as well once the data are brought back",
		Remedy: "bring back Redis's data, then everything goes on by itself; or start every refreshd again, and create keys and logins anew",
	}
}
