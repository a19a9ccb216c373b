package service

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// load says how two processes on one Redis are kept busy.
type load struct {
	credentials int
	life        time.Duration // of an access token
	lasts       time.Duration
	minTTL      time.Duration // that the client asks for, once a second
	killEvery   time.Duration // 0: nobody is killed
	latency     time.Duration // of the provider
	rotateFirst bool          // the provider rotates before its latency: a kill loses the reply
	refuseEvery int           // the webhook's receiver refuses one event in so many, once
}

// loaded is a load under way.
type loaded struct {
	load

	t        testing.TB
	house    *house
	provider *provider
	hook     *receiver
	stream   *follower
	visitor  *follower
	asker    *asker
	kills    []kill

	mu   sync.Mutex
	pair [2]*instance // nil while it is dead
}

func (l load) start(t testing.TB) *loaded {
	t.Helper()
	redis := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	p := newProvider(t, providerOptions{Options: practice.Options{
		AccessTTL: l.life, Latency: l.latency, RotateBeforeLatency: l.rotateFirst,
	}})
	w := &loaded{load: l, t: t, provider: p, house: newHouse(t, p, redis.URL())}
	w.hook = newReceiver(t, "whsec_"+base64.StdEncoding.EncodeToString([]byte("a secret of thirty-two bytes or so")), l.refuseEvery)
	w.house.subscribe(w.hook)
	for i := range w.pair {
		w.pair[i] = w.house.start()
	}
	w.stream = &follower{history: newHistory("stream"), where: w.anyone(0), cursor: "0"}
	w.visitor = &follower{history: newHistory("visitor"), where: w.anyone(1), cursor: "0"}
	w.asker = newAsker(p)
	return w
}

// living returns the process with that number, or the other one while it is
// dead.
func (w *loaded) living(n int) *instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := w.pair[n%2]; i != nil {
		return i
	}
	return w.pair[(n+1)%2]
}

func (w *loaded) set(n int, i *instance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pair[n] = i
}

// anyone alternates between the living.
func (w *loaded) anyone(first int) func() *api {
	n := first
	return func() *api {
		n++
		return w.living(n).api
	}
}

// run keeps the load up and calls meanwhile, if it is not nil, beside it; it
// returns when both are over.
func (w *loaded) run(meanwhile func(ctx context.Context)) {
	w.t.Helper()
	watching, enough := context.WithCancel(context.Background())
	var watchers, workers sync.WaitGroup
	w.t.Cleanup(func() { enough(); watchers.Wait() })
	watchers.Go(func() { w.stream.follow(watching, nil) })
	watchers.Go(func() { w.visit(watching) })

	w.house.login(w.living(0).api, w.credentials)
	ctx, cancel := context.WithTimeout(w.t.Context(), w.lasts)
	defer cancel()
	workers.Go(func() { w.asker.run(ctx, w.credentials, w.minTTL, w.living) })
	if meanwhile != nil {
		meanwhile(ctx)
	}
	workers.Wait()
	assert.Empty(w.t, w.asker.faults, "of the client")
	w.t.Logf("client: %d tokens, none for now: %v", w.asker.got, w.asker.later)
}

// visit follows the stream for a while at a time, and is away while the steady
// follower gets as many events as there are credentials.
func (w *loaded) visit(ctx context.Context) {
	for ctx.Err() == nil {
		until := w.visitor.count() + w.credentials
		w.visitor.follow(ctx, func() bool { return w.visitor.count() >= until })
		if w.stream.waitCount(ctx, w.stream.count()+w.credentials) != nil {
			return
		}
	}
}

// awaitSubscribers waits until all that was said has arrived.
func (w *loaded) awaitSubscribers() {
	w.t.Helper()
	now := w.living(0).list(w.t)
	w.stream.awaitAll(w.t, patience, now)
	w.visitor.awaitAll(w.t, patience, now)
	// A lane stays with a killed worker for as long as its lease.
	w.hook.awaitAll(w.t, 2*patience, now)
	if w.refuseEvery > 0 {
		w.hook.mu.Lock()
		defer w.hook.mu.Unlock()
		assert.Positive(w.t, w.hook.refused, "deliveries that were refused the first time")
	}
}

// stop ends both processes in good order.
func (w *loaded) stop() {
	w.t.Helper()
	for n := range w.pair {
		state, err := w.pair[n].Stop()
		require.NoError(w.t, err)
		assert.Zero(w.t, state.ExitCode())
	}
}

// asker asks for every token once a second, as programs do that keep none.
type asker struct {
	provider *provider
	http     *http.Client

	mu     sync.Mutex
	served map[string]uint64 // version, by process and credential
	dead   map[string]bool   // credentials that only a person can mend
	got    int
	later  map[string]int // no token now (503), by what was said
	faults []string
}

func newAsker(p *provider) *asker {
	return &asker{
		provider: p, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		served: map[string]uint64{}, dead: map[string]bool{}, later: map[string]int{},
	}
}

func (a *asker) run(ctx context.Context, count int, minTTL time.Duration, where func(int) *instance) {
	defer a.http.CloseIdleConnections()
	var asks sync.WaitGroup
	defer asks.Wait()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for round := 0; ; round++ {
		for n := range count {
			asks.Go(func() { a.ask(ctx, n, minTTL, where, round+n) })
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// ask asks one process, and the other one if that is being killed.
func (a *asker) ask(ctx context.Context, n int, minTTL time.Duration, where func(int) *instance, first int) {
	id := credentialID(n)
	for ; ; first++ {
		at := where(first)
		before := a.servedBy(at, id)
		asked := time.Now()
		got, err := at.Token(ctx, id, minTTL)
		refused, isRefusal := errors.AsType[*harness.Refusal](err)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			a.check(ctx, at, id, got, before, asked.Add(minTTL))
			return
		case isRefusal:
			a.note(id, refused)
			return
		case where(first) == at:
			select {
			case <-at.Done():
			default: // not being killed
				a.fault("%s: %v", id, err)
				return
			}
		}
	}
}

func (a *asker) fault(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, fmt.Sprintf(format, args...))
}

func (a *asker) note(id string, refused *harness.Refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case refused.Status == http.StatusServiceUnavailable:
		a.later[refused.Detail]++
	case refused.Status == http.StatusConflict && refused.State == "reauth_required":
		a.dead[id] = true
	default:
		a.faults = append(a.faults, id+": "+refused.Error())
	}
}

// servedBy is the newest version of a credential that a process has served.
func (a *asker) servedBy(at *instance, id string) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.served[at.owner+" "+id]
}

// ended reports whether the provider has ended the grant of a credential. They
// were minted, and are listed, in the order of the credentials.
func (a *asker) ended(id string) bool {
	for n, g := range a.provider.Grants() {
		if credentialID(n) == id {
			return !g.Alive
		}
	}
	return false
}

// check shows the token to the provider's resource. before is the version that
// the process had served when it was asked: it must not go back behind it. The
// token must live until then at the least: what was asked for counts from when the
// process looked, which was later than when it was asked.
func (a *asker) check(ctx context.Context, at *instance, id string, got harness.Token, before uint64, until time.Time) {
	short := got.ExpiresAt.Before(until)
	status, err := a.resource(ctx, got.AccessToken)
	if ctx.Err() != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got++
	if err == nil && !short && status == http.StatusUnauthorized && a.ended(id) {
		return // its family was ended after a reply was lost; the process has not heard of it yet
	}
	if err == nil && !short && status == http.StatusUnauthorized && !got.ExpiresAt.After(time.Now()) {
		return // it expired on its way to the resource: this machine has more to do
	}
	if err != nil || short || status != http.StatusOK {
		a.faults = append(a.faults, fmt.Sprintf("%s: a token was handed out that ends %s before its time, the resource answered %d (%v)", id, until.Sub(got.ExpiresAt), status, err))
	}
	if got.Version < before {
		a.faults = append(a.faults, fmt.Sprintf("%s: version %d was served after %d", id, got.Version, before))
	}
	key := at.owner + " " + id
	a.served[key] = max(a.served[key], got.Version)
}

func (a *asker) resource(ctx context.Context, accessToken string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.provider.url+"/resource", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	resp, err := a.http.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
