package app

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hibiken/asynq"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/tasks"
)

// apiService tells the API how the service is.
type apiService struct{ *service }

// readyWithin bounds how long Redis is waited for when somebody asks whether the
// service is ready: it may take connections and say nothing, and an orchestrator
// does not wait long.
const readyWithin = 500 * time.Millisecond

// Ready is true while valid tokens can be served, if only from memory.
func (s apiService) Ready(ctx context.Context) api.Readiness {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	check := api.Check{Name: "redis", OK: true}
	if err := s.redis.Client().Ping(ctx).Err(); err != nil {
		check = api.Check{Name: "redis", Detail: "not reachable; tokens that this process has served go on being served from memory"}
	}
	promise := s.durable.load()
	promise.away = promise.away || !check.OK
	return api.Readiness{
		Ready:    check.OK || s.engine.Serving(),
		Checks:   []api.Check{check, promise.check()},
		Findings: promise.trouble(),
	}
}

// redisStatus describes Redis from memory.
func (s apiService) redisStatus() api.RedisStatus {
	d := s.durable.load()
	return api.RedisStatus{
		Kind: string(s.redis.Kind()), Shards: s.store.Shards(), Durability: d.words(), Level: string(d.level),
		LossSeconds: d.loss.Seconds(), FailoverLoses: d.view.FailoverLoses(), Replicas: max(len(d.view.Replicas), d.view.Durability.Replicas),
		Confirmed: !d.away && d.view.Waits().Enough, Findings: d.trouble(),
	}
}

// Status describes this process and what it works with.
func (s apiService) Status(ctx context.Context) (api.Status, error) {
	status := api.Status{
		Service: "refreshd", Version: s.opts.Version, Owner: s.owner, Roles: s.opts.Roles.names(), StartedAt: s.started.UTC(),
		Redis:     s.redisStatus(),
		Providers: []api.ProviderStatus{}, Queues: []api.QueueStatus{},
	}
	if status.Redis.Reachable = s.redis.Client().Ping(ctx).Err() == nil; !status.Redis.Reachable {
		return status, nil // the rest of it is in there
	}
	recovery, err := s.recovery(ctx)
	if err != nil {
		return api.Status{}, err
	}
	status.Recovery = &recovery
	list, err := s.Providers(ctx)
	if err != nil {
		return api.Status{}, err
	}
	schedules := schedulesOf(s.conf.Load())
	for _, one := range list {
		row := api.ProviderStatus{Provider: one}
		slot, err := s.store.Slot(ctx, tasks.SlotName(one.Name))
		if err != nil {
			return api.Status{}, err
		}
		plan := schedules[one.Name]
		row.Fetch = &api.FetchStatus{
			Schedule: plan.String(), Slot: slot.Done, Running: slot.Running != 0, Outcome: slot.Outcome,
			StartedAt: timeOf(slot.StartedAt), FinishedAt: timeOf(slot.FinishedAt), Counts: slot.Counts,
		}
		if next := plan.Next(s.clock.Now().Time()); !next.IsZero() {
			row.Fetch.NextAt = &next
		}
		status.Providers = append(status.Providers, row)
	}
	status.Queues, err = s.queues()
	return status, err
}

// Providers lists the configured providers with their breakers.
func (s apiService) Providers(ctx context.Context) ([]api.Provider, error) {
	conf := s.conf.Load()
	names := slices.Sorted(maps.Keys(conf.Providers))
	ids := make([]credential.ID, len(names))
	for i, name := range names {
		ids[i] = credential.ClientID(name)
	}
	records, err := s.store.Records(ctx, ids...)
	if err != nil {
		return nil, err
	}
	list := make([]api.Provider, len(names))
	for i, name := range names {
		list[i] = api.Provider{Name: name, Kind: conf.Providers[name].Kind}
		if records[i] == nil {
			continue
		}
		if breaker := credential.BreakerOf(records[i].Record); breaker.Open {
			list[i].Breaker = api.Breaker{
				Open: true, Reason: string(breaker.Reason), Since: timeOf(breaker.Since), ProbeAt: timeOf(breaker.ProbeAt),
			}
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
