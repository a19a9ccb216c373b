package journal

import (
	"bytes"
	"sync/atomic"
	"testing"
)

// callers is how many goroutines a parallel benchmark has for each processor.
const callers = 1000

// BenchmarkIntent has a single caller: it is the time of one sync.
func BenchmarkIntent(b *testing.B) {
	j := setup(b, Options{})
	n := uint64(0)
	for b.Loop() {
		n++
		if err := j.Intent(b.Context(), []Intent{intent(n)}); err != nil {
			b.Fatal(err)
		}
		j.Drop(nonce(n))
	}
}

func BenchmarkIntentParallel(b *testing.B) {
	j := setup(b, Options{})
	var last atomic.Uint64
	b.SetParallelism(callers)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := last.Add(1)
			if err := j.Intent(b.Context(), []Intent{intent(n)}); err != nil {
				b.Error(err)
				return
			}
			j.Drop(nonce(n))
		}
	})
}

// BenchmarkRefreshParallel writes what one refresh needs: an intent, the reply
// and a drop.
func BenchmarkRefreshParallel(b *testing.B) {
	j := setup(b, Options{})
	sealed := bytes.Repeat([]byte{'s'}, 1100)
	var last atomic.Uint64
	b.SetParallelism(callers)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := last.Add(1)
			k := keep(n, "")
			k.Sealed = sealed
			if err := j.Intent(b.Context(), []Intent{intent(n)}); err != nil {
				b.Error(err)
				return
			}
			if err := j.Keep(k); err != nil {
				b.Error(err)
				return
			}
			j.Drop(nonce(n))
		}
	})
}

func BenchmarkReplay(b *testing.B) {
	j := setup(b, Options{})
	for n := range uint64(2000) {
		if err := j.Keep(keep(n+1, string(bytes.Repeat([]byte{'s'}, 1100)))); err != nil {
			b.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		dead := adoptOnly(b, j.dir)
		if err := dead.Release(); err != nil {
			b.Fatal(err)
		}
	}
}
