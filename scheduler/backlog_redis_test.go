package scheduler

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/clock"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/testproc"
)

// shelf is a due index in a real Redis, and a backlog that reads it.
type shelf struct {
	store   *store.Store
	client  *redis.Client
	now     credential.Millis
	backlog *backlog
	nonces  uint32
}

func newShelf(t testing.TB) *shelf {
	t.Helper()
	server := testproc.StartRedis(t, testproc.RedisOptions{})
	opts, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(opts)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	keys, _, err := seal.Open(filepath.Join(t.TempDir(), "keyset.json"), seal.Options{})
	require.NoError(t, err)
	s, err := store.New(t.Context(), store.Options{Client: client, Keyset: keys, Owner: "owner"})
	require.NoError(t, err)
	c := clock.New(s, clock.Boot)
	_, err = c.Sync(t.Context())
	require.NoError(t, err)
	return &shelf{
		store: s, client: client, now: c.Now(),
		backlog: &backlog{
			index: s, clock: c, within: func(string) time.Duration { return 0 }, poll: time.Second, page: pageSize, provider: "acme",
		},
	}
}

func (s *shelf) nonce() (n credential.Nonce) {
	s.nonces++
	binary.BigEndian.PutUint32(n[:], s.nonces)
	return n
}

// put stores logins that have been due for a while. lives tells how long the n-th
// lives from now on.
func (s *shelf) put(t testing.TB, name string, n int, overdue time.Duration, lives func(int) time.Duration) (ids []credential.ID) {
	t.Helper()
	policy := credential.Policy{RefreshAt: 0.66, Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0)}
	for from := 0; from < n; from += 500 {
		var writes []credential.Write
		var scores []redis.Z
		for i := from; i < min(from+500, n); i++ {
			id := credential.ID(fmt.Sprintf("%s-%06d", name, i))
			ids = append(ids, id)
			writes = append(writes, credential.Connect(nil, credential.Login{
				ID: id, Provider: "acme", ExpiresAt: s.now.Add(lives(i)),
				Token: credential.Token{Access: credential.NewSecret("a"), Refresh: credential.NewSecret(string("r-" + id))},
			}, policy, s.nonce(), s.now))
			scores = append(scores, redis.Z{Member: string(id), Score: float64(s.now.Add(-overdue))})
		}
		statuses, err := s.store.Apply(t.Context(), writes)
		require.NoError(t, err)
		for _, status := range statuses {
			require.Equal(t, credential.StatusWritten, status)
		}
		require.NoError(t, s.client.ZAdd(t.Context(), "rd:{refresh-00}:due:acme", scores...).Err())
	}
	return ids
}

// claim picks n and claims them. It picks again while nothing is told before all
// has been read.
func (s *shelf) claim(t testing.TB, n int) []credential.ID {
	t.Helper()
	for {
		ids, more, err := s.backlog.pick(t.Context(), n)
		require.NoError(t, err)
		if len(ids) == 0 && more {
			continue
		}
		got, err := s.store.Claim(t.Context(), 0, "acme", ids, s.nonce(), time.Hour)
		require.NoError(t, err)
		return got
	}
}

func TestOnARealIndexThoseThatDieFirstAreFoundBehindTenThousandOthers(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.put(t, "dead", 7000, time.Hour, func(int) time.Duration { return -time.Minute })
	long := s.put(t, "long", 3000, 2*time.Hour, func(i int) time.Duration { return time.Hour + time.Duration(i)*time.Second })
	soon := s.put(t, "soon", 40, time.Minute, func(i int) time.Duration { return 30*time.Minute - time.Duration(i)*time.Second })
	slices.Reverse(soon)
	assert.Equal(t, soon, s.claim(t, 40))
	assert.Equal(t, long[:10], s.claim(t, 10))

	// One is put back to its own place, another becomes due.
	require.NoError(t, s.client.ZAdd(t.Context(), "rd:{refresh-00}:due:acme", redis.Z{Member: string(soon[7]), Score: float64(s.now.Add(-time.Minute))}).Err())
	s.put(t, "new", 1, 0, func(int) time.Duration { return 40 * time.Minute })
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	var got []credential.ID
	for !slices.Contains(got, soon[7]) || !slices.Contains(got, "new-000000") {
		got = append(got, s.claim(t, 1)...)
		require.Less(t, len(got), 1000, "neither has its turn before those that live longer")
		<-look.C
	}

	// The other replica takes the next ones; one of those is over.
	ids, err := s.store.Claim(t.Context(), 0, "acme", long[2000:], s.nonce(), time.Hour)
	require.NoError(t, err)
	require.Len(t, ids, 1000)
	require.NoError(t, s.client.Del(t.Context(), "rd:{refresh-00}:cred:"+string(long[1999])).Err())
	seen := map[credential.ID]bool{}
	for range 40 { // some of them for those that were taken
		for _, id := range s.claim(t, 500) {
			require.False(t, seen[id], "%s was claimed twice", id)
			seen[id] = true
		}
	}
	left, err := s.store.Overdue(t.Context(), 0, "acme", 0, s.now, 0, 1)
	require.NoError(t, err)
	assert.Empty(t, left, "all have been claimed")
}

// BenchmarkPick picks the 200 that die first from a backlog of 100,000, whose due
// times are opposed to their deaths, every tenth of a second as for a provider that
// is served slowly: what is read again meanwhile is in it, claiming is not.
// first-ms is what the first pick took, which reads all, and by-due-ms reading 200
// in the order of their due times instead; ratio is a pick to that.
func BenchmarkPick(b *testing.B) {
	s := newShelf(b)
	const many, n = 100_000, 200
	for i := range 10 {
		s.put(b, fmt.Sprintf("%c", 'a'+i), many/10, time.Duration(i+1)*time.Minute, func(n int) time.Duration {
			return time.Duration(i)*time.Hour + time.Duration(n)*time.Second
		})
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	started := time.Now()
	ids := s.pickAll(b, n)
	first := time.Since(started)
	runtime.GC()
	runtime.ReadMemStats(&after)
	var picks, plain, slowest time.Duration
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for b.Loop() {
		_, err := s.store.Claim(b.Context(), 0, "acme", ids, s.nonce(), time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		<-look.C
		started = time.Now()
		list, err := s.store.Overdue(b.Context(), 0, "acme", 0, s.now, 0, n)
		plain += time.Since(started)
		if err != nil || len(list) == 0 {
			b.Fatal(len(list), err)
		}
		started = time.Now()
		ids = s.pickAll(b, n)
		took := time.Since(started)
		picks, slowest = picks+took, max(slowest, took)
	}
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/(1<<20), "MiB")
	b.ReportMetric(slowest.Seconds()*1000, "slowest-ms")
	b.ReportMetric(first.Seconds()*1000, "first-ms")
	b.ReportMetric(picks.Seconds()*1000/float64(b.N), "pick-ms")
	b.ReportMetric(plain.Seconds()*1000/float64(b.N), "by-due-ms")
	b.ReportMetric(float64(picks)/float64(plain), "ratio")
}

func (s *shelf) pickAll(b *testing.B, n int) []credential.ID {
	b.Helper()
	for {
		ids, more, err := s.backlog.pick(context.WithoutCancel(b.Context()), n)
		if err != nil {
			b.Fatal(err)
		}
		if len(ids) > 0 || !more {
			return ids
		}
	}
}
