package client_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/refreshd/refreshd/client"
)

// tokenReaders are ways to read a token that is in hand: those of this package,
// and what x/oauth2 has for it.
func tokenReaders(tb testing.TB) map[string]func() error {
	tb.Helper()
	desk := newTokenDesk()
	c, err := client.New("http://127.0.0.1:7420/under", desk.options())
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = c.Close() })
	for i := range 1000 { // others, so that finding one is not made too easy
		_, err := c.Token(tb.Context(), fmt.Sprint("bystander-", i))
		require.NoError(tb, err)
	}
	for range 1000 {
		_, err := c.Token(tb.Context(), "alice")
		require.NoError(tb, err)
	}
	source := c.TokenSource(tb.Context(), "alice")
	reuse := oauth2.ReuseTokenSource(&oauth2.Token{AccessToken: "t", Expiry: time.Now().Add(time.Hour)}, nil)
	ctx := tb.Context()
	return map[string]func() error{
		"client":           func() error { _, err := c.Token(ctx, "alice"); return err },
		"source":           func() error { _, err := source.Token(); return err },
		"ReuseTokenSource": func() error { _, err := reuse.Token(); return err },
	}
}

// TestTokenInHandCostsNoAllocation is not parallel: testing.AllocsPerRun counts
// what all goroutines allocate.
func TestTokenInHandCostsNoAllocation(t *testing.T) {
	for name, read := range tokenReaders(t) {
		require.NoError(t, read())
		assert.Zero(t, testing.AllocsPerRun(1000, func() { _ = read() }), name)
	}
}

// BenchmarkToken reads a token that is in hand, from one goroutine and from
// all processors at once.
func BenchmarkToken(b *testing.B) {
	readers := tokenReaders(b)
	for _, name := range []string{"client", "source", "ReuseTokenSource"} {
		read := readers[name]
		b.Run("serial/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("parallel/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := read(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
