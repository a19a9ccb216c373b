package keyset

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rotation goes from step to step, and says of each key what it is.
func TestRotateStepByStep(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyset.json")
	_, err := Show(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "the first start of the service makes it")
	_, _, err = seal.Open(path, seal.Options{})
	require.NoError(t, err)
	staged, err := Rotate(path, true, false)
	require.NoError(t, err)
	assert.Equal(t, StepStage, staged.Step)
	statuses := func(keys []Info) (all []string) {
		for _, key := range keys {
			all = append(all, key.Use+" "+key.Status)
		}
		return all
	}
	assert.ElementsMatch(t, []string{"seal primary", "seal staged", "hash primary", "hash staged"}, statuses(staged.Keys))
	_, err = Rotate(path, false, false)
	require.ErrorContains(t, err, "or with --now if no process runs")
	done, err := Rotate(path, false, true)
	require.NoError(t, err)
	assert.Contains(t, []string{StepPromote, StepReplace}, done.Step)
	shown, err := Show(path)
	require.NoError(t, err)
	assert.Equal(t, done.Keys, shown)
	assert.Contains(t, statuses(shown), "seal old")
}

// A file that cannot be taken over is complained of once, and looked at again
// until it can be.
func TestFileIsTakenOverOnceItCanBe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyset.json")
	keys, _, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)
	var log bytes.Buffer
	refused := errors.New("Redis is away")
	stamp := "first"
	f := &File{
		Path: path, Keys: keys, Log: zerolog.New(&log), Stamps: func(string) string { return stamp },
		Rotated: func(context.Context, *seal.Keyset) error { return refused },
	}
	f.Look(t.Context(), false)
	assert.Empty(t, log.String(), "it is what the process has")
	_, err = Rotate(path, false, true)
	require.NoError(t, err)
	f.Look(t.Context(), false)
	assert.Empty(t, log.String(), "the stamps say that it has not changed")
	stamp = "second"
	f.Look(t.Context(), false)
	f.Look(t.Context(), false)
	assert.Equal(t, 1, strings.Count(log.String(), "was not loaded again"), log.String())
	f.Look(t.Context(), true)
	assert.Equal(t, 2, strings.Count(log.String(), "was not loaded again"), "whoever asks is told")
	refused = nil
	f.Look(t.Context(), false)
	f.Look(t.Context(), false)
	assert.Equal(t, 1, strings.Count(log.String(), "the keyset was loaded again"), log.String())
}
