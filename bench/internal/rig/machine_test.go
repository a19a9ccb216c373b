package rig

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMachine(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "7.0.15", redisVersion("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1\n"))
	assert.Equal(t, "unknown", redisVersion("something else"))
	path := filepath.Join(t.TempDir(), "meminfo")
	require.NoError(t, os.WriteFile(path, []byte("MemTotal:       24682472 kB\nMemFree:        1 kB\n"), 0o600))
	assert.InDelta(t, 23.54, memoryGiB(path), 0.01)
	assert.Zero(t, memoryGiB(path+".missing"))
}
