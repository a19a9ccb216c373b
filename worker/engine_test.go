package worker_test

import (
	"context"
	"io"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/refresh"
	"github.com/refreshd/refreshd/tasks"
	"github.com/refreshd/refreshd/worker"
)

// engine starts the real crash-safe refresh on the house's store.
func (h *house) engine(provider *strictProvider) *refresh.Engine {
	h.t.Helper()
	e := refresh.New(refresh.Options{
		Store: h.store, Registry: h.store, Runs: h.store, Folder: noFolder{}, Journal: &noJournal{}, Clock: h.clock, Owner: "owner", Shards: 1,
		Loss: func() time.Duration { return 0 }, Silence: time.Second,
		Log: zerolog.New(io.Discard), Metrics: refresh.NewMetrics(prometheus.NewRegistry()),
	})
	e.SetTargets(h.t.Context(), []refresh.Target{{Name: "acme", Policy: policy(), Exchanger: provider}})
	require.NoError(h.t, e.Start(h.t.Context()))
	h.t.Cleanup(func() { require.NoError(h.t, e.Stop(context.WithoutCancel(h.t.Context()))) })
	return e
}

// strictProvider rotates, and remembers what it was shown.
type strictProvider struct {
	mu     sync.Mutex
	shown  map[string]int
	sent   chan struct{} // hears of each presentation, if set
	answer chan struct{} // replies wait for it, if set
}

func (p *strictProvider) Prepare(context.Context) *credential.Outcome { return nil }

func (p *strictProvider) Revoke(context.Context, credential.Token) error { return nil }

func (p *strictProvider) UserData(context.Context, credential.Token, string, func() error) (credential.UserData, credential.Outcome) {
	return nil, credential.Outcome{Class: credential.ClassOK}
}

func (p *strictProvider) Verify(context.Context, credential.Token, string, func() error) credential.Outcome {
	return credential.Outcome{Class: credential.ClassOK}
}

func (p *strictProvider) Exchange(ctx context.Context, in credential.Presentation) credential.Outcome {
	shown := in.Token.Refresh
	if in.MaySend() != nil {
		return credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonTimeout}
	}
	p.mu.Lock()
	if p.shown == nil {
		p.shown = map[string]int{}
	}
	p.shown[shown.Reveal()]++
	p.mu.Unlock()
	if p.sent != nil {
		p.sent <- struct{}{}
	}
	if p.answer != nil {
		select {
		case <-p.answer:
		case <-ctx.Done():
			return credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout}
		}
	}
	token := credential.Token{Access: credential.NewSecret("b"), Refresh: credential.NewSecret("next-" + shown.Reveal())}
	if err := in.Keep(credential.Found{Token: token, ExpiresIn: "3600", Complete: true}); err != nil {
		return credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonNetwork}
	}
	return credential.Outcome{Class: credential.ClassOK, Token: token, ExpiresIn: time.Hour}
}

func (p *strictProvider) presentations() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.shown)
}

// noFolder has nobody's journals.
type noFolder struct{}

func (noFolder) Place() string                   { return "" }
func (noFolder) Look(string) (bool, bool, error) { return false, false, nil }
func (noFolder) Owners() ([]string, error)       { return nil, nil }

// noJournal acknowledges everything: nobody crashes here.
type noJournal struct{}

func (*noJournal) Intend(context.Context, []refresh.Intent) error { return nil }
func (*noJournal) Keep(refresh.Kept) func() error                 { return func() error { return nil } }
func (*noJournal) Note(context.Context, ...refresh.Change) error  { return nil }
func (*noJournal) Drop(...credential.Nonce)                       {}
func (*noJournal) Adopt(context.Context) ([]refresh.Dead, error)  { return nil, nil }

func (h *house) generation(id credential.ID) uint64 {
	h.t.Helper()
	list, err := h.store.Records(h.t.Context(), id)
	require.NoError(h.t, err)
	require.NotNil(h.t, list[0])
	return list[0].Record.Generation
}

// asynq may run any task twice.
func TestAsynqPitfallABatchThatRunsTwiceRefreshesOnce(t *testing.T) {
	t.Parallel()
	h := open(t)
	ids := many("c", 50)
	h.connect("acme", 50*time.Minute, ids...)
	provider := &strictProvider{}
	e := h.engine(provider)
	h.pool(h.client, prometheus.NewRegistry(), func(o *worker.Options) { o.Refresher = e })
	var queued []string
	for range 5 {
		task, err := batchOf(ids...)
		queued = append(queued, h.enqueue(task, err))
	}
	for _, id := range queued {
		h.gone(tasks.RefreshQueue(0), id)
	}
	shown := provider.presentations()
	assert.Len(t, shown, len(ids))
	for token, n := range shown {
		assert.Equal(t, 1, n, token)
	}
	for _, id := range ids {
		assert.EqualValues(t, 2, h.generation(id))
	}
}

// asynq cancels the context of a handler that runs for too long, and walks
// away from it. What was sent by then runs to its end and is stored.
func TestAsynqPitfallATaskThatTimesOutDoesNotCutOffWhatWasSent(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.connect("acme", 50*time.Minute, "alice")
	provider := &strictProvider{sent: make(chan struct{}, 1), answer: make(chan struct{})}
	e := h.engine(provider)
	reg := prometheus.NewRegistry()
	p := h.pool(h.client, reg, func(o *worker.Options) { o.Refresher = e })
	task, err := batchOf("alice")
	id := h.enqueue(task, err, asynq.Timeout(time.Second))
	<-provider.sent
	h.archived(tasks.RefreshQueue(0), id) // asynq has walked away
	assert.Equal(t, 1, testutil.CollectAndCount(reg, "refreshd_tasks_archived_total"))
	assert.EqualValues(t, 1, h.generation("alice"))
	stopped := make(chan error)
	go func() { stopped <- p.Stop(t.Context()) }()
	close(provider.answer)
	require.NoError(t, <-stopped, "the pool waits for the handler that asynq has left")
	assert.EqualValues(t, 2, h.generation("alice"))
	assert.Equal(t, map[string]int{"first-alice": 1}, provider.presentations())
}

func TestASingleRefreshOfARejectedGenerationIsMadeOnce(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.connect("acme", 0, "alice")
	provider := &strictProvider{}
	e := h.engine(provider)
	h.pool(h.client, prometheus.NewRegistry(), func(o *worker.Options) { o.Refresher = e })
	for range 3 {
		task, err := tasks.NewSingle(tasks.Single{ID: "alice", RejectedGeneration: 1})
		h.gone(tasks.QueueSingle, h.enqueue(task, err))
	}
	assert.Equal(t, map[string]int{"first-alice": 1}, provider.presentations())
}
