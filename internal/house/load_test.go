package house_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// load reads the packages of the module at root from their source files.
//
// It does not ask `go list`: that sees the files of one platform and one set
// of build tags only, and what it reads is hidden from the cache of `go test`,
// which would go on reporting an old success.
func load(root string) ([]pkg, error) {
	found := map[string]*source{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != root && foreign(name) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return fmt.Errorf("place %s: %w", name, err)
		}
		dir := filepath.ToSlash(rel)
		if found[dir] == nil {
			found[dir] = &source{imports: map[string]bool{}}
		}
		return found[dir].add(name)
	})
	if err != nil {
		return nil, fmt.Errorf("read the packages under %s: %w", root, err)
	}

	pkgs := make([]pkg, 0, len(found))
	for _, dir := range slices.Sorted(maps.Keys(found)) {
		pkgs = append(pkgs, found[dir].pkg(dir))
	}
	return pkgs, nil
}

// foreign reports whether a folder is none of this module's packages.
func foreign(dir string) bool {
	base := filepath.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") ||
		slices.Contains([]string{"testdata", "vendor", "node_modules"}, base) {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// source gathers what the files of one folder say.
type source struct {
	files, documented         int // files that are not tests
	testFiles, testDocumented int
	imports                   map[string]bool
}

func (s *source) add(name string) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	documented := 0
	if hasText(file.Doc) {
		documented = 1
	}
	if strings.HasSuffix(name, "_test.go") {
		s.testFiles++
		s.testDocumented += documented
		return nil
	}
	s.files++
	s.documented += documented
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return fmt.Errorf("parse %s: import %s: %w", name, spec.Path.Value, err)
		}
		s.imports[imported] = true
	}
	return nil
}

// hasText is false for a comment that holds directives only.
func hasText(doc *ast.CommentGroup) bool {
	return strings.TrimSpace(doc.Text()) != ""
}

func (s *source) pkg(dir string) pkg {
	documented := s.documented
	if s.files == 0 {
		documented = s.testDocumented
	}
	return pkg{
		dir:        dir,
		documented: documented > 0,
		imports:    slices.Sorted(maps.Keys(s.imports)),
	}
}
