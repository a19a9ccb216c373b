package testproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// buildTimeout bounds one go build, with a cold build cache on a busy machine.
const buildTimeout = 5 * time.Minute

// BuildOptions says which command to build.
type BuildOptions struct {
	// Package is what go build takes: an import path or a path that starts
	// with a dot, relative to Dir.
	Package string
	// Dir is the folder to build in, for a command of another module. Empty is
	// the folder of the running test.
	Dir string
	// Race builds with the race detector.
	Race bool
	// Tags are the build tags, joined by commas as go build -tags takes them.
	Tags string
}

// builder builds each command once and keeps the binaries in a folder of its
// own until remove.
type builder struct {
	mu     sync.Mutex
	dir    string
	builds map[BuildOptions]*oneBuild
}

type oneBuild struct {
	once sync.Once
	path string
	err  error
}

// built is shared by all tests of a binary: they run in parallel and each
// needs the same few commands, whose linking takes seconds.
//
//nolint:gochecknoglobals // once per test binary needs a place that outlives each test
var built builder

// Build returns the path of the command's binary, which is built on the first
// call of the test binary and shared by later ones. It fails the test with the
// compiler's words when the build fails. A TestMain that calls RemoveBuilds at
// its end leaves nothing behind.
func Build(t testing.TB, o BuildOptions) string {
	t.Helper()
	path, err := built.build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// RemoveBuilds removes the binaries of this test binary. It is for the end of
// TestMain, when no test runs any more.
func RemoveBuilds() error {
	return built.remove()
}

func (b *builder) build(ctx context.Context, o BuildOptions) (string, error) {
	if o.Package == "" {
		return "", errors.New("testproc: build: no package given")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return "", fmt.Errorf("testproc: build %s: %w", o.Package, err)
	}
	o.Dir = dir
	one, out, err := b.entry(o)
	if err != nil {
		return "", fmt.Errorf("testproc: build %s: %w", o.Package, err)
	}
	one.once.Do(func() {
		// Other tests wait for the same build: the end of the one that asked
		// first must not take it away from them.
		one.path, one.err = goBuild(context.WithoutCancel(ctx), o, out, buildTimeout)
	})
	return one.path, one.err
}

func (b *builder) entry(o BuildOptions) (*oneBuild, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "testproc-")
		if err != nil {
			return nil, "", err
		}
		b.dir = dir
		b.builds = map[BuildOptions]*oneBuild{}
	}
	one, ok := b.builds[o]
	if !ok {
		one = &oneBuild{}
		b.builds[o] = one
	}
	return one, b.dir, nil
}

func (b *builder) remove() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dir == "" {
		return nil
	}
	dir := b.dir
	b.dir, b.builds = "", nil
	return os.RemoveAll(dir)
}

// goBuild builds into a folder of its own under parent, so that two builds of
// one name do not meet. It gives up at the limit.
func goBuild(ctx context.Context, o BuildOptions, parent string, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %s, on a machine that is too busy; run fewer tests at once", limit))
	defer cancel()
	out, err := os.MkdirTemp(parent, "build-")
	if err != nil {
		return "", fmt.Errorf("testproc: build %s: %w", o.Package, err)
	}
	path := filepath.Join(out, "program")
	args := []string{"build", "-o", path}
	if o.Race {
		args = append(args, "-race")
	}
	if o.Tags != "" {
		args = append(args, "-tags", o.Tags)
	}
	args = append(args, "--", o.Package)
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // a test names the package it builds
	cmd.Dir = o.Dir
	if words, err := cmd.CombinedOutput(); err != nil {
		if cut := context.Cause(ctx); cut != nil {
			err = fmt.Errorf("%w (%w)", cut, err) // which tells of the signal alone
		}
		return "", fmt.Errorf("testproc: build %s in %s: %w\n%s", o.Package, o.Dir, err, words)
	}
	return path, nil
}
