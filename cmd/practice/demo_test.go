package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDemoUsage(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	assert.Equal(t, exitOK, run(t.Context(), []string{"demo", "--help"}, &stdout, &stderr))
	assert.Contains(t, stdout.String(), "practice demo: watch refreshd")
	assert.Contains(t, stdout.String(), "-access-ttl")
	assert.Empty(t, stderr.String())

	refreshd := filepath.Join(t.TempDir(), "refreshd")
	require.NoError(t, os.WriteFile(refreshd, nil, 0o700))
	for complaint, args := range map[string][]string{
		"not defined":                 {"demo", "--colour"},
		"unexpected argument":         {"demo", "--refreshd", refreshd, "extra"},
		"there is no refreshd":        {"demo", "--refreshd", refreshd + ".missing"},
		"--credentials is 0":          {"demo", "--refreshd", refreshd, "--credentials", "0"},
		"--access-ttl is 1s; allowed": {"demo", "--refreshd", refreshd, "--access-ttl", "1s"},
	} {
		stdout.Reset()
		stderr.Reset()
		assert.Equal(t, exitUsage, run(t.Context(), args, &stdout, &stderr), "%v", args)
		assert.Empty(t, stdout.String())
		assert.Contains(t, stderr.String(), complaint)
	}
}

func TestDemoFindsItsNeighbour(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	refreshd := filepath.Join(dir, "refreshd")
	assert.False(t, isFile(refreshd))
	require.NoError(t, os.WriteFile(refreshd, nil, 0o700))
	assert.True(t, isFile(refreshd))
	assert.False(t, isFile(dir), "a folder is no program")
	found, err := findRefreshd(refreshd)
	require.NoError(t, err)
	assert.Equal(t, refreshd, found)
}
