package model_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/model"
)

// explore walks through a configuration and says how far it went.
func explore(t *testing.T, cfg model.Config) model.Result {
	t.Helper()
	started := time.Now()
	r := model.Explore(cfg)
	t.Logf("%d states, %d steps, %d deep, %s", r.States, r.Steps, r.Depth, time.Since(started).Round(time.Millisecond))
	return r
}

// TestEveryOrder explores what the service does, with all parts in place.
func TestEveryOrder(t *testing.T) {
	t.Parallel()
	for name, b := range bounds() {
		for provider, p := range map[string]credential.Policy{"strict": model.Strict(), "grace": model.Graceful(), "not rotating": model.Steady()} {
			t.Run(provider+"/"+name, func(t *testing.T) {
				t.Parallel()
				b := b // each provider has bounds of its own
				if p.Rotates == credential.RotatesNo {
					b.Troubles = min(b.Troubles, 1) // presenting a token again does no harm there
				}
				if p.Grace > 0 && b.Troubles == 2 {
					b.Losses = 0 // the moments of a grace and a loss together are more than a minute's worth; "slow" has the loss alone
				}
				r := explore(t, model.Config{Policy: p, Bounds: b})
				for _, k := range r.Found() {
					t.Errorf("%d times. %s", r.Violations[k], r.Trace(k))
				}
				assert.Greater(t, r.States, 100)
			})
		}
	}
}
