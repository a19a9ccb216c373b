package scheduler

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/tasks"
)

var errAway = errors.New("redis is away")

// fakeClock is the store's clock: package time's, which synctest drives, plus
// whatever it was made to jump by.
type fakeClock struct {
	mu    sync.Mutex
	ahead time.Duration // of package time
	told  time.Duration // what Sync has told of it
	err   error
}

func (c *fakeClock) Now() credential.Millis {
	c.mu.Lock()
	defer c.mu.Unlock()
	return credential.At(time.Now().Add(c.ahead))
}

func (c *fakeClock) Sync(context.Context) (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	step := c.ahead - c.told
	c.told = c.ahead
	return step, nil
}

func (c *fakeClock) jump(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += by
}

func (c *fakeClock) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// fakeIndex is a due index of one shard, with the atomic claims of the real
// one.
type fakeIndex struct {
	clock Clock

	mu       sync.Mutex
	scores   map[string]map[credential.ID]credential.Millis
	expires  map[credential.ID]credential.Millis
	clocks   map[credential.ID]credential.Millis // when time alone brings something
	sent     map[credential.ID]credential.Millis // whose refresh token is in doubt
	sessions map[credential.ID]bool
	claims   map[credential.Nonce][]credential.ID
	claimed  map[credential.ID][]credential.Millis // when each was claimed
	released []credential.ID
	looks    int
	pages    int // read of the index
	records  int // and how many records
	loseNext int // how many answers of Claim get lost
	fail     map[string]error
}

func newFakeIndex(clock Clock) *fakeIndex {
	return &fakeIndex{
		clock: clock, scores: map[string]map[credential.ID]credential.Millis{}, expires: map[credential.ID]credential.Millis{},
		claims: map[credential.Nonce][]credential.ID{}, claimed: map[credential.ID][]credential.Millis{}, fail: map[string]error{},
	}
}

func (f *fakeIndex) add(provider string, at credential.Millis, ids ...credential.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.scores[provider] == nil {
		f.scores[provider] = map[credential.ID]credential.Millis{}
	}
	for _, id := range ids {
		f.scores[provider][id] = at
	}
}

// done takes out what a worker has refreshed.
func (f *fakeIndex) done(ids ...credential.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		for _, scores := range f.scores {
			delete(scores, id)
		}
	}
}

func (f *fakeIndex) NextDue(_ context.Context, _ int, provider string) (credential.Millis, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	if err := f.fail[provider]; err != nil {
		return 0, false, err
	}
	var first credential.Millis
	for _, at := range f.scores[provider] {
		if first == 0 || at < first {
			first = at
		}
	}
	return first, first != 0, nil
}

func (f *fakeIndex) Overdue(_ context.Context, _ int, provider string, from, till credential.Millis, skip, most int) ([]credential.Overdue, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pages++
	if err := f.fail[provider]; err != nil {
		return nil, err
	}
	var list []credential.Overdue
	for id, at := range f.scores[provider] {
		if from <= at && at <= till {
			list = append(list, credential.Overdue{ID: id, Due: at})
		}
	}
	slices.SortFunc(list, func(a, b credential.Overdue) int {
		return cmp.Or(cmp.Compare(a.Due, b.Due), cmp.Compare(a.ID, b.ID))
	})
	list = list[min(skip, len(list)):]
	return list[:min(len(list), most)], nil
}

func (f *fakeIndex) Expiries(_ context.Context, _ int, list []credential.Overdue) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.records += len(list)
	for i, o := range list {
		list[i].ExpiresAt, list[i].FirstSent, list[i].Clock = f.expires[o.ID], f.sent[o.ID], f.clocks[o.ID]
		list[i].Session = f.sessions[o.ID]
	}
	return nil
}

func (f *fakeIndex) Claim(_ context.Context, _ int, provider string, ids []credential.ID, nonce credential.Nonce, lasts time.Duration) ([]credential.ID, error) {
	now := f.clock.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	mine, again := f.claims[nonce]
	if !again {
		for _, id := range ids {
			if at, ok := f.scores[provider][id]; ok && at <= now {
				f.scores[provider][id] = now.Add(lasts)
				f.claimed[id] = append(f.claimed[id], now)
				mine = append(mine, id)
			}
		}
		f.claims[nonce] = mine
	}
	if f.loseNext > 0 {
		f.loseNext--
		return nil, errAway
	}
	return mine, nil
}

func (f *fakeIndex) Release(_ context.Context, provider string, ids []credential.ID, at credential.Millis) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		f.scores[provider][id] = at
		f.released = append(f.released, id)
	}
	return nil
}

func (f *fakeIndex) claimsOf(id credential.ID) []credential.Millis {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.claimed[id])
}

func (f *fakeIndex) lookCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looks
}

func (f *fakeIndex) set(change func(*fakeIndex)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// fakeQueue is a queue whose tasks are taken at once, unless it is stuck.
type fakeQueue struct {
	clock Clock

	mu      sync.Mutex
	batches []sentBatch
	stuck   bool
	waiting int // while it is stuck
	err     error
}

type sentBatch struct {
	tasks.Batch

	at credential.Millis
}

func (q *fakeQueue) EnqueueContext(ctx context.Context, task *asynq.Task, _ ...asynq.Option) (*asynq.TaskInfo, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	batch, err := tasks.DecodeBatch(task.Payload())
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return nil, q.err
	}
	q.batches = append(q.batches, sentBatch{batch, q.clock.Now()})
	if q.stuck {
		q.waiting++
	}
	return &asynq.TaskInfo{}, nil
}

func (q *fakeQueue) Waiting(context.Context, string) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting, nil
}

func (q *fakeQueue) sent() []sentBatch {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.batches)
}

// ids lists what was sent of a provider, in order.
func (q *fakeQueue) ids(provider string) []credential.ID {
	var list []credential.ID
	for _, b := range q.sent() {
		if b.Provider == provider {
			list = append(list, b.IDs...)
		}
	}
	return list
}

func (q *fakeQueue) set(change func(*fakeQueue)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change(q)
}

// capacityFunc is a Capacity.
type capacityFunc func(provider string, horizon time.Duration) (int, error)

func (f capacityFunc) Capacity(_ context.Context, provider string, horizon time.Duration) (int, error) {
	return f(provider, horizon)
}

func endless(string, time.Duration) (int, error) { return mostOverdue, nil }

// logged collects log lines.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

func (l *logged) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// bench is one dispatcher with everything around it.
type bench struct {
	clock *fakeClock
	index *fakeIndex
	queue *fakeQueue
	books *fakeAccount
	log   *logged
	d     *dispatcher
}

// noGrace is of providers that take no refresh token twice.
func noGrace(string) time.Duration { return 0 }

// newBench must be called inside a synctest bubble.
func newBench(t *testing.T, capacity capacityFunc, providers ...string) *bench {
	t.Helper()
	b := &bench{clock: &fakeClock{}, log: &logged{}, books: &fakeAccount{claims: map[string][]*reservation{}}}
	b.index = newFakeIndex(b.clock)
	b.queue = &fakeQueue{clock: b.clock}
	b.d = b.replica(capacity, providers...)
	return b
}

// replica is another dispatcher on the same index, account and queue.
func (b *bench) replica(capacity capacityFunc, providers ...string) *dispatcher {
	var out io.Writer = b.log
	d := newDispatcher(Options{
		Index: b.index, Capacity: capacity, Account: b.books, RecoverWithin: noGrace, Queue: b.queue, Depth: b.queue, Clock: b.clock,
		Shards: 1, Poll: defaultPoll, Logger: zerolog.New(out),
	}, newMetrics(prometheus.NewRegistry()))
	d.setProviders(providers)
	return d
}

// run starts loops and lets them settle. The test has to stop them before its
// bubble ends.
func run(t *testing.T, loops ...func(context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, loop := range loops {
		wg.Go(func() { loop(ctx) })
	}
	synctest.Wait()
	return func() {
		cancel()
		wg.Wait()
	}
}

func (b *bench) loop(ctx context.Context) { b.d.loop(ctx, 0) }

// elapse lets fake time pass and everything settle.
func elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func names(prefix string, n int) []credential.ID {
	list := make([]credential.ID, n)
	for i := range list {
		list[i] = credential.ID(prefix + "-" + string(rune('a'+i/676%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i%26)))
	}
	return list
}

func requireNoRepeats(t *testing.T, ids []credential.ID) {
	t.Helper()
	seen := map[credential.ID]bool{}
	for _, id := range ids {
		require.False(t, seen[id], "%s was dispatched twice", id)
		seen[id] = true
	}
}
