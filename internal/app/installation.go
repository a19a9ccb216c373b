package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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
			log.Error().Err(err).Msg("what was stored in Redis is gone; bring back its data; or, if they are gone for good, stop every refreshd, remove the file journal/installation in the data_dir of each, and start all of them again to begin anew")
		}
	}
	return err
}

const (
	// firstStartWithin is how long another process of the folder may take that gives
	// its Redis a name.
	firstStartWithin = 10 * time.Second
	// listedWithin is how long this Redis may not know a living process of the folder:
	// whoever has just begun, or knows it from before it was emptied, is on its roster
	// by then.
	listedWithin = 3 * time.Second
	// listedStep is the time between two looks at that.
	listedStep = 100 * time.Millisecond
)

// openInstallation opens the store and this process's journal, once both are known
// to be of one installation. A Redis that holds none is given a name while nobody else
// in the folder gives one to another, and before that has been done, and the journal
// is there for the others to see, nothing else is written to either.
func (s *service) openInstallation(ctx context.Context) (err error) {
	if s.folder, err = s.openFolder(); err != nil {
		return err
	}
	noted := ""
	if s.opts.Roles.Worker {
		found, err := s.journalsBelong(ctx)
		if err != nil {
			return err
		}
		if found == "" {
			first, err := s.beginFirstStart(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = first.End() }() // a lock: it ends with the process at the latest
			if noted, err = s.nameFor(ctx, first); err != nil {
				return err
			}
		}
	}
	s.store, err = store.New(ctx, store.Options{
		Client: s.redis.Client(), Keyset: s.keys, Shards: s.conf.Load().Redis.Shards, Owner: s.owner, Place: s.folder.Place(), Epoch: noted,
		Retention: s.conf.Load().Events.Retention, MaxCredentials: s.redis.MaxCredentials(),
		Memory: s.redis.Kind() == redisconn.KindMemory, RunID: s.runIDs(),
	})
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	s.journal, err = s.openJournal()
	return err
}

// journalsBelong refuses a Redis that holds another installation than the one
// whose journals are in the folder, or none, before anything is written there. It
// returns the name of what Redis holds.
func (s *service) journalsBelong(ctx context.Context) (found string, err error) {
	found, err = store.Installation(ctx, s.redis.Client())
	if err != nil {
		return "", err
	}
	return found, journal.CheckInstallation(s.journalDir(), found)
}

func (s *service) beginFirstStart(ctx context.Context) (*journal.FirstStart, error) {
	ctx, cancel := context.WithTimeout(ctx, firstStartWithin)
	defer cancel()
	return journal.BeginFirstStart(ctx, s.journalDir())
}

// nameFor returns the name that this Redis is given if it holds none: that which it
// may have lost in the first moments, or a new one. It is refused while somebody lives
// in the folder whom it does not know: he works with another Redis.
func (s *service) nameFor(ctx context.Context, first *journal.FirstStart) (string, error) {
	ticker := time.NewTicker(listedStep)
	defer ticker.Stop()
	for began := clock.Boot(); ; {
		found, err := s.journalsBelong(ctx)
		if err != nil || found != "" {
			return found, err
		}
		living, err := journal.Living(s.journalDir())
		if err != nil {
			return "", err
		}
		if living, err = store.Unlisted(ctx, s.redis.Client(), living); err != nil {
			return "", err
		}
		if len(living) == 0 {
			break
		}
		if clock.Boot()-began > listedWithin {
			return "", first.Elsewhere(s.redis.Name(), living)
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-ticker.C:
		}
	}
	was, err := journal.InstallationOf(s.journalDir())
	if err != nil {
		return "", err
	}
	name := was.ID
	if !was.Unsettled {
		name = rand.Text()
	}
	return name, first.Note(name, s.redis.Name())
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
			"the keys that were in use a moment ago go on working here, and tokens in memory go on being served. A process that stops now may be refused at its start, and what it had begun waits for it. What is stored now is gone as well once the data are brought back",
		Remedy: "bring back Redis's data, then everything goes on by itself; or, if they are gone for good, stop every refreshd, remove the file journal/installation in the data_dir of each, start all of them again, and create keys and logins anew",
	}
}
