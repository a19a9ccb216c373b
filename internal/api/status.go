package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Readiness tells whether valid tokens can be served, if only from memory.
type Readiness struct {
	Ready  bool    `json:"ready"`
	Checks []Check `json:"checks" nullable:"false"`
	// Findings are what is not as it should be, the worst first.
	Findings []Finding `json:"findings,omitempty" nullable:"false"`
}

// Finding is one thing that an operator should know, and what to do about it.
type Finding struct {
	Topic       string `json:"topic" example:"eviction"`
	Severity    string `json:"severity" enum:"ok,warn,fail"`
	What        string `json:"what" doc:"Is the case" example:"maxmemory-policy allkeys-lru"`
	Consequence string `json:"consequence,omitempty" doc:"Of it"`
	Remedy      string `json:"remedy,omitempty" doc:"What to do"`
}

// Check is one thing that readiness depends on, or that is worth knowing.
type Check struct {
	Name   string `json:"name" example:"redis"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty" doc:"For people"`
}

// Status is how this process and what it works with are.
type Status struct {
	Service       string                 `json:"service" example:"refreshd"`
	Version       string                 `json:"version"`
	Owner         string                 `json:"owner" doc:"This process: a new one at every start"`
	Roles         []string               `json:"roles" nullable:"false" doc:"What it does: api, scheduler, worker"`
	StartedAt     time.Time              `json:"started_at"`
	Paused        bool                   `json:"paused" doc:"The whole service is held back: no provider is sent anything, tokens are served while they live"`
	Redis         RedisStatus            `json:"redis"`
	AsOf          *time.Time             `json:"as_of,omitempty" doc:"Only while Redis is away: when it told of recovery and providers as they are shown, but for the gate and what is configured"`
	Recovery      *RecoveryStatus        `json:"recovery,omitempty" doc:"Absent where Redis has not told of it yet"`
	Providers     []ProviderStatus       `json:"providers" nullable:"false"`
	Unconfigured  []UnconfiguredProvider `json:"unconfigured_providers,omitempty" nullable:"false" doc:"Those that live credentials belong to and that the configuration does not have, as of the last start or reload: their credentials are kept as they are, and not refreshed"`
	Subscriptions []SubscriptionStatus   `json:"subscriptions" nullable:"false" doc:"Who is told of events, and how that does"`
	Queues        []QueueStatus          `json:"queues" nullable:"false" doc:"None while Redis, which has them, is away"`
}

// RedisStatus tells what keeps the data.
type RedisStatus struct {
	Kind       string `json:"kind" doc:"What it is and who runs it" example:"external"`
	Durability string `json:"durability" doc:"What a crash can lose" example:"appendfsync always"`
	Shards     int    `json:"shards"`
	Reachable  bool   `json:"reachable"`

	AwaySince *time.Time `json:"away_since,omitempty" doc:"When this process first found that it does not answer; what stands here is as of before"`

	Level         string    `json:"level,omitempty" doc:"What becomes of acknowledged writes in a crash: every_write, every_second, system, snapshots, in_process, memory, unknown" example:"every_write"`
	LossSeconds   float64   `json:"loss_window_seconds" doc:"How old a write must be so that no crash and no failover takes it back"`
	FailoverLoses bool      `json:"failover_loses_writes,omitempty" doc:"A replica may take over that lacks the last writes"`
	Replicas      int       `json:"replicas,omitempty" doc:"Connected, whether they keep up or not"`
	Confirmed     bool      `json:"begin_confirmed,omitempty" doc:"Each refresh waits until its beginning can neither be lost in a crash nor in a failover"`
	Findings      []Finding `json:"findings,omitempty" nullable:"false" doc:"What is not as it should be, the worst first"`
}

// RecoveryStatus tells who works on this Redis, and what they have not finished.
type RecoveryStatus struct {
	Gate      string          `json:"gate" enum:"open,begins_closed,closed" doc:"What this process lets pass. Closed: nothing is stored until it has put back what it knows into a run of Redis that may lack the last writes. Begins closed: no refresh is begun until everybody has"`
	Settled   bool            `json:"settled" doc:"Everyone has put back what they knew into this run of Redis. Otherwise it may lack the last writes, and refreshes may wait"`
	Open      int             `json:"open_attempts" doc:"Refreshes under way, or whose process has died"`
	InDoubt   int             `json:"in_doubt" doc:"Of these, the ones that were sent and whose reply is unknown"`
	Processes []ProcessStatus `json:"processes" nullable:"false"`
}

// ProcessStatus is one process that works on this Redis, or has.
type ProcessStatus struct {
	Owner   string `json:"owner"`
	Self    bool   `json:"self,omitempty" doc:"It is the one that answers"`
	Listed  bool   `json:"listed" doc:"It has a heartbeat. One without has died and left attempts open"`
	Journal bool   `json:"journal" doc:"It refreshes, and has a journal"`
	Ready   bool   `json:"ready" doc:"It has put back what it knows into this run of Redis, and its heartbeat moves"`

	SilentSeconds float64 `json:"silent_seconds" doc:"Since its heartbeat last moved, as the process that answers saw it; one that lives moves it every second"`
	Silent        bool    `json:"silent,omitempty" doc:"For recovery.silence or longer: it is stopped, cut off from Redis, or dead"`

	Here   bool `json:"here,omitempty" doc:"It is of the machine of the one that answers, and shares its data_dir"`
	Locked bool `json:"locked,omitempty" doc:"Its journal there is locked: it lives, if only stopped, or another process has its journal, which is kept after its death until Redis cannot lose any more what came of it"`

	Open    int `json:"open_attempts"`
	InDoubt int `json:"in_doubt,omitempty" doc:"Of these, the ones that were sent and whose reply is unknown. If all are, of a process that is not listed, its death is proven"`
}

// Provider is one configured provider.
type Provider struct {
	Name    string  `json:"name" example:"github"`
	Kind    string  `json:"kind" example:"oauth2"`
	Paused  bool    `json:"paused" doc:"It is held back: nothing is sent to it. The whole service may be held back as well, which stands in the status"`
	Breaker Breaker `json:"breaker"`
	Hold    *Hold   `json:"hold,omitempty" doc:"Absent while the provider takes calls: it has answered 429 with a Retry-After, or the like, and nothing is sent to it until then"`
}

// Hold is what a provider has asked for that has had too many calls.
type Hold struct {
	Until  time.Time `json:"until" doc:"When it is called again by itself: what it asked for and a tenth longer at the most, and no more than 15 minutes and that tenth"`
	Reason string    `json:"reason,omitempty" example:"rate_limited"`
	Detail string    `json:"detail,omitempty" doc:"Status and error code as the provider gave them" example:"HTTP 429"`
}

// Breaker is open while the provider refuses refreshd's own client: no
// credential is to blame then, and only probes are sent.
type Breaker struct {
	Open    bool       `json:"open"`
	Reason  string     `json:"reason,omitempty"`
	Detail  string     `json:"detail,omitempty" doc:"Status and error code as the provider gave them" example:"HTTP 404"`
	Since   *time.Time `json:"since,omitempty"`
	ProbeAt *time.Time `json:"probe_at,omitempty" doc:"When the next probe may go out"`
}

// ProviderStatus is a provider and how its periodic fetch does.
type ProviderStatus struct {
	Provider

	Fetch       *FetchStatus     `json:"fetch,omitempty" doc:"Absent before the first one"`
	TokensLive  float64          `json:"tokens_live_seconds,omitempty" doc:"How long its tokens live, as this process has read it; absent unless that is shorter than schedule.min_interval: its unit may be another"`
	Credentials map[string]int64 `json:"credentials,omitempty" doc:"Credentials by state, where they are counted"`
}

// UnconfiguredProvider is one that the configuration does not have, and that live
// credentials belong to.
type UnconfiguredProvider struct {
	Name        string `json:"name" example:"github"`
	Credentials int    `json:"credentials" doc:"Those that time would bring something if it were there" example:"3"`
}

// FetchStatus is the state of a provider's periodic fetch.
type FetchStatus struct {
	Schedule   string           `json:"schedule" example:"@every 15m"`
	Slot       int64            `json:"slot" doc:"Number of the slot that was done last"`
	Running    bool             `json:"running"`
	Outcome    string           `json:"outcome,omitempty" doc:"How the last one ended" example:"finished"`
	StartedAt  *time.Time       `json:"started_at,omitempty"`
	FinishedAt *time.Time       `json:"finished_at,omitempty"`
	NextAt     *time.Time       `json:"next_at,omitempty"`
	Counts     map[string]int64 `json:"counts,omitempty" doc:"What it came across"`
}

// SubscriptionStatus is how one subscription does.
type SubscriptionStatus struct {
	Name      string     `json:"name" example:"ui"`
	ManagedBy ManagedBy  `json:"managed_by" enum:"api,config"`
	State     string     `json:"state" enum:"active,waiting,disabled,off,deleted"`
	Reason    string     `json:"reason,omitempty" doc:"Why it is disabled"`
	Detail    string     `json:"detail,omitempty" doc:"What the last delivery came to"`
	Since     *time.Time `json:"since,omitempty"`
	Lag       float64    `json:"lag_seconds" doc:"Age of the oldest event that is not delivered"`
}

// QueueStatus is one queue of tasks.
type QueueStatus struct {
	Name     string  `json:"name" example:"refresh-00"`
	Paused   bool    `json:"paused"`
	Pending  int     `json:"pending"`
	Active   int     `json:"active"`
	Waiting  int     `json:"scheduled"`
	Archived int     `json:"archived"`
	Latency  float64 `json:"latency_seconds" doc:"Age of the oldest pending task"`
}

func (a *API) statusRoutes() {
	define(a, route{
		method: http.MethodGet, path: "/healthz", id: "get-health", tag: tagService, public: true,
		summary: "Is the process alive", description: "Needs no key.",
	}, func(context.Context, *struct{}) (*healthOut, error) {
		out := &healthOut{}
		out.Body.Status = "ok"
		return out, nil
	})
	define(a, route{
		method: http.MethodGet, path: "/readyz", id: "get-readiness", tag: tagService, public: true,
		summary: "Can valid tokens be served", description: "200 if so, if only from memory; else 503. Needs no key.",
		responses: map[string]*huma.Response{"503": a.answer("Service Unavailable", Readiness{})},
	}, a.getReadiness)
	define(a, route{
		method: http.MethodGet, path: "/v1/status", id: "get-status", tag: tagService, needs: []Scope{ScopeAdmin},
		summary: "How the service is", description: "This process, its Redis, the providers and the queues.",
	}, func(ctx context.Context, _ *struct{}) (*statusOut, error) {
		status, err := a.service.Status(ctx)
		if err != nil {
			return nil, err
		}
		return &statusOut{Body: status}, nil
	})
	define(a, route{
		method: http.MethodGet, path: "/v1/providers", id: "list-providers", tag: tagService,
		summary: "List the configured providers", description: "And whether their clients are held back, by hand, by their breaker or by what the provider has asked for. Any key will do.",
	}, a.listProviders)
}

type healthOut struct {
	Body struct {
		Status string `json:"status" enum:"ok"`
	} `nameHint:"Health"`
}

type readinessOut struct {
	Status int
	Body   Readiness
}

func (a *API) getReadiness(ctx context.Context, _ *struct{}) (*readinessOut, error) {
	out := &readinessOut{Status: http.StatusOK, Body: a.service.Ready(ctx)}
	if !out.Body.Ready {
		out.Status = http.StatusServiceUnavailable
	}
	return out, nil
}

type statusOut struct {
	Body Status
}

type providersOut struct {
	Body struct {
		Paused    bool       `json:"paused" doc:"The whole service is held back"`
		Providers []Provider `json:"providers" nullable:"false"`
	} `nameHint:"ProviderList"`
}

func (a *API) listProviders(ctx context.Context, _ *struct{}) (*providersOut, error) {
	list, paused, err := a.service.Providers(ctx)
	if err != nil {
		return nil, err
	}
	out := &providersOut{}
	out.Body.Paused = paused
	out.Body.Providers = append(make([]Provider, 0, len(list)), list...)
	return out, nil
}
