package model_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/model"
)

// TestEveryPartIsNeeded takes one part away at a time: each time a promise is
// broken that holds with all parts in place.
func TestEveryPartIsNeeded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		part   model.Without
		bounds model.Bounds
		want   []model.Kind
	}{
		"journal":        {model.WithoutJournal, model.Bounds{Rotations: 1, Crashes: 1, Troubles: 1}, []model.Kind{model.Lost}},
		"durable begin":  {model.WithoutDurableBegin, model.Bounds{Rotations: 1, Losses: 1, Troubles: 1}, []model.Kind{model.PresentedTwice, model.TwoInTheAir, model.Revoked}},
		"sticky attempt": {model.WithoutStickyAttempt, model.Bounds{Rotations: 1}, []model.Kind{model.PresentedTwice}},
		"proof of death": {model.WithoutProofOfDeath, model.Bounds{Rotations: 1}, []model.Kind{model.Revoked}},
		"nonce":          {model.WithoutNonce, model.Bounds{Rotations: 2, Losses: 1, Troubles: 1}, []model.Kind{model.PresentedTwice, model.TwoInTheAir, model.Lost}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := model.Config{Policy: model.Strict(), Bounds: c.bounds}
			whole := explore(t, cfg)
			assert.Empty(t, whole.Found(), "with all parts in place")
			cfg.Take = c.part
			r := explore(t, cfg)
			for _, k := range r.Found() {
				t.Logf("%d times. %s", r.Violations[k], r.Trace(k))
			}
			assert.Equal(t, c.want, r.Found())
		})
	}
}
