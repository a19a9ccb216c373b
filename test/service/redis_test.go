package service

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

// The same short life in every way that Redis can be had.
func TestEveryKindOfRedis(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		kind     string
		external bool
		env      []string
	}{
		{"embedded-server", false, nil},
		{"embedded-memory", false, []string{"PATH="}},
		{"external", true, nil},
	} {
		t.Run(row.kind, func(t *testing.T) {
			t.Parallel()
			testproc.SkipWithoutRedis(t)
			url := ""
			if row.external {
				url = testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always", Port: true}).URL()
			}
			p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: 6 * time.Second}})
			h := newHouse(t, p, url)
			first := h.start(row.env...)
			assert.Equal(t, row.kind, first.redis)
			h.login(first.api, 5)
			awaitGeneration(t, first.api, 5, 3)
			state, err := first.Stop()
			require.NoError(t, err)
			assert.Zero(t, state.ExitCode())

			second := h.start(row.env...)
			assert.Equal(t, row.kind, second.redis)
			assert.Len(t, second.list(t), 5, "it is all there after an orderly stop")
			awaitGeneration(t, second.api, 5, 5)
			second.awaitState(t, "active", 5)
			stream := watch(t, second.api)
			stream.awaitAll(t, patience, second.list(t))
			assert.Empty(t, p.Summary().Violations)
		})
	}
}

func awaitGeneration(t *testing.T, at *api, count int, generation uint64) {
	t.Helper()
	eventually(t, patience, func() (bool, string) {
		there := 0
		for _, r := range at.list(t) {
			if r.Generation >= generation {
				there++
			}
		}
		return there == count, fmt.Sprintf("%d of %d at generation %d", there, count, generation)
	})
}

// Two processes share the embedded redis-server of one data_dir. It goes on
// when the one that started it is killed, and ends with the last.
func TestTwoProcessesShareTheEmbeddedRedis(t *testing.T) {
	t.Parallel()
	testproc.SkipWithoutRedis(t)
	p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: 6 * time.Second}})
	h := newHouse(t, p, "")
	first := h.start()
	second := h.start()
	assert.Equal(t, "embedded-server", second.redis)
	h.login(first.api, 10)
	awaitGeneration(t, second.api, 10, 2)
	require.NoError(t, first.Kill())
	second.says(t, takenUp(first.owner))
	before := second.awaitState(t, "active", 10)
	awaitGeneration(t, second.api, 10, before[credentialID(0)].Generation+2)
	third := h.start()
	assert.Len(t, third.list(t), 10)
	state, err := second.Stop()
	require.NoError(t, err)
	assert.Zero(t, state.ExitCode())
	assert.Len(t, third.awaitState(t, "active", 10), 10)
	assert.Empty(t, p.Summary().Violations)
}
