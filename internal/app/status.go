package app

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hibiken/asynq"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/redisconn"
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
	durable := api.Check{Name: "durability", OK: check.OK, Detail: s.durability(ctx)}
	return api.Readiness{
		Ready:  check.OK || s.engine.Serving(),
		Checks: []api.Check{check, durable},
	}
}

// durability says in words what a crash of Redis can lose.
func (s apiService) durability(ctx context.Context) string {
	if s.redis.Kind() == redisconn.KindMemory {
		return "in-process store: what changed since the last snapshot is lost with the process; received tokens are in the journal"
	}
	d, err := s.redis.Durability(ctx)
	switch {
	case err != nil:
		return "unknown, Redis is not reachable"
	case d.EveryWrite():
		return "appendfsync always: an acknowledged write is on disk"
	case d.AppendOnly == "yes":
		return "appendfsync " + d.AppendFsync + ": a crash of the machine can lose the last second or more; the journal keeps received tokens meanwhile"
	case d.AppendOnly == "no":
		return "no append-only file: a crash of Redis loses what changed since its last snapshot; the journal keeps received tokens for some seconds"
	default:
		return "unknown, Redis does not say"
	}
}

// Status describes this process and what it works with.
func (s apiService) Status(ctx context.Context) (api.Status, error) {
	status := api.Status{
		Service: "refreshd", Version: s.opts.Version, Owner: s.owner, Roles: s.opts.Roles.names(), StartedAt: s.started.UTC(),
		Redis:     api.RedisStatus{Kind: string(s.redis.Kind()), Shards: s.store.Shards(), Durability: s.durability(ctx)},
		Providers: []api.ProviderStatus{}, Queues: []api.QueueStatus{},
	}
	if status.Redis.Reachable = s.redis.Client().Ping(ctx).Err() == nil; !status.Redis.Reachable {
		return status, nil // the rest of it is in there
	}
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
