package house_test

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lintConfig is the part of .golangci.yaml that says who may import whom.
type lintConfig struct {
	Linters struct {
		Settings struct {
			Depguard struct {
				Rules map[string]depguardRule `yaml:"rules"`
			} `yaml:"depguard"`
		} `yaml:"settings"`
	} `yaml:"linters"`
}

type depguardRule struct {
	ListMode string   `yaml:"list-mode"`
	Files    []string `yaml:"files"`
	Allow    []string `yaml:"allow"`
	Deny     []struct {
		Pkg  string `yaml:"pkg"`
		Desc string `yaml:"desc"`
	} `yaml:"deny"`
}

// exempt lists the folders that the rule leaves out.
func (r depguardRule) exempt() []string {
	var dirs []string
	for _, f := range r.Files {
		if dir, ok := strings.CutPrefix(f, "!${config-path}/"); ok {
			dirs = append(dirs, strings.TrimSuffix(dir, "/**"))
		}
	}
	return dirs
}

func (r depguardRule) denies(imported string) bool {
	for _, d := range r.Deny {
		if d.Pkg == imported {
			return true
		}
	}
	return false
}

func readDepguard(t *testing.T) map[string]depguardRule {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, ".golangci.yaml"))
	require.NoError(t, err)
	var c lintConfig
	require.NoError(t, yaml.Unmarshal(text, &c))
	require.NotEmpty(t, c.Linters.Settings.Depguard.Rules)
	return c.Linters.Settings.Depguard.Rules
}

// suites is how .golangci.yaml says "a folder whose name ends in test".
const suites = "**/*test"

func TestLintKnowsTheSameLayers(t *testing.T) {
	t.Parallel()
	lint := readDepguard(t)
	r := houseRules()
	rest := lint["internal"]
	require.Contains(t, rest.Files, "${config-path}/internal/**")

	for _, l := range r.layers {
		if path.Dir(l.dir) == "internal" {
			assert.Contains(t, rest.exempt(), l.dir, "the rule for the rest of internal/ must leave out what has a rule of its own")
		}
		if l.dir == "internal" || slices.Equal(l.may, []string{anything}) {
			continue
		}
		rule, ok := lint[strings.ReplaceAll(l.dir, "/", "-")]
		if !assert.True(t, ok, "no depguard rule for %s", l.dir) {
			continue
		}
		want := []string{module + "/" + l.dir}
		for _, m := range r.mayImport(l) {
			want = append(want, module+"/"+m)
		}
		if l.stdlibOnly {
			want = append(want, "$gostd")
			assert.Equal(t, "strict", rule.ListMode, l.dir)
		} else {
			assert.Equal(t, "lax", rule.ListMode, l.dir)
			assert.True(t, rule.denies(module), "%s: everything else of this module must be denied", l.dir)
		}
		assert.ElementsMatch(t, want, rule.Allow, l.dir)
		assert.Contains(t, rule.Files, "${config-path}/"+l.dir+"/**", l.dir)
		for _, n := range l.never {
			assert.True(t, rule.denies(n), "%s must be denied %s", l.dir, n)
		}
	}
	for name, rule := range lint {
		for _, d := range rule.Deny {
			assert.NotEmpty(t, d.Desc, "%s gives no reason", name)
		}
	}
}

func TestLintKnowsTheSameGuards(t *testing.T) {
	t.Parallel()
	lint := readDepguard(t)
	r := houseRules()
	for _, g := range r.guards {
		imported, ours := g.pkg, within("internal", g.pkg)
		if ours {
			imported = module + "/" + g.pkg
		}
		want := slices.Concat(g.by, r.support, []string{suites})
		if ours {
			want = append(want, g.pkg)
		}
		slices.Sort(want)

		found := false
		for name, rule := range lint {
			if !strings.HasPrefix(name, "guard-") || !rule.denies(imported) {
				continue
			}
			found = true
			assert.ElementsMatch(t, slices.Compact(want), rule.exempt(), "%s: who may import %s", name, g.pkg)
		}
		assert.True(t, found, "no depguard rule guards %s", g.pkg)
	}
}
