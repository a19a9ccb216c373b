//go:build failpoints

package clock_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/clock"
	"github.com/refreshd/refreshd/internal/failpoint/failpointtest"
)

func TestFailpoints(t *testing.T) {
	t.Parallel()
	failpointtest.Each(t, map[string]failpointtest.Row{
		"Jump": {Rules: "clock.boot=jump:+1h@2", Do: func(t *testing.T) {
			t.Helper()
			before := clock.Boot()
			assert.Greater(t, clock.Boot(), before+time.Hour)
		}},
	})
}
