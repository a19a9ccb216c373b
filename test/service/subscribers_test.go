package service

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

// trial says how hard subscribers of each kind have it: they fail, are slow and
// are restarted, while of two services one after the other is killed.
type trial struct {
	events      int64 // that are written at least
	credentials int
	writers     int
	killEvery   time.Duration
	kills       int64 // that there are at least
	killsMost   int64 // 0: as many as there is time for
	hookStays   time.Duration
	catchUp     time.Duration
}

func TestSubscribersGetEveryVersion(t *testing.T) {
	t.Parallel()
	trial{events: 1600, credentials: 20, writers: 4, killEvery: 3 * time.Second, kills: 2, killsMost: 4, hookStays: 3 * time.Second, catchUp: 2 * patience}.run(t)
}

func TestSoakSubscribersGetEveryVersion(t *testing.T) {
	soak(t)
	trial{events: 100_000, credentials: 20, writers: 8, killEvery: 10 * time.Second, kills: 6, hookStays: 10 * time.Second, catchUp: 15 * time.Minute}.run(t)
}

func (tr trial) run(t *testing.T) {
	t.Helper()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: time.Hour}})
	h := newHouse(t, p, server.URL())
	hook := newFlakyHook(t, tr.hookStays)
	h.writeSecret("hook.secret", hook.secret)
	h.config["subscriptions"] = []any{map[string]any{
		"name": "app", "url": hook.url, "types": []string{"credential.*"}, "secret": map[string]any{"file": "./hook.secret"},
		"retry": retries(),
	}}
	w := &writing{
		trial: tr, both: &loaded{t: t, house: h, provider: p},
		each: make([]written, tr.credentials), enough: make(chan struct{}),
	}
	for i := range w.both.pair {
		w.both.set(i, h.start())
	}
	stream, sse := &groupReader{history: newHistory("stream")}, newHistory("sse")
	stream.client = redisOf(t, server)

	ctx, cancel := context.WithCancel(t.Context())
	var watchers, writers sync.WaitGroup
	t.Cleanup(func() { cancel(); watchers.Wait(); writers.Wait() })
	watchers.Go(func() { stream.run(ctx) })
	throughEither := w.balanced(t)
	watchers.Go(func() { watchOnAndOff(ctx, throughEither, sse) })
	w.neverRead(t)
	began := time.Now()
	for range tr.writers {
		writers.Go(func() { w.write(ctx, throughEither) })
	}
	w.kill()
	writers.Wait()
	wrote := time.Since(began)
	require.Empty(t, w.faults, "of the writers")

	final := w.both.living(0).list(t)
	require.Len(t, final, tr.credentials)
	total := uint64(0)
	for n := range w.each {
		r := final[credentialID(n)]
		assert.GreaterOrEqual(t, r.Version, w.each[n].version, "%s went back behind what was answered", r.ID)
		total += r.Version
	}
	for _, one := range []*history{hook.history, sse, stream.history} {
		one.awaitAll(t, tr.catchUp, final)
	}
	cancel()
	watchers.Wait()
	hook.history.mu.Lock()
	defer hook.history.mu.Unlock()
	for id, event := range hook.ids {
		if sse.ids[id] != event || stream.ids[id] != event {
			t.Errorf("version %s is %s by webhook, %s by SSE and %s by stream", id, event, sse.ids[id], stream.ids[id])
		}
	}
	assert.Len(t, hook.ids, int(total))
	hook.mu.Lock()
	defer hook.mu.Unlock()
	assert.Positive(t, hook.refused)
	assert.Positive(t, stream.repeated)
	t.Logf("%d events in %s, all there after %s; %d kills, %d writes made again; webhook: %d refused, %d answers lost, %d restarts; stream: %d deaths",
		total, wrote.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), w.killed.Load(), w.again.Load(),
		hook.refused, hook.lost, hook.restarts, stream.deaths)
}

// retries are waits that outlast a receiver's restart, not a death.
func retries() []string {
	waits := []string{"20ms", "50ms", "100ms", "200ms"}
	for len(waits) < 30 {
		waits = append(waits, "500ms")
	}
	return waits
}

// writing is writers that store tokens under credentials in random order.
type writing struct {
	trial

	both *loaded

	each   []written
	count  atomic.Int64 // versions that were answered
	again  atomic.Int64 // writes that failed and were made again
	killed atomic.Int64
	enough chan struct{}

	mu     sync.Mutex
	faults []string
}

// written is what was answered of one credential.
type written struct {
	mu      sync.Mutex
	version uint64
}

// write writes until there is enough.
func (w *writing) write(ctx context.Context, c *client.Client) {
	for ctx.Err() == nil {
		select {
		case <-w.enough:
			return
		default:
		}
		if w.count.Load() > w.events*(w.killed.Load()+1)/(w.kills+1) { // kills are to meet with something
			pause(ctx, look)
			continue
		}
		n := mathrand.IntN(len(w.each))
		if err := w.one(ctx, c, n); err != nil && ctx.Err() == nil {
			w.mu.Lock()
			w.faults = append(w.faults, fmt.Sprintf("%s: %v", credentialID(n), err))
			w.mu.Unlock()
			return
		}
	}
}

// one stores the next token, and user data with some. What fails because a
// process died is stored again: it may have been or not.
func (w *writing) one(ctx context.Context, c *client.Client, n int) error {
	one := &w.each[n]
	one.mu.Lock()
	defer one.mu.Unlock()
	in := client.PutInput{Provider: providerName, Subject: fmt.Sprintf("u-%d", n), Token: &client.PutToken{
		AccessToken: "at_" + rand.Text(), RefreshToken: "rt_" + rand.Text(), ExpiresIn: time.Hour,
	}}
	if mathrand.IntN(3) == 0 {
		in.UserData = map[string]string{"seen": rand.Text()}
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		r, err := c.Put(ctx, credentialID(n), in)
		if err == nil {
			if r.Version <= one.version {
				return fmt.Errorf("version %d was answered after %d", r.Version, one.version)
			}
			w.count.Add(int64(r.Version - one.version)) //nolint:gosec // a few
			one.version = r.Version
			return nil
		}
		if !errors.Is(err, client.ErrUnavailable) {
			return err
		}
		w.again.Add(1)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// kill kills one process after the other and starts it again, until enough was
// written and enough were killed. It tells the writers.
func (w *writing) kill() {
	w.both.t.Helper()
	defer close(w.enough)
	tick := time.NewTicker(w.killEvery)
	defer tick.Stop()
	for !w.failed() && (w.count.Load() < w.events || w.killed.Load() < w.kills) {
		select {
		case <-tick.C:
		case <-w.both.t.Context().Done():
			return
		}
		if w.killsMost > 0 && w.killed.Load() == w.killsMost {
			continue
		}
		n := int(w.killed.Load()) % len(w.both.pair)
		dying := w.both.living(n)
		w.both.set(n, nil)
		require.NoError(w.both.t, dying.Kill())
		w.killed.Add(1)
		w.both.set(n, w.both.house.start())
	}
}

func (w *writing) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.faults) > 0
}

// balanced is a client of whichever process lives, as through a load balancer.
func (w *writing) balanced(t *testing.T) *client.Client {
	t.Helper()
	var turn atomic.Int64
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		at := w.both.living(int(turn.Add(1)))
		return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(at.Base, "http://"))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New("http://127.0.0.1", client.Options{Key: w.both.house.adminKey(), HTTPClient: &http.Client{Transport: transport}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// neverRead connects to the event stream of each process, and reads nothing of
// it. Nobody else is to notice.
func (w *writing) neverRead(t *testing.T) {
	t.Helper()
	for n := range w.both.pair {
		at := w.both.living(n)
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(at.Base, "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, conn.Close()) })
		_, err = fmt.Fprintf(conn, "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nLast-Event-ID: 0\r\n\r\n", at.Key)
		require.NoError(t, err)
	}
}

// redisOf is a client of the server that the services keep the log in.
func redisOf(t *testing.T, server *testproc.Redis) *redis.Client {
	t.Helper()
	network, address := server.Address()
	c := redis.NewClient(&redis.Options{Network: network, Addr: address})
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// newSecret is one of Standard Webhooks.
func newSecret(t *testing.T) (secret string, verify *standardwebhooks.Webhook) {
	t.Helper()
	secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte(rand.Text()+rand.Text()))
	verify, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	return secret, verify
}
