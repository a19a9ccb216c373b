package app

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hibiken/asynq"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/tasks"
)

// apiService tells the API how the service is.
type apiService struct{ *service }

// readyWithin bounds how long Redis is waited for when somebody asks whether the
// service is ready: it may take connections and say nothing, and an orchestrator
// does not wait long.
const readyWithin = 500 * time.Millisecond

// statusWithin bounds how long Redis is waited for when somebody asks how the
// service is.
const statusWithin = 2 * time.Second

// Ready is true while valid tokens can be served, if only from memory.
func (s apiService) Ready(ctx context.Context) api.Readiness {
	promise := s.promises.Load()
	check := api.Check{Name: "redis", OK: s.reachable(ctx, readyWithin)}
	if !check.OK {
		promise.Away = true
		check.Detail = "not reachable since " + s.awaySince(promise).Format(time.RFC3339) + "; tokens that this process has served go on being served from memory"
	} else if gone := s.installationFinding(); gone != nil {
		check.OK, check.Detail = false, gone.What+": "+gone.Consequence+"; "+gone.Remedy
	}
	return api.Readiness{
		Ready:    check.OK || s.engine.Serving(),
		Checks:   []api.Check{check, durabilityCheck(promise)},
		Findings: s.trouble(promise),
	}
}

func (s apiService) reachable(ctx context.Context, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return s.redis.Client().Ping(ctx).Err() == nil
}

// awaySince is when Redis was first found to be away; now, where that is news.
func (s apiService) awaySince(p redisconn.Promise) time.Time {
	if p.AwaySince.IsZero() {
		return time.Now().UTC()
	}
	return p.AwaySince.UTC()
}

// redisStatus describes Redis from memory.
func (s apiService) redisStatus(p redisconn.Promise) api.RedisStatus {
	return api.RedisStatus{
		Kind: string(s.redis.Kind()), Shards: s.store.Shards(), Durability: p.Words(), Level: string(p.Level),
		LossSeconds: p.Loss.Seconds(), FailoverLoses: p.View.FailoverLoses(), Replicas: p.Connected(),
		Confirmed: p.Confirmed(), Findings: s.trouble(p),
	}
}

// Status describes this process and what it works with. While Redis is away it
// tells what is configured, and what was known a moment before.
func (s apiService) Status(ctx context.Context) (api.Status, error) {
	promise := s.promises.Load()
	status := api.Status{
		Service: "refreshd", Version: s.opts.Version, Owner: s.owner, Roles: s.opts.Roles.names(), StartedAt: s.started.UTC(),
		Redis: s.redisStatus(promise), Queues: []api.QueueStatus{}, Subscriptions: []api.SubscriptionStatus{},
	}
	if s.reachable(ctx, statusWithin) {
		err := s.describe(ctx, &status)
		if err == nil || s.reachable(ctx, statusWithin) {
			return status, err
		}
	}
	status.Redis.AwaySince = new(s.awaySince(promise))
	s.recall(&status)
	return status, nil
}

// describe fills in what Redis is asked for.
func (s apiService) describe(ctx context.Context, status *api.Status) error {
	if err := s.remember(ctx); err != nil {
		return err
	}
	queues, err := s.queues()
	if err != nil {
		return err
	}
	s.recall(status)
	status.AsOf, status.Queues, status.Redis.Reachable = nil, queues, true
	return nil
}

// known is what Redis has told of the service. It is never changed once it was
// published.
type known struct {
	at       time.Time
	recovery api.RecoveryStatus
	paused   bool // the whole service
	clients  map[string]api.Provider

	subscriptions []api.SubscriptionStatus

	unconfigured []api.UnconfiguredProvider

	slots map[string]store.SlotState
}

// remember asks Redis for what is known of the service from now on.
func (s apiService) remember(ctx context.Context) error {
	k := known{at: time.Now().UTC(), clients: map[string]api.Provider{}, slots: map[string]store.SlotState{}}
	picture, err := s.processes().Picture(ctx)
	if err != nil {
		return err
	}
	k.recovery = recoveryStatus(picture)
	if k.subscriptions, err = s.subscriptions(ctx); err != nil {
		return err
	}
	if k.unconfigured, err = s.unconfiguredNow(ctx); err != nil {
		return err
	}
	list, paused, err := s.Providers(ctx)
	if err != nil {
		return err
	}
	k.paused = paused
	for _, one := range list {
		k.clients[one.Name] = one
		if k.slots[one.Name], err = s.store.Slot(ctx, tasks.SlotName(one.Name)); err != nil {
			return err
		}
	}
	s.known.Store(&k)
	return nil
}

// recall fills in what is known, and what the configuration tells.
func (s apiService) recall(status *api.Status) {
	k := s.known.Load()
	if k == nil {
		k = &known{}
	} else {
		status.AsOf = &k.at
		recovery := k.recovery
		recovery.Gate = s.engine.Gate()
		status.Recovery = &recovery
	}
	status.Paused, status.Unconfigured = k.paused, k.unconfigured
	status.Subscriptions = append(status.Subscriptions, k.subscriptions...)
	conf := s.conf.Load()
	schedules := schedulesOf(conf)
	status.Providers = make([]api.ProviderStatus, 0, len(conf.Providers))
	for _, name := range slices.Sorted(maps.Keys(conf.Providers)) {
		plan, slot, client := schedules[name], k.slots[name], k.clients[name]
		row := api.ProviderStatus{
			Provider: api.Provider{Name: name, Kind: conf.Providers[name].Kind, Paused: client.Paused, Breaker: client.Breaker},
			Fetch: &api.FetchStatus{
				Schedule: plan.String(), Slot: slot.Done, Running: slot.Running != 0, Outcome: slot.Outcome,
				StartedAt: timeOf(slot.StartedAt), FinishedAt: timeOf(slot.FinishedAt), Counts: slot.Counts,
			},
		}
		row.TokensLive = s.engine.Brief(name).Seconds()
		now := s.clock.Now()
		if client.Hold != nil && client.Hold.Until.After(now.Time()) {
			row.Hold = client.Hold
		}
		if next := plan.Next(now.Time()); !next.IsZero() {
			row.Fetch.NextAt = &next
		}
		status.Providers = append(status.Providers, row)
	}
}

// Providers lists the configured providers with their breakers, and tells
// whether all are held back.
func (s apiService) Providers(ctx context.Context) (list []api.Provider, paused bool, err error) {
	conf := s.conf.Load()
	names := slices.Sorted(maps.Keys(conf.Providers))
	ids := make([]credential.ID, len(names), len(names)+1)
	for i, name := range names {
		ids[i] = credential.ClientID(name)
	}
	records, err := s.store.Records(ctx, append(ids, credential.ClientID(credential.AllClients))...)
	if err != nil {
		return nil, false, err
	}
	if all := records[len(names)]; all != nil {
		paused = credential.BreakerOf(all.Record).Paused
	}
	holds, err := s.store.Holds(ctx, names...)
	if err != nil {
		return nil, false, err
	}
	list = make([]api.Provider, len(names))
	for i, name := range names {
		set := conf.Providers[name]
		list[i] = api.Provider{Name: name, Kind: set.Kind}
		if set.Limits != (config.Limits{}) { // without them nobody is held
			list[i].Hold = holdOf(holds[i], s.clock.Now())
		}
		if records[i] == nil {
			continue
		}
		breaker := credential.BreakerOf(records[i].Record)
		list[i].Paused = breaker.Paused
		if breaker.Open {
			list[i].Breaker = api.Breaker{
				Open: true, Reason: string(breaker.Reason), Detail: records[i].Record.LastAttempt.Detail, Since: timeOf(breaker.Since), ProbeAt: timeOf(breaker.ProbeAt),
			}
		}
	}
	return list, paused, nil
}

// holdOf shows a hold that has not ended.
func holdOf(h store.Hold, now credential.Millis) *api.Hold {
	if h.Until <= now {
		return nil
	}
	return &api.Hold{Until: h.Until.Time(), Reason: string(h.Reason), Detail: h.Detail}
}

func (s apiService) subscriptions(ctx context.Context) ([]api.SubscriptionStatus, error) {
	all, err := apiSubscriptions(s).List(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]api.SubscriptionStatus, len(all))
	for i, one := range all {
		list[i] = api.SubscriptionStatus{
			Name: one.Name, ManagedBy: one.ManagedBy, State: one.Progress.State, Reason: one.Progress.Reason,
			Detail: one.Progress.Detail, Since: timeOf(one.Progress.Since), Lag: one.Progress.Lag.Seconds(),
		}
	}
	return list, nil
}

func (s apiService) queues() ([]api.QueueStatus, error) {
	inspector := asynq.NewInspectorFromRedisClient(s.redis.QueueClient())
	names, err := inspector.Queues()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	list := make([]api.QueueStatus, 0, len(names))
	for _, name := range names {
		info, err := inspector.GetQueueInfo(name)
		if err != nil {
			return nil, err
		}
		list = append(list, api.QueueStatus{
			Name: name, Paused: info.Paused, Pending: info.Pending, Active: info.Active,
			Waiting: info.Scheduled, Archived: info.Archived, Latency: info.Latency.Seconds(),
		})
	}
	return list, nil
}

func timeOf(m credential.Millis) *time.Time {
	if m == 0 {
		return nil
	}
	return new(m.Time())
}
