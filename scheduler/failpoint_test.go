//go:build failpoints

package scheduler

import (
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/failpoint/failpointtest"
)

func TestFailpoints(t *testing.T) {
	t.Parallel()
	failpointtest.Each(t, map[string]failpointtest.Row{
		"Jump": {Rules: "clock.wall=jump:-1h@2", Do: func(t *testing.T) {
			t.Helper()
			w := newClockWatch(nil, zerolog.Nop(), nil, nil)
			before := w.read()
			assert.True(t, jumped(wallStep(before, w.read())))
		}},
	})
}
