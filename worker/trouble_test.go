package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/tasks"
)

// told returns the lines of a log.
func told(t *testing.T, log *bytes.Buffer) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for line := range strings.Lines(log.String()) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields))
		lines = append(lines, fields)
	}
	return lines
}

// An outage fails a task for every batch and second: its causes are told once, and
// how many have failed when it is over.
func TestAnOutageIsToldOncePerCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger := zerolog.New(&log).Level(zerolog.InfoLevel)
		p := &Pool{log: logger, metrics: newMetrics(prometheus.NewRegistry()), troubles: newTroubles(logger)}
		var about string
		var failure error
		handle := p.handler(tasks.TypeRefreshBatch, func(context.Context, []byte) (string, error) { return about, failure })
		run := func(of string, err error) {
			about, failure = of, err
			require.NoError(t, handle(t.Context(), asynq.NewTask(tasks.TypeRefreshBatch, nil)))
		}
		for second := range 60 {
			for _, of := range []string{"acme", "shop"} {
				cause := fmt.Errorf("read tcp 127.0.0.1:%d: connection reset", 40_000+second)
				if second%2 == 1 {
					cause = errAway
				}
				run(of, fmt.Errorf("batch of %d credentials of %s: %w", 1+second, of, cause))
			}
			<-time.After(time.Second)
		}
		lines := told(t, &log)
		require.Len(t, lines, 4, "two causes, two providers")
		assert.Equal(t, "acme", lines[0]["about"])
		assert.Equal(t, "batch of 1 credentials of acme: read tcp 127.0.0.1:40000: connection reset", lines[0]["error"])
		assert.Equal(t, "shop", lines[1]["about"])
		assert.Equal(t, "batch of 2 credentials of acme: "+errAway.Error(), lines[2]["error"])

		run("acme", nil)
		assert.Len(t, told(t, &log), 4, "others may fail still")
		<-time.After(calm)
		run("acme", nil)
		run("acme", nil)
		lines = told(t, &log)
		require.Len(t, lines, 5)
		assert.Equal(t, "acme", lines[4]["about"])
		assert.InDelta(t, 60, lines[4]["failed"], 0)
		assert.Contains(t, lines[4]["message"], "again")

		run("acme", errAway)
		assert.Len(t, told(t, &log), 6, "another outage")
	})
}

// However many causes there are, they are not all kept.
func TestCausesAreBounded(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	all := newTroubles(zerolog.New(&log).Level(zerolog.InfoLevel))
	for i := range 3 * mostCauses {
		all.failed(subject{kind: tasks.TypeRefreshSingle}, "task", fmt.Errorf("cause %s", strings.Repeat("x", i)))
	}
	assert.Len(t, told(t, &log), mostCauses)
}
