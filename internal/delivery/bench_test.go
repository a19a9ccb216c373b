package delivery

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/testproc"
)

// BenchmarkDeliveries delivers 100,000 events of 20 credentials to a webhook on
// loopback that takes each at once, with a real Redis: run it with -benchtime
// 1x. scripts/event is what Redis is asked for each.
func BenchmarkDeliveries(b *testing.B) {
	const events, credentials = 100_000, 20
	ctx := b.Context()
	server := testproc.StartRedis(b, testproc.RedisOptions{})
	opts, err := redis.ParseURL(server.URL())
	require.NoError(b, err)
	client := redis.NewClient(opts)
	b.Cleanup(func() { require.NoError(b, client.Close()) })
	keys, _, err := seal.Open(filepath.Join(b.TempDir(), "keyset.json"), seal.Options{})
	require.NoError(b, err)
	s, err := store.New(ctx, store.Options{Client: client, Keyset: keys, Owner: "bench"})
	require.NoError(b, err)
	round := 0
	for b.Loop() {
		b.StopTimer()
		round++
		log := event.NewLog(s, zerolog.Nop())
		name := fmt.Sprintf("bench-%d", round)
		start, err := log.End(ctx)
		require.NoError(b, err)
		_, err = s.StartSubscription(ctx, name, start.Last)
		require.NoError(b, err)
		emit(b, s, events, credentials)
		require.NoError(b, log.Start(ctx))
		var came atomic.Int64
		all := make(chan struct{})
		hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
			if came.Add(1) == events {
				close(all)
			}
		}))
		queue := &testQueue{tasks: make(chan laneKey, 10_000)}
		d := New(Options{
			Log: log, Lanes: testLanes{s}, Subscriptions: testSubscriptions{s}, Gaps: testSubscriptions{s}, Queue: queue, Retention: 96 * time.Hour,
			Now: func() credential.Millis { return credential.At(time.Now()) }, Logger: zerolog.Nop(), Registerer: prometheus.NewRegistry(),
		})
		carrier, err := NewWebhook(WebhookOptions{
			URL: hook.URL, Secrets: []SigningSecret{{Secret: credential.NewSecret(hookSecret)}}, Now: time.Now, Source: "urn:bench", UserAgent: "refreshd/bench",
			Client: NewClient(func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }),
		})
		require.NoError(b, err)
		require.NoError(b, d.SetSubscriptions(ctx, []Subscription{{Name: name, Carrier: carrier}}))
		working, stop := context.WithCancel(ctx)
		before := scripts(b, client)
		b.StartTimer()
		d.Start()
		var workers sync.WaitGroup
		for range 64 {
			workers.Go(func() {
				for {
					select {
					case task := <-queue.tasks:
						_ = d.Advance(working, task.subscription, task.lane)
					case <-working.Done():
						return
					}
				}
			})
		}
		<-all
		b.StopTimer()
		stop()
		workers.Wait()
		d.Stop()
		log.Stop()
		hook.Close()
		require.EqualValues(b, events, came.Load(), "each once")
		b.ReportMetric((scripts(b, client)-before)/events, "scripts/event")
		b.StartTimer()
	}
	b.ReportMetric(float64(events*b.N)/b.Elapsed().Seconds(), "events/s")
}

// emit has credentials logged in again and again, in turn.
func emit(b testing.TB, s *store.Store, events, credentials int) {
	b.Helper()
	ids := make([]credential.ID, credentials)
	for i := range ids {
		ids[i] = credential.ID(fmt.Sprintf("user-%d", i))
	}
	for range events / credentials {
		held, err := s.Load(b.Context(), ids...)
		require.NoError(b, err)
		writes := make([]credential.Write, len(ids))
		for i, id := range ids {
			var nonce credential.Nonce
			_, _ = rand.Read(nonce[:])
			writes[i] = credential.Connect(held[i], credential.Login{
				ID: id, Provider: "acme", Token: credential.Token{Access: credential.NewSecret("a"), Refresh: credential.NewSecret(nonce.String())}, ExpiresIn: time.Hour,
			}, credential.Policy{RefreshAt: 0.66, Times: credential.DefaultTimes(0)}, nonce, credential.At(time.Now()))
		}
		statuses, err := s.Apply(b.Context(), writes)
		require.NoError(b, err)
		require.NotContains(b, statuses, credential.StatusMoved)
	}
}

// scripts is how many scripts Redis has run.
func scripts(b *testing.B, client *redis.Client) float64 {
	b.Helper()
	info, err := client.InfoMap(b.Context(), "commandstats").Result()
	require.NoError(b, err)
	var calls float64
	_, err = fmt.Sscanf(info["Commandstats"]["cmdstat_evalsha"], "calls=%f", &calls)
	require.NoError(b, err)
	return calls
}
