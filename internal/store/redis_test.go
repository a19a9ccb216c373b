package store_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/testproc"
)

// lossy loses replies: while armed, the next one arrives and is thrown away
// with its connection.
type lossy struct {
	armed atomic.Bool
	lost  atomic.Int32
}

type lossyConn struct {
	net.Conn

	lossy *lossy
}

func (c lossyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bytes.HasPrefix(p[:n], []byte("-NOSCRIPT")) {
		return n, err // nothing was carried out yet
	}
	if err == nil && c.lossy.armed.CompareAndSwap(true, false) {
		c.lossy.lost.Add(1)
		return 0, errors.Join(io.EOF, c.Close())
	}
	return n, err
}

func (l *lossy) client(t *testing.T, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	require.NoError(t, err)
	dialer := new(net.Dialer)
	opts.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return lossyConn{conn, l}, nil
	}
	return connect(t, opts)
}

type fixture struct {
	store  *store.Store
	client *redis.Client
	now    credential.Millis
	policy credential.Policy
	nonce  func() credential.Nonce
}

func newFixture(t *testing.T, client *redis.Client) *fixture {
	t.Helper()
	s, err := store.New(t.Context(), store.Options{Client: client, Keyset: keyset(t), Owner: "self"})
	require.NoError(t, err)
	now, err := s.Now(t.Context())
	require.NoError(t, err)
	return &fixture{
		store: s, client: client, now: now, nonce: nonces(),
		policy: credential.Policy{RefreshAt: 0.66, Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0)},
	}
}

func (f *fixture) login(id credential.ID) credential.Write {
	return credential.Connect(nil, credential.Login{
		ID: id, Provider: "acme", Token: credential.Token{Access: credential.NewSecret("a"), Refresh: credential.NewSecret("r")}, ExpiresIn: time.Hour,
	}, f.policy, f.nonce(), f.now.Add(-50*time.Minute))
}

func (f *fixture) install(h credential.Held) credential.Write {
	got := credential.Received{Token: credential.Token{Access: credential.NewSecret("b"), Refresh: credential.NewSecret("s")}, SentAt: f.now, ExpiresIn: time.Hour}
	return credential.Install(h, *h.Attempt, got, f.policy, credential.BySchedule, f.now)
}

// TestLostReplies: the client sends a script again whose reply was lost, or the
// caller does. It was carried out, and must not be carried out twice.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{})
	l := new(lossy)
	f := newFixture(t, l.client(t, server.URL()))
	ctx := t.Context()
	losing := func(do func()) {
		t.Helper()
		before := l.lost.Load()
		l.armed.Store(true)
		do()
		require.Equal(t, before+1, l.lost.Load(), "no reply was lost")
	}

	apply := func(write credential.Write) {
		t.Helper()
		losing(func() {
			_, err := f.store.Apply(ctx, []credential.Write{write})
			require.Error(t, err, "whoever asks again has to know it")
			_, none := errors.AsType[*store.NotMadeError](err)
			require.False(t, none)
		})
		statuses, err := f.store.Apply(ctx, []credential.Write{write})
		require.NoError(t, err)
		require.Equal(t, []credential.Status{credential.StatusWritten}, statuses)
	}
	apply(f.login("alice"))
	losing(func() {
		claimed, err := f.store.Claim(ctx, 0, "acme", []credential.ID{"alice"}, f.nonce(), time.Minute)
		require.NoError(t, err)
		require.Equal(t, []credential.ID{"alice"}, claimed)
	})
	var begun credential.Begun
	losing(func() {
		answers, err := f.store.Begin(ctx, []credential.Begin{{ID: "alice", Nonce: f.nonce(), Owner: "self", Lasts: time.Minute}})
		require.NoError(t, err)
		begun = answers[0]
		require.NoError(t, begun.Err)
		require.Equal(t, credential.RefusedNot, begun.Refusal)
	})
	apply(f.install(begun.Held))
	entries, err := f.store.Events(ctx, 0, "0", 10, 0)
	require.NoError(t, err)
	assert.Len(t, entries, 2, "one event per version")

	session := f.policy
	session.Sessions.Idle = time.Hour
	apply(credential.Connect(nil, credential.Login{
		ID: "bob", Provider: "acme", Token: credential.Token{Access: credential.NewSecret("a")},
	}, session, f.nonce(), f.now))
	losing(func() {
		answers, err := f.store.Touch(ctx, []credential.ID{"bob"})
		require.NoError(t, err)
		require.Equal(t, store.TouchTaken, answers[0].Answer)
		held, err := f.store.Load(ctx, "bob")
		require.NoError(t, err)
		require.Equal(t, answers[0].Deadline, held[0].Record.ExpiresAt)
	})

	losing(func() {
		saved, err := f.store.SaveSigningKeys(ctx, []byte("keys"), 0)
		require.NoError(t, err)
		require.True(t, saved, "by this very call")
	})

	limits := store.Limits{Concurrency: 3}
	var lease string
	losing(func() {
		var granted int
		granted, lease, _, err = f.store.Permits(ctx, "acme", limits, 3, time.Hour)
		require.NoError(t, err)
		require.Equal(t, 3, granted)
	})
	losing(func() { require.NoError(t, f.store.ReturnPermits(ctx, "acme", lease, 1)) })
	free, _, err := f.store.FreePermits(ctx, "acme", limits, time.Second)
	require.NoError(t, err)
	assert.Equal(t, 1, free, "returned once")

	holder := f.nonce()
	_, err = f.store.LanesNotify(ctx, "ui", []int{1}, []string{"0"}, []string{"0"})
	require.NoError(t, err)
	losing(func() {
		state, taken, err := f.store.LaneTake(ctx, "ui", 1, holder, time.Hour)
		require.NoError(t, err)
		require.True(t, taken)
		require.Equal(t, uint64(1), state.Want)
	})
	losing(func() {
		again, err := f.store.LaneDone(ctx, "ui", 1, holder, 1, nil)
		require.NoError(t, err)
		require.False(t, again)
	})
	failed := store.Failure{
		Delivery: store.Delivery{Event: "alice/1/00000000", Error: "gone"}, Gone: true, Schedule: []time.Duration{0, time.Hour}, ULID: f.nonce(),
	}
	_, taken, err := f.store.LaneTake(ctx, "ui", 1, holder, time.Hour)
	require.NoError(t, err)
	require.True(t, taken)
	losing(func() {
		verdict, err := f.store.LaneFail(ctx, "ui", 1, holder, failed)
		require.NoError(t, err)
		require.True(t, verdict.Disabled)
	})
	list, err := f.store.Deliveries(ctx, "ui", 10)
	require.NoError(t, err)
	assert.Len(t, list, 1, "remembered once")
	losing(func() {
		_, err := f.store.AuditLanes(ctx, "ui")
		require.NoError(t, err)
	})
	entries, err = f.store.Events(ctx, 0, entries[len(entries)-1].Position, 10, 0)
	require.NoError(t, err)
	told := 0
	for _, entry := range entries {
		if entry.Event.Type == credential.EventSubscriptionDisabled {
			told++
		}
	}
	assert.Equal(t, 1, told, "told once")
	losing(func() {
		state, ok, err := f.store.StartSlot(ctx, "fetch", 1, "self", time.Hour)
		require.NoError(t, err)
		require.True(t, ok)
		require.Zero(t, state.Resumes)
	})
	losing(func() { require.NoError(t, f.store.FinishSlot(ctx, "fetch", 1, "self", nil, "ok")) })
}

// TestNotMade: it is said of a write that it was not made only where that is sure.
func TestNotMade(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{})
	l := new(lossy)
	client := l.client(t, server.URL())
	s, err := store.New(t.Context(), store.Options{Client: client, Keyset: keyset(t), Owner: "self", Shards: 2})
	require.NoError(t, err)
	f := &fixture{policy: credential.Policy{Times: credential.DefaultTimes(0)}, nonce: nonces()}
	ids := []credential.ID{"a", "b"}
	for s.ShardOf(ids[1]) == s.ShardOf(ids[0]) {
		ids[1] += "b"
	}
	ctx := t.Context()
	apply := func() (none bool) {
		t.Helper()
		_, err := s.Apply(ctx, []credential.Write{f.login(ids[0]), f.login(ids[1])})
		require.Error(t, err)
		return errors.As(err, new(*store.NotMadeError))
	}
	require.NoError(t, client.Do(ctx, "REPLICAOF", "127.0.0.1", "1").Err())
	assert.True(t, apply(), "a replica takes none")
	require.NoError(t, client.Do(ctx, "REPLICAOF", "NO", "ONE").Err())
	s.Pass("", "another run")
	assert.True(t, apply(), "both shards refuse it")
	l.armed.Store(true)
	assert.False(t, apply(), "one shard has refused it, of the other there is no answer")
	list, err := s.Load(ctx, ids...)
	require.NoError(t, err)
	assert.Equal(t, []*credential.Held{nil, nil}, list)
}

// TestOutOfMemory: nothing new is begun, and what is under way is stored.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	f := newFixture(t, server(t)(t))
	ctx := t.Context()
	_, err := f.store.Apply(ctx, []credential.Write{f.login("alice"), f.login("bob")})
	require.NoError(t, err)
	answers, err := f.store.Begin(ctx, []credential.Begin{{ID: "alice", Nonce: f.nonce(), Owner: "self", Lasts: time.Minute}})
	require.NoError(t, err)
	require.NoError(t, f.client.ConfigSet(ctx, "maxmemory", "1mb").Err())

	_, err = f.store.Begin(ctx, []credential.Begin{{ID: "bob", Nonce: f.nonce(), Owner: "self", Lasts: time.Minute}})
	require.ErrorContains(t, err, "OOM")
	statuses, err := f.store.Apply(ctx, []credential.Write{f.install(answers[0].Held)})
	require.NoError(t, err)
	assert.Equal(t, []credential.Status{credential.StatusWritten}, statuses)
	list, err := f.store.Load(ctx, "alice", "bob")
	require.NoError(t, err)
	assert.Equal(t, uint64(2), list[0].Record.Generation)
	assert.Nil(t, list[1].Attempt)
}

// TestScriptsFlushed: a Redis that forgot the scripts is given them again.
func TestScriptsFlushed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, server(t)(t))
	ctx := t.Context()
	for range 2 {
		require.NoError(t, f.client.ScriptFlush(ctx).Err())
		login := f.login(credential.ID("user-" + f.nonce().Short()))
		_, err := f.store.Apply(ctx, []credential.Write{login})
		require.NoError(t, err)
		require.NoError(t, f.client.ScriptFlush(ctx).Err())
		answers, err := f.store.Begin(ctx, []credential.Begin{{ID: login.Record.ID, Nonce: f.nonce(), Owner: "self", Lasts: time.Minute}})
		require.NoError(t, err)
		assert.Equal(t, credential.RefusedNot, answers[0].Refusal)
	}
}

// TestRedisGone: what cannot be asked is an error that names what was asked,
// and never hangs beyond its context.
func TestRedisGone(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{})
	opts, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	opts.MaxRetries, opts.DialerRetries = -1, 1
	f := newFixture(t, connect(t, opts))
	require.NoError(t, server.Kill())
	ctx := t.Context()
	for name, do := range map[string]func() error{
		"begin":        func() error { _, err := f.store.Begin(ctx, []credential.Begin{{ID: "a", Owner: "self"}}); return err },
		"touch":        func() error { _, err := f.store.Touch(ctx, []credential.ID{"a"}); return err },
		"apply":        func() error { _, err := f.store.Apply(ctx, []credential.Write{f.login("a")}); return err },
		"read records": func() error { _, err := f.store.Load(ctx, "a"); return err },
		"walk":         func() error { _, _, err := f.store.Walk(ctx, "", "", 10); return err },
		"list":         func() error { _, _, err := f.store.List(ctx, store.Filter{}, "", 10); return err },
		"event log":    func() error { _, err := f.store.Events(ctx, 0, "0", 10, 0); return err },
		"heartbeat":    func() error { return f.store.Beat(ctx, "", 0, "") },
	} {
		require.ErrorContains(t, do(), name)
	}
}
