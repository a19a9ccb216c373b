package store_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
)

// infoNumber reads a number out of INFO.
func infoNumber(b *testing.B, client *redis.Client, section, name string) float64 {
	b.Helper()
	info, err := client.Info(b.Context(), section).Result()
	require.NoError(b, err)
	_, rest, ok := strings.Cut(info, name)
	require.True(b, ok, "INFO %s tells no %s", section, name)
	digits := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	n, err := strconv.ParseFloat(rest[:digits], 64)
	require.NoError(b, err)
	return n
}

func redisCPU(b *testing.B, client *redis.Client) float64 {
	b.Helper()
	return infoNumber(b, client, "cpu", "used_cpu_sys:") + infoNumber(b, client, "cpu", "used_cpu_user:")
}

// BenchmarkBeginApply begins and commits a hundred credentials per script, as
// a worker does, on a real Redis. redis-us is the processor time of Redis per
// credential for both, reading and parsing included; best-redis-us is that of
// the ten batches that were disturbed the least; script-us is the time that the
// scripts take.
func BenchmarkBeginApply(b *testing.B) {
	const batch, population, windowBatches = 100, 20_000, 10
	ctx := b.Context()
	client := server(b, "--hash-max-listpack-value", "4096")(b)
	keys, _, err := seal.Open(filepath.Join(b.TempDir(), "keyset.json"), seal.Options{})
	require.NoError(b, err)
	s, err := store.New(ctx, store.Options{Client: client, Keyset: keys, Owner: "bench"})
	require.NoError(b, err)
	policy := credential.Policy{RefreshAt: 0.66, Jitter: 0.1, Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0)}
	now, err := s.Now(ctx)
	require.NoError(b, err)
	// Tokens of the size of a signed one.
	token := func(n int) *credential.Token {
		return &credential.Token{
			Access: credential.NewSecret(strings.Repeat("a", 700)), Refresh: credential.NewSecret(fmt.Sprintf("%040d", n)), Type: "Bearer", Scope: "read write",
		}
	}
	nonce := nonces()
	var writes []credential.Write
	for i := range population {
		writes = append(writes, credential.Connect(nil, credential.Login{
			ID: id(i), Provider: "acme", Subject: fmt.Sprintf("user-%d", i), Labels: map[string]string{"team": "blue"},
			Token: *token(0), ExpiresIn: time.Hour,
		}, policy, nonce(), now.Add(-50*time.Minute)))
		if len(writes) == 500 {
			_, err := s.Apply(ctx, writes)
			require.NoError(b, err)
			writes = writes[:0]
		}
	}
	require.NoError(b, client.ConfigResetStat(ctx).Err())
	cpu, n := redisCPU(b, client), 0
	window, best := cpu, math.Inf(1)
	start := time.Now()
	for b.Loop() {
		requests := make([]credential.Begin, batch)
		for i := range requests {
			requests[i] = credential.Begin{ID: id((n*batch + i) % population), Nonce: nonce(), Owner: "bench", Lasts: 35 * time.Second}
		}
		n++
		answers, err := s.Begin(ctx, requests)
		if err != nil {
			b.Fatal(err)
		}
		writes := make([]credential.Write, batch)
		for i, answer := range answers {
			if answer.Refusal != credential.RefusedNot || answer.Err != nil {
				b.Fatal(answer.Refusal, answer.Err)
			}
			// Due again at once, where a claim would stand: before the deadline.
			got := credential.Received{Token: *token(n), SentAt: answer.Now.Add(-50 * time.Minute), ExpiresIn: time.Hour}
			writes[i] = credential.Install(answer.Held, *answer.Held.Attempt, got, policy, credential.BySchedule, answer.Now)
		}
		statuses, err := s.Apply(ctx, writes)
		if err != nil || statuses[0] != credential.StatusWritten {
			b.Fatal(statuses[0], err)
		}
		if n%windowBatches == 0 {
			used := redisCPU(b, client)
			best, window = min(best, used-window), used
		}
	}
	took := time.Since(start)
	done := float64(n * batch)
	b.ReportMetric((redisCPU(b, client)-cpu)*1e6/done, "redis-us/credential")
	b.ReportMetric(best*1e6/(windowBatches*batch), "best-redis-us/credential")
	b.ReportMetric(infoNumber(b, client, "commandstats", "cmdstat_evalsha:calls="+strconv.Itoa(2*n)+",usec=")/done, "script-us/credential")
	b.ReportMetric(float64(took.Microseconds())/done, "us/credential")
	if os.Getenv("REFRESHD_BENCH_VERBOSE") != "" {
		info, err := client.Info(ctx, "commandstats").Result()
		require.NoError(b, err)
		b.Log(strings.ReplaceAll(info, "\r\n", " | "))
	}
}

// BenchmarkTouch touches a thousand sessions a call, on a real Redis. The units
// are those of BenchmarkBeginApply, for one touch.
func BenchmarkTouch(b *testing.B) {
	const batch, population = 1000, 20_000
	ctx := b.Context()
	client := server(b, "--hash-max-listpack-value", "4096")(b)
	s, err := store.New(ctx, store.Options{Client: client, Keyset: keyset(b), Owner: "bench"})
	require.NoError(b, err)
	policy := credential.Policy{
		Times: credential.DefaultTimes(0), CanLogin: true,
		Sessions: credential.SessionPolicy{Idle: 15 * time.Minute, Extend: true, WarnBefore: 2 * time.Minute},
	}
	now, err := s.Now(ctx)
	require.NoError(b, err)
	nonce := nonces()
	var writes []credential.Write
	for i := range population {
		writes = append(writes, credential.Connect(nil, credential.Login{
			ID: id(i), Provider: "air", Subject: fmt.Sprintf("user-%d", i), Labels: map[string]string{"team": "blue"},
			Token:  credential.Token{Access: credential.NewSecret(strings.Repeat("a", 700))},
			SignIn: credential.SignIn{Username: credential.NewSecret("user"), Password: credential.NewSecret("password")},
		}, policy, nonce(), now.Add(-5*time.Minute)))
		if len(writes) == 500 {
			_, err := s.Apply(ctx, writes)
			require.NoError(b, err)
			writes = writes[:0]
		}
	}
	require.NoError(b, client.ConfigResetStat(ctx).Err())
	cpu, n := redisCPU(b, client), 0
	ids := make([]credential.ID, batch)
	b.ReportAllocs()
	for b.Loop() {
		for i := range ids {
			ids[i] = id((n*batch + i) % population)
		}
		n++
		answers, err := s.Touch(ctx, ids)
		if err != nil {
			b.Fatal(err)
		}
		for _, a := range answers {
			if a.Answer != store.TouchTaken {
				b.Fatal(a.Answer)
			}
		}
	}
	done := float64(n * batch)
	calls := fmt.Sprintf("cmdstat_evalsha:calls=%d,usec=", 2*n)
	b.ReportMetric((redisCPU(b, client)-cpu)*1e6/done, "redis-us/touch")
	b.ReportMetric(infoNumber(b, client, "commandstats", calls)/done, "script-us/touch")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/done, "us/touch")
}

func id(n int) credential.ID { return credential.ID(fmt.Sprintf("account-%07d", n)) }

// nonces returns a source of different nonces that costs nothing.
func nonces() func() credential.Nonce {
	var n uint64
	return func() (nonce credential.Nonce) {
		n++
		for i := range 8 {
			nonce[i] = byte(n >> (8 * i) & 0xff)
		}
		return nonce
	}
}
