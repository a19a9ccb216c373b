package refresh

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
)

const (
	acme = "acme"
	life = time.Hour
	// mark is part of every secret of a test: none of it may be logged.
	mark = "s3cr3t-"
	// patience bounds waits for what happens in microseconds.
	patience = time.Minute
)

// bundle is one installation: a store, a provider, and what engines share.
type bundle struct {
	t        *testing.T
	mini     *miniredis.Miniredis
	client   *redis.Client
	keys     *seal.Keyset
	dir      string // of the journals
	clock    *fakeClock
	provider *fakeProvider
	policy   credential.Policy
	log      *logSink
	run      atomic.Value // string: the run of the store
	written  sync.Map     // what the journals of writes hold
	nodes    []*node
}

// journals looks at a folder of journals.
type journals struct {
	dir, place string

	blind *atomic.Bool // no journal can be opened, if set
}

func (j journals) Place() string { return j.place }

func (j journals) Owners() ([]string, error) {
	if j.blind != nil && j.blind.Load() {
		return nil, syscall.EMFILE
	}
	return journal.Owners(j.dir)
}

func (j journals) Look(owner string) (there, locked bool, err error) {
	if j.blind != nil && j.blind.Load() {
		return false, false, syscall.EMFILE
	}
	locked, there, err = journal.Alive(j.dir, owner)
	return there, locked, err
}

// fakeClock is the store's clock and the machine's. It moves when told to.
type fakeClock struct {
	mini *miniredis.Miniredis
	mu   sync.Mutex
	now  time.Time
	boot time.Duration
}

func (c *fakeClock) Now() credential.Millis {
	c.mu.Lock()
	defer c.mu.Unlock()
	return credential.At(c.now)
}

func (c *fakeClock) Boot() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.boot = c.now.Add(d), c.boot+d
	c.mini.SetTime(c.now)
}

// logSink collects what is logged.
type logSink struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logSink) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logSink) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// node is one process of the installation.
type node struct {
	*Engine

	t       *testing.T
	owner   string
	store   *faultyStore
	journal *testJournal
	file    *journal.Journal
	stopped bool
}

func setup(t *testing.T) *bundle {
	t.Helper()
	m := miniredis.NewMiniRedis()
	require.NoError(t, m.Start())
	t.Cleanup(m.Close)
	client := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	keys, _, err := seal.Open(filepath.Join(t.TempDir(), "keyset.json"), seal.Options{})
	require.NoError(t, err)
	clock := &fakeClock{mini: m, now: time.UnixMilli(1_800_000_000_000).UTC(), boot: time.Hour}
	clock.advance(0)
	b := &bundle{
		t: t, mini: m, client: client, keys: keys, dir: filepath.Join(t.TempDir(), "journal"), clock: clock,
		provider: newFakeProvider(),
		policy: credential.Policy{
			RefreshAt: 0.66, Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0),
		},
		log: new(logSink),
	}
	b.run.Store("first run")
	t.Cleanup(func() {
		for _, n := range b.nodes {
			n.stop()
		}
		if strings.Contains(b.log.String(), mark) {
			t.Error("a secret was logged")
		}
	})
	return b
}

// node returns a process whose recovery passes are run by the test, with
// [Engine.tick].
func (b *bundle) node(owner string, with ...func(*Options)) *node {
	b.t.Helper()
	n := b.unstarted(owner, with...)
	n.commits.start(&n.loops)
	n.touches.start(&n.loops)
	n.revoker.start(&n.loops)
	require.NoError(b.t, n.barrier.pass(b.t.Context()))
	return n
}

func (b *bundle) unstarted(owner string, with ...func(*Options)) *node {
	b.t.Helper()
	opts := Options{
		Folder: journals{dir: b.dir, place: b.dir}, Clock: b.clock, Owner: owner, Shards: 1,
		Log: zerolog.New(b.log), Metrics: NewMetrics(prometheus.NewRegistry()),
		Loss: func() time.Duration { return 0 }, Silence: 5 * time.Second, Quarantine: 10 * time.Minute, OfflineReads: -1,
	}
	for _, set := range with {
		set(&opts)
	}
	folder := opts.Folder.(journals) //nolint:errcheck,forcetypeassert // no test has another kind
	under, err := store.New(b.t.Context(), store.Options{
		Client: b.client, Keyset: b.keys, Owner: owner, Memory: true,
		Place: folder.place,
		RunID: func(context.Context) (string, error) { return b.run.Load().(string), nil }, //nolint:errcheck,forcetypeassert // only strings are stored
	})
	require.NoError(b.t, err)
	file, err := journal.Create(folder.dir, owner, journal.Options{MaxReply: 4 << 10, SegmentSize: 64 << 10})
	require.NoError(b.t, err)
	n := &node{
		t: b.t, owner: owner, file: file,
		store:   &faultyStore{Store: under, refused: make(chan struct{}, 10_000), began: make(chan struct{}, 10_000)},
		journal: &testJournal{file: file, dir: folder.dir, owner: owner, written: &b.written},
	}
	opts.Store, opts.Registry, opts.Runs, opts.Permits, opts.Claims = n.store, n.store, n.store, n.store, n.store
	opts.Resting, opts.Sessions, opts.Journal = n.store, n.store, n.journal
	n.Engine = New(opts)
	n.SetTargets(b.t.Context(), []Target{b.target()})
	b.nodes = append(b.nodes, n)
	return n
}

func (b *bundle) target() Target {
	return Target{Name: acme, Policy: b.policy, Exchanger: b.provider, Settings: "first"}
}

// stop ends a process in good order, once.
func (n *node) stop() {
	n.t.Helper()
	if n.stopped {
		return
	}
	n.stopped = true
	n.store.heal()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(n.t, n.Stop(ctx))
	require.NoError(n.t, n.file.Close())
}

// die ends a process as kill -9 does: nothing that it does from now on reaches
// the store or the journal, and its journal's lock is free. let frees what it
// waits for, so that its goroutines end.
func (n *node) die(let ...func()) {
	n.t.Helper()
	n.stopped = true
	n.store.set(func(s *faultyStore) { s.away = true })
	require.NoError(n.t, n.file.Close())
	for _, f := range let {
		f()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = n.Stop(ctx) // what it could not store is what the test is about
}

// inJournal reads what an heir would find in the process's journal now. A
// change behind all others makes sure that everything before it was written.
func (n *node) inJournal() journal.Records {
	n.t.Helper()
	fence := journal.Change{Nonce: newNonce(), ID: "fence", Kind: journal.Delete}
	require.NoError(n.t, n.file.Change(n.t.Context(), fence))
	dir := n.t.TempDir()
	require.NoError(n.t, os.CopyFS(dir, os.DirFS(n.journal.dir)))
	n.file.Drop(fence.Nonce)
	found, err := journal.Adopt(dir, "heir")
	require.NoError(n.t, err)
	var records journal.Records
	for _, dead := range found {
		require.NoError(n.t, dead.Release())
		if dead.Owner == n.owner {
			records = dead.Records
		}
	}
	require.NotEmpty(n.t, records.Changes, "the fence is in it")
	records.Changes = slices.DeleteFunc(records.Changes, func(c journal.Change) bool { return c.Nonce == fence.Nonce })
	return records
}

// put stores a login whose refresh token the provider accepts.
func (b *bundle) put(n *node, id credential.ID) credential.Held {
	b.t.Helper()
	put, err := n.Put(b.t.Context(), b.login(id), Expect{})
	require.NoError(b.t, err)
	return put.Held
}

func (b *bundle) login(id credential.ID) credential.Login {
	return credential.Login{ID: id, Provider: acme, Token: b.provider.grant(string(id)), ExpiresIn: life}
}

// due moves the clock to where every token of an hour is to be refreshed.
func (b *bundle) due() { b.clock.advance(life * 3 / 4) }

func (b *bundle) held(n *node, id credential.ID) credential.Held {
	b.t.Helper()
	list, err := n.store.Store.Load(b.t.Context(), id)
	require.NoError(b.t, err)
	require.NotNil(b.t, list[0], "%s is not stored", id)
	return *list[0]
}

// events returns the types of a credential's events and checks that its
// versions follow each other without a gap or a repetition.
func (b *bundle) events(n *node, id credential.ID) []credential.EventType {
	b.t.Helper()
	entries, err := n.store.Events(b.t.Context(), 0, "0", 100_000, 0)
	require.NoError(b.t, err)
	var kinds []credential.EventType
	seen := map[string]bool{}
	for _, entry := range entries {
		require.False(b.t, seen[entry.Event.EventID()], "event %s stands in the log twice", entry.Event.EventID())
		seen[entry.Event.EventID()] = true
		if entry.Event.ID == id {
			kinds = append(kinds, entry.Event.Type)
			require.EqualValues(b.t, len(kinds), entry.Event.Version, "versions of %s", id)
		}
	}
	return kinds
}

// batch refreshes ids and requires that the batch as such could be worked on.
func (b *bundle) batch(n *node, ids ...credential.ID) credential.BatchReport {
	b.t.Helper()
	report, err := n.RefreshBatch(b.t.Context(), acme, ids, "")
	require.NoError(b.t, err)
	return report
}

// soon waits for c, which is to be closed or to hold something.
func soon[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("%s did not happen", what)
		panic("unreachable")
	}
}

// result is what a call in another goroutine returned.
type result[T any] struct {
	value T
	err   error
}

// inTheAir begins a batch of alice alone, whose exchange has reached the provider and
// stays there until it is let go.
func (b *bundle) inTheAir(n *node) (done <-chan result[credential.BatchReport], let func()) {
	b.t.Helper()
	let = b.provider.holding()
	done = start(func() (credential.BatchReport, error) {
		return n.RefreshBatch(b.t.Context(), acme, []credential.ID{"alice"}, "")
	})
	soon(b.t, b.provider.entered, "the exchange")
	return done, let
}

// start calls f in another goroutine.
func start[T any](f func() (T, error)) <-chan result[T] {
	done := make(chan result[T], 1)
	go func() {
		v, err := f()
		done <- result[T]{v, err}
	}()
	return done
}
