package testproc

import (
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBuildOncePerTestBinary(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	paths := make([]string, 4)
	for i := range paths {
		wg.Go(func() {
			path, err := built.build(t.Context(), BuildOptions{Package: "./testdata/talker"})
			if assert.NoError(t, err) {
				paths[i] = path
			}
		})
	}
	wg.Wait()
	for _, path := range paths {
		assert.Equal(t, talker(t), path)
	}
	abs, err := filepath.Abs("testdata/talker")
	require.NoError(t, err)
	again := Build(t, BuildOptions{Package: ".", Dir: abs})
	assert.NotEqual(t, talker(t), again, "another package path is another build")
}

func TestBuildInAnotherModule(t *testing.T) {
	t.Parallel()
	p := Start(t, Options{
		Path:  Build(t, BuildOptions{Package: ".", Dir: "testdata/ownmodule"}),
		Ready: regexp.MustCompile("ready: (.*)"),
	})
	assert.Equal(t, "a module of its own", p.ReadyMatch()[1])
}

func TestBuildFailureTellsWhatTheCompilerSaid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.test/broken\n\ngo 1.26.0\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() { nowhere() }\n"), 0o600))
	var b builder
	t.Cleanup(func() { assert.NoError(t, b.remove()) })
	_, err := b.build(t.Context(), BuildOptions{Package: ".", Dir: dir})
	require.ErrorContains(t, err, "undefined: nowhere")
	_, err = b.build(t.Context(), BuildOptions{Dir: dir})
	require.ErrorContains(t, err, "no package given")
}

func TestBuildThatIsCutOffSaysWhy(t *testing.T) {
	t.Parallel()
	_, err := goBuild(t.Context(), BuildOptions{Package: "./testdata/talker"}, t.TempDir(), 0)
	require.ErrorContains(t, err, "build ./testdata/talker in : it took longer than 0s, on a machine that is too busy")
}

func TestBuildWithTags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module example.test/tagged\n\ngo 1.26.0\n",
		"main.go":   "package main\n\nfunc main() { tagged() }\n",
		"tagged.go": "//go:build one && two\n\npackage main\n\nfunc tagged() {}\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	var b builder
	t.Cleanup(func() { assert.NoError(t, b.remove()) })
	_, err := b.build(t.Context(), BuildOptions{Package: ".", Dir: dir})
	require.ErrorContains(t, err, "undefined: tagged")
	path, err := b.build(t.Context(), BuildOptions{Package: ".", Dir: dir, Tags: "one,two"})
	require.NoError(t, err, "other tags are another build")
	require.FileExists(t, path)
}

func TestRemoveTakesTheBinariesAwayAndAllowsMore(t *testing.T) {
	t.Parallel()
	var b builder
	require.NoError(t, b.remove(), "nothing built is nothing to remove")
	o := BuildOptions{Package: ".", Dir: "testdata/ownmodule"}
	first, err := b.build(t.Context(), o)
	require.NoError(t, err)
	require.FileExists(t, first)
	require.NoError(t, b.remove())
	require.NoFileExists(t, first)
	second, err := b.build(t.Context(), o)
	require.NoError(t, err)
	require.FileExists(t, second)
	require.NoError(t, b.remove())
	require.NoFileExists(t, second)
}
