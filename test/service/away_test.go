package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// reader is programs that ask each of two processes for every token all the
// time, and hold them to it: a token that a process has served is served again
// for as long as it is valid, whatever is away, and never an older one.
type reader struct {
	every time.Duration

	mu     sync.Mutex
	served map[string]harness.Token // by process and credential
	stored map[string]harness.Token // by credential: what took the place of another token
	rests  map[string]bool          // not read for now
	ended  map[string]bool          // logged out a while ago: nothing is served any more
	reads  int
	kept   int // reads that failed for want of a token, with none served before that was still valid
	faults []string
	wait   func()
}

// staleFor is how old an answer may be while the event log is read, and what a
// read itself may take on a busy machine.
const staleFor = 2 * time.Second

// clockTime is how moments are told.
const clockTime = "15:04:05.000"

func keepReading(ctx context.Context, pair [2]*instance, ids []string, every time.Duration) *reader {
	r := &reader{every: every, served: map[string]harness.Token{}, stored: map[string]harness.Token{}, rests: map[string]bool{}, ended: map[string]bool{}}
	var reads sync.WaitGroup
	for _, at := range pair {
		reads.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for n := 0; ; n++ {
				r.read(ctx, at, ids[n%len(ids)])
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	r.wait = reads.Wait
	return r
}

func (r *reader) read(ctx context.Context, at *instance, id string) {
	key := at.owner + " " + id
	asked := time.Now()
	r.mu.Lock()
	rests, ended := r.rests[id], r.ended[id]
	r.mu.Unlock()
	if rests {
		return
	}
	got, err := at.Token(ctx, id, 0)
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	before := r.served[key]
	refused, isRefusal := errors.AsType[*harness.Refusal](err)
	switch {
	case err == nil && ended:
		r.fault("%s: %s served version %d after the logout", asked.Format(clockTime), key, got.Version)
	case err == nil && got.Version < before.Version:
		r.fault("%s: %s served version %d after %d", asked.Format(clockTime), key, got.Version, before.Version)
	case err == nil && !got.ExpiresAt.After(asked):
		r.fault("%s: %s served a token that expired at %s", asked.Format(clockTime), key, got.ExpiresAt)
	case err == nil:
		r.served[key] = got
	case isRefusal && (ended || refused.Status == http.StatusConflict && refused.State == "logged_out"):
		delete(r.served, key)
	case time.Until(r.until(id, before)) > staleFor:
		r.fault("%s: %s, which had served a token that is valid until %s: %v", asked.Format(clockTime), key, r.until(id, before).Format(time.TimeOnly), err)
	default:
		r.kept++
	}
}

// fault notes one; the caller holds the lock.
func (r *reader) fault(format string, args ...any) {
	if len(r.faults) < 20 {
		r.faults = append(r.faults, fmt.Sprintf(format, args...))
	}
}

// rest leaves credentials alone until expectNone: what a process hears of them
// meanwhile, it hears from the event log alone.
func (r *reader) rest(ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		r.rests[id] = true
	}
}

// expectNone says that the resting ones were logged out a while ago.
func (r *reader) expectNone() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended, r.rests = r.rests, map[string]bool{}
}

// replaced says that another token was stored: nobody holds a process to the one
// before it any longer than the new one lives.
func (r *reader) replaced(id string, with harness.Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stored[id] = with
}

// until is how long a process is held to a token that it has served; the caller
// holds the lock.
func (r *reader) until(id string, served harness.Token) time.Time {
	if now, known := r.stored[id]; known && now.Version > served.Version && now.ExpiresAt.Before(served.ExpiresAt) {
		return now.ExpiresAt
	}
	return served.ExpiresAt
}

// all waits until both processes have served every credential.
func (r *reader) all(t *testing.T, count int) {
	t.Helper()
	eventually(t, patience, func() (bool, string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.served) == count, fmt.Sprintf("%d of %d served", len(r.served), count)
	})
}

func (r *reader) judge(t *testing.T) {
	t.Helper()
	r.wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	t.Logf("%d reads; %d had no valid token to get", r.reads, r.kept)
	assert.Empty(t, r.faults, "what readers were told")
	assert.Greater(t, r.reads, len(r.served))
}

// away is an outage of what refreshd stands on.
type away struct {
	credentials int
	of          int // how many of them are logged out, logged in, refreshed, and in the air when it goes: each
	life        time.Duration
	lasts       time.Duration
	every       time.Duration // between two reads of one process
}

// Redis goes under load and comes back without what it was told last. Tokens go
// on being served, what was acknowledged stands, nothing is presented twice.
func TestRedisLosesItsTail(t *testing.T) {
	t.Parallel()
	away{credentials: 24, of: 4, life: 20 * time.Second, lasts: 3 * time.Second, every: 10 * time.Millisecond}.redis(t)
}

func TestSoakRedisLosesItsTail(t *testing.T) {
	soak(t)
	away{credentials: 400, of: 40, life: 3 * time.Minute, lasts: time.Minute, every: 2 * time.Millisecond}.redis(t)
}

func (a away) redis(t *testing.T) {
	t.Helper()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "everysec", Args: []string{"--auto-aof-rewrite-percentage", "0"}})
	p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: a.life}})
	h := newHouse(t, p, server.URL())
	pair := [2]*instance{h.start(), h.start()}
	streams := []*follower{watch(t, pair[0].api), watch(t, pair[1].api)}
	for _, i := range pair {
		i.awaitGate(t)
	}
	minted := h.login(pair[0].api, a.credentials)
	ids := make([]string, a.credentials)
	for n := range ids {
		ids[n] = credentialID(n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	readers := keepReading(ctx, pair, ids, a.every)
	readers.all(t, 2*a.credentials)
	if a.lasts > a.life { // a load that is on its way is more than a start
		pass(t.Context(), a.life)
	}

	a.dueSoon(t, p, pair[1].api, ids[4*a.of:], readers)

	// What follows is acknowledged, and vanishes from Redis.
	tail, err := harness.NewTail(server.Dir())
	require.NoError(t, err)
	ends, logins, refreshes, flies := ids[:a.of], ids[a.of:2*a.of], ids[2*a.of:3*a.of], ids[3*a.of:4*a.of]
	told := map[string]uint64{}
	var changes []change
	tell := func(id string, do func(i *instance)) {
		size, err := tail.Size()
		require.NoError(t, err)
		changes = append(changes, change{id: id, began: time.Now(), size: size})
		i := pair[len(changes)%2]
		do(i)
		told[id] = i.get(t, id).Version
	}
	readers.rest(ends)
	for _, id := range ends {
		tell(id, func(i *instance) {
			require.NoError(t, i.Call(t.Context(), http.MethodPost, harness.CredentialPath(id)+"/logout", nil, nil))
		})
	}
	grants := map[string]string{}
	for _, id := range logins {
		minted, err := p.Mint(practice.MintRequest{Count: 1, Prefix: "again-"})
		require.NoError(t, err)
		grants[id] = minted[0].Grant
		tell(id, func(i *instance) { i.put(t, id, minted[0], minted[0].ExpiresIn) })
	}
	for _, id := range refreshes {
		tell(id, func(i *instance) { require.NoError(t, i.Refresh(t.Context(), id)) })
	}
	for _, f := range streams { // and with its subscribers the process itself
		eventually(t, patience, func() (bool, string) {
			behind := f.behind(told)
			return behind == "", behind
		})
	}
	waitFlights, generations := a.fly(t, p, pair[0], flies, minted[3*a.of:4*a.of])
	require.NoError(t, server.Kill())
	gone := time.Now()
	late := lateChanges(changes, gone)
	lost, err := tail.Cut(late[0].size)
	require.NoError(t, err)
	assert.Positive(t, lost, "bytes of acknowledged writes vanish")
	a.vanished(t, server, late, told)

	eventually(t, patience, func() (bool, string) { return p.Summary().InAir == 0, "calls are in the air" })
	for _, id := range flies {
		eventually(t, a.lasts+patience, func() (bool, string) {
			got, err := pair[0].Token(t.Context(), id, 0)
			return err == nil && got.Generation > generations[id], fmt.Sprintf("%s: generation %d: %v", id, got.Generation, err)
		})
	}
	require.Error(t, operator(t, server).Ping(t.Context()).Err(), "they are served from memory: Redis is still away")
	pass(t.Context(), staleFor-time.Since(gone))
	for n, id := range ends {
		for _, i := range []*instance{pair[n%2], pair[(n+1)%2]} {
			_, err := i.Token(t.Context(), id, 0)
			assert.NotEqual(t, http.StatusOK, statusOf(err), "%s: %s had been logged out, and %s had heard of it, before Redis went", i.owner, id, i.owner)
		}
	}
	readers.expectNone()
	pass(t.Context(), a.lasts-time.Since(gone))

	back := time.Now()
	require.NoError(t, server.Restart(t.Context()))
	for _, i := range pair {
		i.says(t, `"message":"redis is another run`)
		i.awaitGate(t)
	}
	waitFlights()
	all := settled(t, pair[0].api, a.credentials, patience)
	fresh := time.Since(back)
	if soaking() { // a machine that is busy with other tests says little about time
		assert.Less(t, fresh, time.Minute, "until everything was fresh")
	}
	for _, id := range ends {
		assert.Equal(t, "logged_out", all[id].State, "%s: its logout had been acknowledged", id)
	}
	for id, version := range told {
		assert.GreaterOrEqual(t, all[id].Version, version, "%s: versions never fall", id)
	}
	for id, grant := range grants {
		g, ok := p.Grant(grant)
		assert.True(t, ok && g.Alive, "%s: the login that had been acknowledged", id)
	}
	cancel()
	readers.judge(t)
	works(t, p, pair[1].api, ids[a.of:min(a.of+100, len(ids))])
	for _, id := range logins {
		g, _ := p.Grant(grants[id])
		assert.Greater(t, g.Generation, uint32(1), "%s: it is the acknowledged login that is refreshed", id)
	}
	sum := p.Summary()
	t.Logf("%d bytes vanished with %d of %d acknowledged changes, away from %s for %s, fresh %s after; %d presentations", lost, len(late), len(told), gone.Format(clockTime), back.Sub(gone).Round(time.Millisecond), fresh.Round(time.Millisecond), sum.Presentations)
	assert.Zero(t, presentedOnce(t, p, nil))
	assert.Empty(t, sum.Violations)
	assert.Zero(t, sum.ReuseDetected)
	all = settled(t, pair[0].api, a.credentials, patience)
	for id, r := range all {
		assert.NotEqual(t, "reauth_required", r.State, id)
	}
	oneEventPerVersion(t, pair[0].api, all, streams...)
}

// awaitGate waits until the process begins refreshes.
func (i *instance) awaitGate(t *testing.T) {
	t.Helper()
	eventually(t, patience, func() (bool, string) {
		var status struct {
			Recovery struct {
				Gate string `json:"gate"`
			} `json:"recovery"`
		}
		err := i.Call(t.Context(), http.MethodGet, "/v1/status", nil, &status)
		return err == nil && status.Recovery.Gate == "open", fmt.Sprintf("%s: the gate is %q: %v", i.owner, status.Recovery.Gate, err)
	})
}

// dueSoon logs users in anew with tokens that are said to live for so short that
// some are refreshed at every moment around that in which Redis goes: begun,
// in the air, received, stored and forgotten again, or too late for all that.
func (a away) dueSoon(t *testing.T, p *provider, at *api, ids []string, readers *reader) {
	t.Helper()
	const least, most = 5, 30 // seconds; two thirds of them pass before a refresh
	minted, err := p.Mint(practice.MintRequest{Count: len(ids), Prefix: "soon-"})
	require.NoError(t, err)
	for n, id := range ids {
		at.put(t, id, minted[n], int64(least+n*(most-least)/len(ids)))
		got, err := at.Token(t.Context(), id, 0)
		require.NoError(t, err)
		readers.replaced(id, got)
	}
}

// fly brings refreshes into the air whose replies come when Redis is gone, and
// returns the generations that they present.
func (a away) fly(t *testing.T, p *provider, at *instance, ids []string, logins []practice.Minted) (wait func(), generations map[string]uint64) {
	t.Helper()
	theirs := map[string]bool{}
	for _, m := range logins {
		theirs[m.Grant] = true
	}
	generations = map[string]uint64{}
	for _, id := range ids {
		generations[id] = at.get(t, id).Generation
	}
	fault, err := p.AddFault(practice.Fault{Kind: practice.KindSlow, Rotate: practice.MomentAfter, Delay: time.Second})
	require.NoError(t, err)
	var asks sync.WaitGroup
	for _, id := range ids {
		asks.Go(func() { _ = at.Refresh(context.WithoutCancel(t.Context()), id) })
	}
	eventually(t, patience, func() (bool, string) {
		have := 0
		for _, e := range p.Ledger(practice.LedgerQuery{}) {
			if theirs[e.Grant] && e.RepliedAt == 0 {
				have++
			}
		}
		return have == len(ids), fmt.Sprintf("%d in the air", have)
	})
	require.True(t, p.RemoveFault(fault))
	return asks.Wait, generations
}

// change is one that was acknowledged.
type change struct {
	id    string
	began time.Time
	size  int64 // of Redis's file before it
}

// lateChanges are those that Redis may lose: one that syncs every second loses
// no more than what the processes remember, ten seconds. A machine that is busy
// may not have done them all within that. The last one always counts.
func lateChanges(changes []change, gone time.Time) []change {
	const kept = 8 * time.Second
	first := slices.IndexFunc(changes, func(c change) bool { return gone.Sub(c.began) < kept })
	if first < 0 {
		first = len(changes) - 1
	}
	return changes[first:]
}

// vanished shows that the file which Redis will start with lacks what had been
// acknowledged late, with another server on a copy of it.
func (a away) vanished(t *testing.T, server *testproc.Redis, late []change, told map[string]uint64) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "appendonlydir"), os.DirFS(filepath.Join(server.Dir(), "appendonlydir"))))
	copied := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "no", Dir: dir})
	defer func() { assert.NoError(t, copied.Stop()) }()
	client := operator(t, copied)
	lacking := 0
	for _, c := range late {
		id, version := c.id, told[c.id]
		head, err := client.HGet(t.Context(), "rd:{refresh-00}:cred:"+id, "h").Result()
		require.NoError(t, err, id)
		// schema, revision, state, provider, generation, grant, three times, version
		fields := strings.Fields(head)
		require.Greater(t, len(fields), 9, id)
		has, err := strconv.ParseUint(fields[9], 10, 64)
		require.NoError(t, err, id)
		if has < version {
			lacking++
		}
	}
	assert.Equal(t, len(late), lacking, "credentials whose last change Redis does not have any more")
}

// gate is a listener that can be taken away and come back at its address.
type gate struct {
	mu      sync.Mutex
	inner   net.Listener
	conns   []net.Conn
	address string
	opened  chan struct{} // closed while it is there
	ended   bool
}

func newGate(ln net.Listener) *gate {
	g := &gate{inner: ln, address: ln.Addr().String(), opened: make(chan struct{})}
	close(g.opened)
	return g
}

// Accept is part of [net.Listener].
func (g *gate) Accept() (net.Conn, error) {
	for {
		g.mu.Lock()
		inner, opened, ended := g.inner, g.opened, g.ended
		g.mu.Unlock()
		if ended {
			return nil, net.ErrClosed
		}
		<-opened
		conn, err := inner.Accept()
		if err == nil {
			g.mu.Lock()
			g.conns = append(g.conns, conn)
			g.mu.Unlock()
			return conn, nil
		}
	}
}

// Addr is part of [net.Listener].
func (g *gate) Addr() net.Addr { return g.inner.Addr() }

// Close is part of [net.Listener].
func (g *gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return nil
	}
	g.ended = true
	select {
	case <-g.opened:
	default:
		close(g.opened)
	}
	_ = g.inner.Close() // it may be away
	return nil
}

// down takes the listener away with every connection.
func (g *gate) down(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = make(chan struct{})
	require.NoError(t, g.inner.Close())
	for _, c := range g.conns {
		_ = c.Close() // it may have ended
	}
	g.conns = nil
}

// up brings it back.
func (g *gate) up(t *testing.T) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", g.address)
	require.NoError(t, err)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inner = ln
	close(g.opened)
}

// The provider goes under load: tokens go on being served while they are valid,
// and everything is fresh again within a minute of its return.
func TestProviderIsAway(t *testing.T) {
	t.Parallel()
	away{credentials: 24, life: 10 * time.Second, lasts: 3 * time.Second, every: 10 * time.Millisecond}.provider(t)
}

func TestSoakProviderIsAway(t *testing.T) {
	soak(t)
	away{credentials: 400, life: 90 * time.Second, lasts: time.Minute, every: 2 * time.Millisecond}.provider(t)
}

func (a away) provider(t *testing.T) {
	t.Helper()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	var door *gate
	p := newProvider(t, providerOptions{
		Options: practice.Options{AccessTTL: a.life},
		wire:    func(ln net.Listener) net.Listener { door = newGate(ln); return door },
	})
	h := newHouse(t, p, server.URL())
	pair := [2]*instance{h.start(), h.start()}
	stream := watch(t, pair[1].api)
	h.login(pair[0].api, a.credentials)
	ids := make([]string, a.credentials)
	for n := range ids {
		ids[n] = credentialID(n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	readers := keepReading(ctx, pair, ids, a.every)
	readers.all(t, 2*a.credentials)
	pass(t.Context(), a.life*6/10) // so that many fall due while it is away
	door.down(t)
	pass(t.Context(), a.lasts)
	door.up(t)
	back := time.Now()
	eventually(t, patience, func() (bool, string) {
		behind := 0
		for _, r := range pair[0].list(t) {
			if r.State != "active" || r.Generation < 2 || r.InDoubt {
				behind++
			}
		}
		return behind == 0, fmt.Sprintf("%d behind", behind)
	})
	fresh := time.Since(back)
	if soaking() { // a machine that is busy with other tests says little about time
		assert.Less(t, fresh, time.Minute, "until everything was fresh")
	}
	cancel()
	readers.judge(t)
	all := settled(t, pair[1].api, a.credentials, patience)
	works(t, p, pair[0].api, ids[:min(len(ids), 100)])
	again := presentedOnce(t, p, pair[1].api)
	sum := p.Summary()
	t.Logf("away for %s, fresh %s after; %d presentations, %d undelivered, %d presented again", a.lasts, fresh.Round(time.Millisecond), sum.Presentations, sum.Undelivered, again)
	for id, r := range all {
		assert.NotEqual(t, "reauth_required", r.State, id)
	}
	all = settled(t, pair[1].api, a.credentials, patience)
	stream.awaitAll(t, patience, all)
	oneEventPerVersion(t, pair[1].api, all, stream)
}
