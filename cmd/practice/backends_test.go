package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/app"
	"github.com/refreshd/refreshd/internal/practice/backends"
)

// The configuration that is written fits the backends: refreshd finds nothing
// wrong with any of them, and every declared call works.
func TestBackendsAndTheirConfiguration(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	path := filepath.Join(t.TempDir(), "shapes.yaml")
	out, in := io.Pipe()
	code := make(chan int, 1)
	var stderr bytes.Buffer
	go func() { code <- run(ctx, []string{"backends", "--config", path}, in, &stderr) }()
	started(t, out)
	for _, name := range []string{"password", "bearer", "header", "cookie", "graphql"} {
		list, err := app.CheckProvider(t.Context(), app.ProviderCheckOptions{
			Config: path, Name: name, SignIn: app.SignIn(backends.ShapesUser, backends.ShapesPassword),
		})
		require.NoError(t, err)
		for _, f := range list {
			assert.NotContains(t, []string{"fail", "warn"}, string(f.Severity), "%s: %+v", name, f)
		}
	}
	cancel()
	assert.Equal(t, exitOK, <-code)
	assert.Contains(t, stderr.String(), "practice: wrote "+path)
}

func TestBackendsConfigurationIsPrinted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // it says what it has to say, and ends
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitOK, run(ctx, []string{"backends", "--idle", "5m"}, &stdout, &stderr), stderr.String())
	assert.Contains(t, stdout.String(), "practice: listening on http://127.0.0.1:")
	assert.Contains(t, stdout.String(), "idle_timeout: 5m0s")
	assert.NotContains(t, stdout.String(), "BASE")
}

func TestBackendsUsage(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	assert.Equal(t, exitOK, run(t.Context(), []string{"backends", "--help"}, &stdout, &stderr))
	assert.Contains(t, stdout.String(), "practice backends: backends of one's own")
	assert.Contains(t, stdout.String(), "-idle")
	for complaint, args := range map[string][]string{
		"not defined":         {"backends", "--colour"},
		"unexpected argument": {"backends", "extra"},
		"--life is 1s":        {"backends", "--life", "1s"},
		"--idle is 1s":        {"backends", "--idle", "1s"},
	} {
		stderr.Reset()
		assert.Equal(t, exitUsage, run(t.Context(), args, io.Discard, &stderr), "%v", args)
		assert.Contains(t, stderr.String(), complaint)
	}
}

// A configuration of somebody's own is not written over; one of practice is.
func TestBackendsKeepYourFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte("data_dir: mine\n"), 0o600))
	var stderr bytes.Buffer
	assert.Equal(t, exitFailure, run(t.Context(), []string{"backends", "--config", path}, io.Discard, &stderr))
	assert.Contains(t, stderr.String(), "was not written by practice")
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "data_dir: mine\n", string(kept))

	require.NoError(t, os.WriteFile(path, []byte(backends.ShapesMark+"\n"), 0o600))
	require.NoError(t, writeConfig(path, "new"))
	kept, err = os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "new", string(kept))
}
