package failpoint_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/failpoint"
	"github.com/refreshd/refreshd/internal/testproc"
)

// root is the module's root, seen from the folder in which tests run.
const root = "../.."

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := testproc.RemoveBuilds(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}

func isClock(p failpoint.Point) bool { return strings.HasPrefix(string(p), "clock.") }

// constants reads the points of points.go: their Go names, and their texts.
func constants(t *testing.T) map[string]failpoint.Point {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "points.go", nil, 0)
	require.NoError(t, err)
	found := map[string]failpoint.Point{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		require.Len(t, spec.Names, 1)
		require.Len(t, spec.Values, 1)
		value, ok := spec.Values[0].(*ast.BasicLit)
		require.True(t, ok, "%s is not a plain text", spec.Names[0])
		found[spec.Names[0].Name] = failpoint.Point(strings.Trim(value.Value, `"`))
		return false
	})
	return found
}

func TestAllHasEveryPointOnce(t *testing.T) {
	t.Parallel()
	want := []failpoint.Point{}
	for name, p := range constants(t) {
		want = append(want, p)
		assert.Regexp(t, `^[a-z]+\.[a-z]+$`, string(p))
		assert.Equal(t, strings.ToLower(name), strings.ReplaceAll(string(p), ".", ""))
	}
	assert.ElementsMatch(t, want, failpoint.All())
	assert.GreaterOrEqual(t, len(want), 40)
}

// A point that no place in the program passes would be a test that never
// crashes anything.
func TestEveryPointHasItsPlace(t *testing.T) {
	t.Parallel()
	sites := sitesIn(t)
	var missing []string
	for name, p := range constants(t) {
		right, wrong := "Hit", "Offset"
		if isClock(p) {
			right, wrong = wrong, right
		}
		if !slices.Contains(sites, right+" "+name) {
			missing = append(missing, name)
		}
		assert.NotContains(t, sites, wrong+" "+name, "failpoint.%s(failpoint.%s) does nothing", wrong, name)
	}
	slices.Sort(missing)
	assert.Empty(t, missing, "points without a place in the program: failpoint.Hit(failpoint.Name), Offset for clocks")
}

// sitesIn lists the calls in the program's files, by function and constant:
// "Hit KeepBefore".
func sitesIn(t *testing.T) []string {
	t.Helper()
	site := regexp.MustCompile(`failpoint\.(Hit|Offset)\(failpoint\.(\w+)\)`)
	var sites []string
	for _, dir := range []string{"cmd", "internal", "scheduler", "tasks", "worker"} {
		tree := os.DirFS(filepath.Join(root, dir))
		err := fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "failpoint"):
				return fs.SkipDir
			case entry.IsDir(), !strings.HasSuffix(path, ".go"), strings.HasSuffix(path, "_test.go"):
				return nil
			}
			text, err := fs.ReadFile(tree, path)
			for _, m := range site.FindAllSubmatch(text, -1) {
				sites = append(sites, string(m[1])+" "+string(m[2]))
			}
			return err
		})
		require.NoError(t, err)
	}
	return sites
}
