package app

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/clock"
	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/logging"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/refresh"
	"github.com/refreshd/refreshd/internal/roster"
	"github.com/refreshd/refreshd/internal/schedule"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/ssf"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/subscription"
	"github.com/refreshd/refreshd/scheduler"
	"github.com/refreshd/refreshd/tasks"
	"github.com/refreshd/refreshd/worker"
)

const (
	// clockEvery is how often a process without a scheduler reads Redis's
	// clock; with one, the scheduler does.
	clockEvery = 5 * time.Second
)

// service is a running service. Its fields are set in the order of start.
type service struct {
	opts    Options
	running *config.Config // what it was started with, which stays in force where it cannot be changed
	conf    atomic.Pointer[config.Config]
	log     zerolog.Logger
	life    *lifecycle
	systemd systemd

	registry  *prometheus.Registry
	owner     string
	redis     *redisconn.Conn
	promises  redisconn.Keeper // what Redis promises, as of a moment ago
	lost      installation
	claimed   atomic.Int64 // boot time at which the journals' folder was; 0 before, claimSettled once Redis cannot lose for what
	keys      *seal.Keyset
	folder    refresh.Folder
	journal   refresh.Journal
	file      *journal.Journal // which that is in; nil without the worker's role
	store     *store.Store
	clock     *clock.Clock
	providers *providers
	events    *event.Log
	queue     *queue
	engine    *refresh.Engine
	outlet    outlet
	deliverer *delivery.Deliverer
	signing   *ssf.Ring
	poller    *ssf.Poller

	transmitter *ssf.Transmitter

	subscribers *subscribers

	scheduler atomic.Pointer[scheduler.Scheduler] // nil without the role, and until it is made
	tls       atomic.Pointer[tls.Certificate]     // nil where there is none
	files     string                              // stamps of the files that the first configuration refers to
	address   string                              // that the API listens on
	started   time.Time
	beats     *roster.Heartbeats
	known     atomic.Pointer[known] // nil until Redis has told

	unconfigured atomic.Pointer[[]string] // providers that were so at the last look; nil before it
}

// start brings everything up, from the store to the API. What it has acquired
// is in s.life, also when it fails.
func (s *service) start(ctx context.Context) error {
	s.started = time.Now()
	s.beats = roster.NewHeartbeats(s.conf.Load().Recovery.Silence)
	s.registry = prometheus.NewRegistry()
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, step := range []func(context.Context) error{
		s.openStore, s.watchRedis, s.openQueue, s.openEngine, s.openEvents, s.recover, s.startWork, s.tuneSessions, s.watchStatus, s.startAPI,
	} {
		if err := step(ctx); err != nil {
			if s.redis == nil {
				return err
			}
			return s.redis.Refusal(ctx, err)
		}
	}
	return nil
}

// openStore connects to Redis, opens the keyset and this process's journal, and
// checks that they belong together.
func (s *service) openStore(ctx context.Context) (err error) {
	if err := os.MkdirAll(s.conf.Load().DataDir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w; "+folderRemedy, err)
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails: crypto/rand ends the process instead
	s.owner = hex.EncodeToString(id)

	redis.SetLogger(logging.NewRedis(s.log))
	s.redis, err = redisconn.Open(ctx, redisconn.Options{
		URL: s.conf.Load().Redis.URL, DataDir: s.conf.Load().DataDir, Log: logging.Component(s.log, "redis"),
	})
	if err != nil {
		return err
	}
	s.life.add("redis", func(context.Context) error { return s.redis.Close() })

	if err := keysetLost(ctx, s.redis.Client(), s.conf.Load().Keyset.File); err != nil {
		return err
	}
	keys, created, err := seal.Open(s.conf.Load().Keyset.File, seal.Options{})
	if err != nil {
		return fmt.Errorf("keyset: %w", err)
	}
	s.keys = keys
	if created {
		log := logging.Component(s.log, "seal")
		log.Info().Str("file", s.conf.Load().Keyset.File).
			Msg("a keyset was made; back it up: without it nothing that is stored can be read")
	}
	if err := s.openInstallation(ctx); err != nil {
		return err
	}
	s.clock = clock.New(s.store, clock.Boot)
	if _, err := s.clock.Sync(ctx); err != nil {
		return err
	}
	s.store.SetSkewed(func(ctx context.Context) error {
		step, err := s.clock.Sync(ctx)
		log := logging.Component(s.log, "app")
		log.Warn().Err(err).Stringer("step", step).Msg("a clock has jumped: what was to be stored is decided again")
		return err
	})
	return s.ensureAdminKey(ctx)
}

// runIDs tells the run of the in-process store, which cannot be asked itself.
func (s *service) runIDs() func(context.Context) (string, error) {
	if s.redis.Kind() != redisconn.KindMemory {
		return nil
	}
	return func(ctx context.Context) (string, error) {
		identity, err := s.redis.Identity(ctx)
		return identity.RunID, err
	}
}

// folderRemedy ends what is said of a folder that cannot be used.
const folderRemedy = "it must be a folder, mode 0700, owned by the user that runs refreshd, on a disk that can be written"

// openFolder finds the folder of this machine's journals. A process without the
// worker's role presents no refresh token and has none.
func (s *service) openFolder() (refresh.Folder, error) {
	if !s.opts.Roles.Worker {
		return noJournals{}, nil
	}
	dir := s.journalDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal folder: %w; "+folderRemedy, err)
	}
	place, err := journal.Place(dir)
	if err != nil {
		return nil, fmt.Errorf("%w; "+folderRemedy, err)
	}
	return journals{dir: dir, place: place}, nil
}

func (s *service) journalDir() string { return filepath.Join(s.running.DataDir, "journal") }

// openQueue opens the way to asynq's queues.
func (s *service) openQueue(context.Context) error {
	client := s.redis.QueueClient()
	s.queue = &queue{client: asynq.NewClientFromRedisClient(client), redis: client}
	return nil
}

// openEngine builds the engine with its providers.
func (s *service) openEngine(ctx context.Context) error {
	if s.opts.Roles.Worker {
		// From now on, and not from the claim: the first look at what Redis promises came
		// a moment after that, and would end a loss window of 0 at once.
		s.claimed.Store(int64(max(clock.Boot(), 1)))
	}
	opts := refresh.Options{
		Store: s.store, Registry: s.store, Runs: s.store, Folder: s.folder, Permits: permits{s.store}, Claims: s.store, Resting: s.store, Sessions: sessions{s.store, s.clock, logging.Component(s.log, "refresh")}, Journal: s.journal, Clock: s.clock,
		Owner: s.owner, Shards: s.store.Shards(), Log: logging.Component(s.log, "refresh"), Metrics: refresh.NewMetrics(s.registry),
		Loss: s.lossWindow, Kept: s.redis.Kind() != redisconn.KindExternal,
		Silence: s.conf.Load().Recovery.Silence, Quarantine: s.conf.Load().Recovery.Quarantine,
		OfflineReads:      time.Duration(s.conf.Load().OfflineReads),
		OnClientRecovered: s.clientRecovered,
		OnClientRetuned:   s.clientRetuned,
		OnPolicyChanged:   s.policyChanged,
		OnDue:             s.due,
	}
	if s.file != nil {
		opts.Stalled = s.file.Stalled
	}
	if !s.opts.Roles.Worker {
		opts.Delegate = s.delegate
	}
	s.engine = refresh.New(opts)
	s.providers = &providers{version: s.opts.Version, log: logging.Component(s.log, "provider")}
	s.life.add("providers", func(context.Context) error { s.providers.close(); return nil })
	targets, settle, err := s.providers.build(s.conf.Load())
	if err != nil {
		return err
	}
	s.engine.SetTargets(ctx, targets)
	settle(true)
	return nil
}

// openJournal opens this process's journal.
func (s *service) openJournal() (refresh.Journal, error) {
	if !s.opts.Roles.Worker {
		return noJournal{}, nil
	}
	dir := s.journalDir()
	broken := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "refreshd_journal_broken_total", Help: "How often the journal could not be written; nothing is sent until it can.",
	})
	if err := s.registry.Register(broken); err != nil {
		return nil, err
	}
	log := logging.Component(s.log, "journal")
	if err := journal.Claim(dir, s.store.Epoch()); err != nil {
		return nil, err
	}
	j, err := journal.Create(dir, s.owner, journal.Options{
		OnBroken: func(err error) {
			broken.Inc()
			log.Error().Err(err).Msg("the journal cannot be written; nothing is sent until it can, make room in data_dir")
		},
		OnHealed: func(damage error) {
			if damage != nil {
				log.Error().Err(damage).Msg("the journal can be written again; a part of what it held could not be read, the old file is kept")
				return
			}
			log.Info().Msg("the journal can be written again")
		},
		OnStalled: func(err error) {
			broken.Inc()
			log.Error().Err(err).Msg("the journal's disk does not answer; nothing is begun until it does, look at the disk of data_dir")
		},
		OnResumed: func() { log.Info().Msg("the journal's disk answers again") },
		OnUnnamed: func(err error) {
			log.Warn().Err(err).Msg("the journal has lost its name; all that it holds is in a new file")
		},
	})
	if err != nil {
		return nil, err
	}
	s.file = j
	s.life.add("journal", func(context.Context) error { return j.Close() })
	// The folder was anybody's until there was a journal in it.
	if err := journal.CheckInstallation(dir, s.store.Epoch()); err != nil {
		return nil, err
	}
	return &sealedJournal{
		journal: j, dir: dir, owner: s.owner, installation: s.store.Epoch(), keys: s.keys, log: logging.Component(s.log, "journal"),
	}, nil
}

// delegate asks a process that may refresh to do it.
func (s *service) delegate(ctx context.Context, id credential.ID, rejected uint64) error {
	task, err := tasks.NewSingle(tasks.Single{ID: id, RejectedGeneration: rejected})
	if err != nil {
		return err
	}
	_, err = tasks.Enqueue(ctx, s.queue, task)
	return err
}

// clientRecovered has what a provider's client was kept from looked at: what is
// due now, and by a sweep whatever the due index lacks.
func (s *service) clientRecovered(provider string) {
	if plan := s.scheduler.Load(); plan != nil {
		plan.Nudge()
	}
	s.sharedSweep(provider, tasks.WhyClientRecovered)
}

func (s *service) clientRetuned(provider string) { s.sharedSweep(provider, tasks.WhyClientRetuned) }

// policyChanged has the credentials of a provider seen to, which live by other
// settings. Each process that loads settings asks for a sweep of its own: one that
// another asked for may be made by a third that goes by the old ones still.
func (s *service) policyChanged(provider string) {
	task, err := tasks.NewOwnExtra(provider, tasks.SweepWithin)
	s.sweep(provider, tasks.WhySettings, task, err)
}

// due has what is due now looked for at once.
func (s *service) due() {
	if plan := s.scheduler.Load(); plan != nil {
		plan.Glance()
	}
}

// sharedSweep has every credential of a provider looked at, so that refreshes
// which were held back are due at once. Processes that ask for the same reason
// within seconds get one.
func (s *service) sharedSweep(provider string, why tasks.Why) {
	task, err := tasks.NewExtra(provider, why, s.clock.Now().Time(), tasks.SweepWithin)
	s.sweep(provider, why, task, err)
}

// sweep enqueues the task for an extra sweep, whichever roles this process has: it
// is made by any that works.
func (s *service) sweep(provider string, why tasks.Why, task *asynq.Task, err error) {
	added := false
	if err == nil {
		added, err = tasks.Enqueue(context.Background(), s.queue, task)
	}
	log := logging.Component(s.log, "app").With().Str("provider", provider).Str("why", string(why)).Logger()
	switch {
	case err != nil:
		log.Warn().Err(err).Msg("no extra sweep; the periodic one will come")
	case added:
		log.Info().Msg("extra sweep enqueued")
	}
}

// openEvents follows the event log and builds what hears of it.
func (s *service) openEvents(ctx context.Context) error {
	log := logging.Component(s.log, "event")
	s.events = event.NewLog(logStore{s.store, &s.lost}, log)
	s.openSignals()
	s.outlet = outlet{
		client: delivery.NewClient(func() []netip.Prefix { return s.conf.Load().Network.Allow }),
		source: s.source(), userAgent: "refreshd/" + s.opts.Version,
		signals: s.transmitter,
	}
	s.deliverer = delivery.New(delivery.Options{
		Log: s.events, Lanes: lanes{s.store}, Subscriptions: subscriptions{s.store}, Gaps: subscriptions{s.store}, Queue: s.queue,
		Retention: s.conf.Load().Events.Retention, Now: s.clock.Now,
		Logger: logging.Component(s.log, "delivery"), Registerer: s.registry,
	})
	list, err := s.outlet.subscribed(s.conf.Load())
	if err != nil {
		return err
	}
	s.openSubscribers()
	if err := s.subscribers.configure(ctx, s.conf.Load(), list); err != nil {
		return err
	}
	if err := s.openStreams(ctx, s.conf.Load()); err != nil {
		return err
	}
	s.events.Listen(s.engine)
	if err := s.events.Start(ctx); err != nil {
		return err
	}
	s.life.add("event log", func(context.Context) error { s.events.Stop(); return nil })
	s.deliverer.Start()
	s.life.add("deliveries", func(context.Context) error { s.deliverer.Stop(); return nil })
	s.subscribers.book.Start()
	s.life.add("subscriptions", func(context.Context) error { s.subscribers.book.Stop(); return nil })
	return nil
}

// openSubscribers makes the book of who is told of events.
func (s *service) openSubscribers() {
	log := logging.Component(s.log, "subscription")
	s.subscribers = &subscribers{outlet: s.outlet, deliverer: s.deliverer, store: s.store, log: log}
	s.subscribers.book = subscription.NewBook(subscription.Options{
		Store: storedSubscriptions{s.store, s.engine, log}, Apply: s.subscribers.apply, Now: s.clock.Now, Log: log,
		Rules: func() subscription.Rules {
			conf := s.conf.Load()
			known := func(name string) bool { _, ok := conf.Providers[name]; return ok }
			return subscription.Rules{Allow: conf.Network.Allow, Provider: known}
		},
	})
}

// source names this event log to subscribers, who drop duplicates by source
// and ID: every replica has the same one.
func (s *service) source() string { return "urn:refreshd:" + s.store.Epoch() }

// recover replays what dead processes left, before anything is served.
func (s *service) recover(ctx context.Context) error {
	s.life.add("refreshes", s.engine.Stop)
	return s.engine.Start(ctx)
}

// startWork starts the scheduler and the worker, as far as they are this
// process's roles.
func (s *service) startWork(ctx context.Context) error {
	if s.opts.Roles.Worker {
		client := s.redis.QueueClient()
		pool, err := worker.New(worker.Options{
			NewServer: func(conf asynq.Config) *asynq.Server { return asynq.NewServerFromRedisClient(client, conf) },
			Refresher: s.engine, Deliverer: s.deliverer, Walker: s.store, Verifier: s.engine, Tuner: s.engine, Slots: fetchSlots{s.store},
			Clock: s.clock, Owner: s.owner, Shards: s.store.Shards(), ShutdownTimeout: longestAttempt(s.conf.Load()),
			AsynqLog: logging.NewAsynq(s.log), Logger: logging.Component(s.log, "worker"), Registerer: s.registry,
		})
		if err != nil {
			return fmt.Errorf("worker: %w", err)
		}
		s.life.add("worker", pool.Stop)
		if err := pool.Start(); err != nil {
			return fmt.Errorf("worker: %w", err)
		}
	}
	if !s.opts.Roles.Scheduler {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.readClock(ctx)
		}()
		s.life.add("clock", func(context.Context) error { cancel(); <-done; return nil })
		return nil
	}
	inspector := asynq.NewInspectorFromRedisClient(s.redis.QueueClient())
	plan := scheduler.New(scheduler.Options{ //nolint:contextcheck // its loops live until it is stopped
		Index: s.store, Capacity: s.engine, Account: s.store, RecoverWithin: s.engine.RecoverWithin, Queue: s.queue, Depth: s.queue, Tasks: inspector, Slots: slotStates{s.store},
		Log: s.store, Clock: s.clock, Shards: s.store.Shards(), Retention: s.conf.Load().Events.Retention,
		Logger: logging.Component(s.log, "scheduler"), Registerer: s.registry,
	})
	s.life.add("scheduler", func(context.Context) error { plan.Stop(); return nil })
	plan.SetSchedules(schedulesOf(s.conf.Load())) //nolint:contextcheck // as above
	plan.Start()                                  //nolint:contextcheck // as above
	s.scheduler.Store(plan)
	return nil
}

// tuneSessions has all sessions seen to: the settings may be others than those of
// before the start.
func (s *service) tuneSessions(context.Context) error {
	for name, set := range s.conf.Load().Providers {
		if set.Session.IdleTimeout > 0 {
			s.policyChanged(name) //nolint:contextcheck // the same as of a reload, which has none
		}
	}
	return nil
}

// readClock keeps the clock of a process without a scheduler.
func (s *service) readClock(ctx context.Context) {
	ticker := time.NewTicker(clockEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if _, err := s.clock.Sync(ctx); err != nil && ctx.Err() == nil {
			log := logging.Component(s.log, "app")
			log.Warn().Err(err).Msg("the clock of Redis cannot be read, again in a moment")
		}
	}
}

func schedulesOf(conf *config.Config) map[string]schedule.Schedule {
	all := make(map[string]schedule.Schedule, len(conf.Providers))
	for name, set := range conf.Providers {
		all[name] = set.Fetch
		if set.Fetch.IsZero() {
			all[name] = conf.Schedule.Fetch
		}
	}
	return all
}

// alive is what the watchdog asks: whether the locks that every call needs can
// still be taken. Redis is not asked. Its outage is no reason to be killed, also
// one in which it takes connections and says nothing: tokens go on being served
// from memory, and a new process would have none.
func (s *service) alive() { s.engine.Serving() }
