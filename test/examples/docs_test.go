package examples

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the pages show of programs are pieces of programs that run.
func TestSnippetsArePiecesOfPrograms(t *testing.T) {
	t.Parallel()
	marked := regexp.MustCompile("(?s)<!-- from (\\S+) -->\n```(\\w+)\n(.*?)```")
	block := regexp.MustCompile("(?m)^```(go|js|ts)$")
	for page, least := range map[string]int{"docs/sdk.md": 15, "README.md": 1} {
		text := read(t, page)
		found := marked.FindAllStringSubmatch(text, -1)
		assert.GreaterOrEqual(t, len(found), least, page)
		if page == "docs/sdk.md" {
			assert.Len(t, block.FindAllString(text, -1), len(found), "%s: each snippet says where it is from", page)
		}
		for _, snippet := range found {
			source, want := unindented(read(t, snippet[1])), unindented(snippet[3])
			assert.Contains(t, source, "\n"+want, "%s: this is not in %s any more", page, snippet[1])
		}
	}
}

// unindented is a text whose lines begin at the margin.
func unindented(text string) string {
	var lines strings.Builder
	for line := range strings.Lines(text) {
		lines.WriteString(strings.TrimLeft(line, " \t"))
	}
	return lines.String()
}

// read returns a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(text)
}
