package house_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// root is the module's root, seen from the folder in which tests run.
const root = "../.."

func TestTheHouseKeepsItsRules(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	require.Contains(t, strings.Split(string(mod), "\n"), "module "+module, "the rules speak of another module")

	pkgs, err := load(root)
	require.NoError(t, err)
	for _, dir := range []string{"internal/credential", "internal/house"} {
		require.True(t, slices.ContainsFunc(pkgs, func(p pkg) bool { return p.dir == dir }),
			"%s was not found: the packages are not read from where they are", dir)
	}

	for _, line := range check(houseRules(), pkgs) {
		t.Error(line)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const (
		asynq    = "github.com/hibiken/asynq"
		asynqmon = "github.com/hibiken/asynqmon"
		redis    = "github.com/redis/go-redis/v9"
		zerolog  = "github.com/rs/zerolog"
	)
	for name, tt := range map[string]struct {
		dir     string
		imports []string // those that start with "/" are of this module
		refused []string // those of them that break a rule
	}{
		"the program": {
			dir:     "cmd/refreshd",
			imports: []string{"/internal/app", "/internal/config", "/internal/logging", "/internal/store", "/scheduler", "/internal/practice", zerolog},
			refused: []string{"/internal/store", "/scheduler", "/internal/practice"},
		},
		"the practice program": {
			dir:     "cmd/practice",
			imports: []string{"/internal/practice", "/internal/demo", "/internal/testproc", "/internal/app", "/internal/config"},
			refused: []string{"/internal/app", "/internal/config"},
		},
		"a program in no layer": {
			dir:     "cmd/other",
			refused: []string{"is in no layer"},
		},
		"the scheduler": {
			dir:     "scheduler",
			imports: []string{"/tasks", "/internal/credential", "/internal/schedule", "/worker", "/internal/store", "/internal/provider/oauth2", asynq, redis},
			refused: []string{"/worker", "/internal/store", "/internal/provider/oauth2", redis},
		},
		"the worker": {
			dir:     "worker",
			imports: []string{"/tasks", "/internal/credential", "/scheduler", "/internal/refresh", asynq, zerolog},
			refused: []string{"/scheduler", "/internal/refresh"},
		},
		"tasks": {
			dir:     "tasks",
			imports: []string{"/internal/credential", "/worker", asynq, asynqmon},
			refused: []string{"/worker", asynqmon},
		},
		"the SDK": {
			dir:     "client",
			imports: []string{"/internal/credential", "/internal/failpoint", "/tasks", asynq, redis, zerolog, "golang.org/x/oauth2", "net/http"},
			refused: []string{"/internal/credential", "/internal/failpoint", "/tasks", asynq, redis, zerolog},
		},
		"the SDK's own folders": {
			dir:     "client/webhook",
			imports: []string{"/client", "/client/events"},
		},
		"the domain": {
			dir:     "internal/credential",
			imports: []string{"encoding/json", "/internal/schedule", "/internal/failpoint", zerolog, "golang.org/x/oauth2"},
			refused: []string{"/internal/schedule", "/internal/failpoint", zerolog, "golang.org/x/oauth2"},
		},
		"the store": {
			dir:     "internal/store",
			imports: []string{"/internal/credential", "/internal/failpoint", "/internal/seal", "/internal/provider", "/internal/config", redis, asynq},
			refused: []string{"/internal/provider", "/internal/config", asynq},
		},
		"a folder with a longer name": {
			dir:     "internal/storefront",
			imports: []string{redis, "/internal/seal"},
			refused: []string{redis, "/internal/seal"},
		},
		"a provider's folder": {
			dir:     "internal/provider/oauth2",
			imports: []string{"/internal/provider", "/internal/credential", "/internal/seal", "/internal/journal"},
			refused: []string{"/internal/journal"},
		},
		"the refresh": {
			dir:     "internal/refresh",
			imports: []string{"/internal/credential", "/internal/store", "/internal/journal", "/internal/seal", redis},
			refused: []string{"/internal/store", "/internal/journal", "/internal/seal", redis},
		},
		"the API": {
			dir:     "internal/api",
			imports: []string{"/internal/credential", "/internal/refresh", "/internal/logging", "/internal/redisconn", asynqmon},
			refused: []string{"/internal/refresh", "/internal/logging", "/internal/redisconn", asynqmon},
		},
		"the wiring": {
			dir: "internal/app",
			imports: []string{
				"/internal/config", "/internal/logging", "/internal/store", "/internal/redisconn", "/scheduler", "/worker",
				"/internal/practice", "/internal/testproc", "/internal/store/storetest", "/internal/demo", asynq, asynqmon, redis,
			},
			refused: []string{"/internal/practice", "/internal/testproc", "/internal/store/storetest", "/internal/demo"},
		},
		"the rest of internal": {
			dir:     "internal/metrics/names",
			imports: []string{"/internal/metrics", "/internal/credential", "/internal/failpoint", "/internal/seal", "/internal/app"},
			refused: []string{"/internal/seal", "/internal/app"},
		},
		"a store's suite": {
			dir:     "internal/store/storetest",
			imports: []string{"/internal/store", "/internal/testproc", "testing", redis, "github.com/stretchr/testify/require"},
		},
		"the benchmark": {
			dir:     "bench/compare",
			imports: []string{"/internal/app", "/internal/practice", asynq},
		},
		"test libraries": {
			dir:     "internal/seal",
			imports: []string{"testing", "testing/iotest", "github.com/stretchr/testify/assert", "pgregory.net/rapid", "go.uber.org/goleak"},
			refused: []string{"testing", "testing/iotest", "github.com/stretchr/testify/assert", "pgregory.net/rapid", "go.uber.org/goleak"},
		},
		"a suite in its own tree": {
			dir:     "internal/store",
			imports: []string{"/internal/store/storetest"},
			refused: []string{"/internal/store/storetest"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pkg{dir: tt.dir, documented: true}
			for _, i := range tt.imports {
				p.imports = append(p.imports, full(i))
			}
			got := check(houseRules(), []pkg{p})
			require.Len(t, got, len(tt.refused), strings.Join(got, "\n"))
			for i, want := range tt.refused {
				assert.Contains(t, got[i]+":", full(want))
				assert.True(t, strings.HasPrefix(got[i], tt.dir+" "), got[i])
			}
		})
	}
}

func full(imported string) string {
	if strings.HasPrefix(imported, "/") {
		return module + imported
	}
	return imported
}

func TestCheckAsksForAPackageComment(t *testing.T) {
	t.Parallel()
	got := check(houseRules(), []pkg{{dir: "internal/seal"}, {dir: "internal/store/storetest"}, {dir: "tasks", documented: true}})
	assert.Equal(t, []string{
		"internal/seal has no package comment: say what it is for",
		"internal/store/storetest has no package comment: say what it is for",
	}, got)
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a/doc.go":              "// Package a is documented.\npackage a\n",
		"a/a.go":                "package a\n\nimport _ \"net/http\"\n",
		"a/a_other.go":          "//go:build other\n\npackage a\n\nimport _ \"example.com/other\"\n",
		"a/a_test.go":           "package a_test\n\nimport _ \"testing\"\n",
		"a/testdata/broken.go":  "not Go",
		"b/b.go":                "package b\n",
		"b/b_test.go":           "// Package b is documented in a test.\npackage b\n",
		"b/directive/x.go":      "//go:generate true\npackage directive\n",
		"c/only_test.go":        "// Package c is tests only.\npackage c\n",
		".hidden/x.go":          "not Go",
		"nested/go.mod":         "module nested\n",
		"nested/x.go":           "not Go",
		"nested/under/x.go":     "not Go",
		"c/README.md":           "not Go",
		"c/_off/x.go":           "not Go",
		"c/vendor/pkg/x.go":     "not Go",
		"c/node_modules/p/x.go": "not Go",
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o750))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}

	pkgs, err := load(dir)
	require.NoError(t, err)
	assert.Equal(t, []pkg{
		{dir: "a", documented: true, imports: []string{"example.com/other", "net/http"}},
		{dir: "b"},
		{dir: "b/directive"},
		{dir: "c", documented: true},
	}, pkgs)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "b", "broken.go"), []byte("not Go"), 0o600))
	_, err = load(dir)
	require.ErrorContains(t, err, "broken.go")
}
