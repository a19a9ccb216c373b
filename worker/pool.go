package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/failpoint"
	"github.com/refreshd/refreshd/tasks"
)

const (
	defaultConcurrency = 200
	// mostInFlight bounds what one queue has in flight: asynq goes through
	// its list of active tasks for each one that is done.
	mostInFlight           = 500
	defaultShutdownTimeout = 40 * time.Second

	// An idle server asks its queues this often; asynq's default is a second.
	checkRefresh  = 25 * time.Millisecond
	checkMany     = 50 * time.Millisecond // for refresh queues, where there are many
	checkDelivery = 50 * time.Millisecond
	checkFetch    = 500 * time.Millisecond
	manyShards    = 16

	concurrentSweeps     = 4
	concurrentDeliveries = 64
)

// Pool is the servers of one process, one for each kind of queue: asynq takes
// one task per round trip and lets a full server wait, so slow tasks of one
// kind would hold up the others.
type Pool struct {
	refresher Refresher
	deliverer Deliverer
	walker    Walker
	verifier  Verifier
	tuner     Tuner
	slots     Slots
	clock     Clock
	owner     string
	log       zerolog.Logger
	metrics   *metrics
	troubles  *troubles

	servers []*asynq.Server
	running sync.WaitGroup // handlers, also those that asynq abandoned

	stopping context.Context //nolint:containedctx // the pool's own life: tells sweeps and deliveries to make way
	cancel   context.CancelCauseFunc
	once     sync.Once
	stopped  chan struct{}
}

// errStopping is the cause for which handlers are told to end.
var errStopping = errors.New("the service is stopping")

// New returns a pool and registers its metrics.
func New(opts Options) (*Pool, error) {
	if opts.Concurrency == 0 {
		opts.Concurrency = defaultConcurrency
	}
	if opts.Concurrency < 0 || opts.Concurrency >= mostInFlight {
		return nil, fmt.Errorf("%d batches at once: 1 to %d are possible, for asynq goes through the list of running tasks for each one that is done",
			opts.Concurrency, mostInFlight-1)
	}
	if opts.ShutdownTimeout <= 0 {
		opts.ShutdownTimeout = defaultShutdownTimeout
	}
	stopping, cancel := context.WithCancelCause(context.Background())
	p := &Pool{
		refresher: opts.Refresher, deliverer: opts.Deliverer, walker: opts.Walker, verifier: opts.Verifier, tuner: opts.Tuner, slots: opts.Slots,
		clock: opts.Clock, owner: opts.Owner, log: opts.Logger, metrics: newMetrics(opts.Registerer), troubles: newTroubles(opts.Logger),
		stopping: stopping, cancel: cancel, stopped: make(chan struct{}),
	}
	check := checkRefresh
	if opts.Shards >= manyShards {
		check = checkMany
	}
	p.serve(opts, opts.Concurrency, check, p.watchHealth(), tasks.RefreshQueues(opts.Shards)...)
	p.serve(opts, opts.Concurrency, checkRefresh, nil, tasks.QueueSingle)
	p.serve(opts, concurrentDeliveries, checkDelivery, nil, tasks.QueueDelivery)
	p.serve(opts, concurrentSweeps, checkFetch, nil, tasks.QueueFetch)
	return p, nil
}

// serve adds a server. Of several queues none comes first.
func (p *Pool) serve(opts Options, concurrency int, check time.Duration, health func(error), queues ...string) {
	weights := make(map[string]int, len(queues))
	for _, name := range queues {
		weights[name] = 1
	}
	p.servers = append(p.servers, opts.NewServer(asynq.Config{
		Concurrency:       concurrency,
		Queues:            weights,
		TaskCheckInterval: check,
		ShutdownTimeout:   opts.ShutdownTimeout,
		HealthCheckFunc:   health,
		ErrorHandler:      asynq.ErrorHandlerFunc(p.archived),
		Logger:            opts.AsynqLog,
	}))
}

// Start begins to take tasks and returns at once. After an error only
// [Pool.Stop] may be called.
func (p *Pool) Start() error {
	mux := asynq.NewServeMux()
	mux.HandleFunc(tasks.TypeRefreshBatch, p.handler(tasks.TypeRefreshBatch, p.refreshBatch))
	mux.HandleFunc(tasks.TypeRefreshSingle, p.handler(tasks.TypeRefreshSingle, p.refreshSingle))
	mux.HandleFunc(tasks.TypeFetchSweep, p.handler(tasks.TypeFetchSweep, p.fetchSweep))
	mux.HandleFunc(tasks.TypeDelivery, p.handler(tasks.TypeDelivery, p.deliver))
	for _, server := range p.servers {
		if err := server.Start(mux); err != nil {
			return fmt.Errorf("start of a queue's server: %w", err)
		}
	}
	return nil
}

// Stop takes no more tasks and waits for those under way: sweeps end at their
// next page and leave the rest to whoever resumes them, refreshes run on for
// the shutdown timeout and are then pushed back to the queue, while what they
// have sent still runs to its end. If ctx ends first, Stop returns an error
// and the rest ends by itself. It may be called twice, and without Start.
func (p *Pool) Stop(ctx context.Context) error {
	p.once.Do(func() {
		p.cancel(errStopping)
		go func() {
			defer close(p.stopped)
			var servers sync.WaitGroup
			for _, server := range p.servers {
				servers.Go(server.Shutdown)
			}
			servers.Wait()
			p.running.Wait()
		}()
	})
	select {
	case <-p.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("tasks are still running: %w", context.Cause(ctx))
	}
}

// handler makes asynq's handler out of ours. A task succeeds whatever came of
// it, for what it asked for is brought back by what is stored; only one that
// can never be read is refused, and so ends in the archive for people to see.
// handle tells what the task is about, for the log: a provider, a subscription.
func (p *Pool) handler(kind string, handle func(ctx context.Context, payload []byte) (about string, err error)) func(context.Context, *asynq.Task) error {
	return func(ctx context.Context, task *asynq.Task) error {
		p.running.Add(1)
		defer p.running.Done()
		started := time.Now()
		about := ""
		err := failpoint.Hit(failpoint.TaskReceived)
		if err == nil {
			about, err = handle(ctx, task.Payload())
		}
		outcome := "ok"
		if err != nil {
			outcome = "error"
		}
		p.metrics.handled(kind, outcome, time.Since(started))
		if _, malformed := errors.AsType[*tasks.PayloadError](err); malformed {
			return err
		}
		if err != nil {
			id, _ := asynq.GetTaskID(ctx)
			p.troubles.failed(subject{kind, about}, id, err)
		} else {
			p.troubles.succeeded(subject{kind, about})
		}
		_ = failpoint.Hit(failpoint.TaskDone)
		return nil
	}
}

// archived hears of tasks that asynq gives up: a payload that cannot be read,
// a panic, a handler that ran too long or whose lease was lost.
func (p *Pool) archived(ctx context.Context, task *asynq.Task, err error) {
	p.metrics.archived(task.Type(), err)
	id, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	p.log.Error().Err(err).Str("type", task.Type()).Str("task", id).Str("queue", queue).Msg("a task was given up")
}

// watchHealth logs when the queue's Redis goes away and when it is back.
func (p *Pool) watchHealth() func(error) {
	var down atomic.Bool
	return func(err error) {
		if was := down.Swap(err != nil); was == (err != nil) {
			return
		}
		if err != nil {
			p.log.Warn().Err(err).Msg("the queue cannot be reached")
		} else {
			p.log.Info().Msg("the queue can be reached again")
		}
	}
}
