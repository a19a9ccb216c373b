package house_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A pkg is one package of this module as its source files show it.
type pkg struct {
	// dir is the folder, relative to the module's root, with slashes.
	dir string
	// documented is set when a file that is not a test carries the package
	// comment, or, in a package of tests only, any file.
	documented bool
	// imports holds the import paths of the files that are not tests, sorted.
	imports []string
}

// check returns one line per broken rule, in the order of pkgs.
func check(r rules, pkgs []pkg) []string {
	var broken []string
	for _, p := range pkgs {
		if !p.documented {
			broken = append(broken, p.dir+" has no package comment: say what it is for")
		}
		if r.isSupport(p.dir) {
			continue
		}
		l, ok := r.layerOf(p.dir)
		if !ok {
			broken = append(broken, p.dir+" is in no layer: add one to the table and to .golangci.yaml")
			continue
		}
		for _, imported := range p.imports {
			if why, ok := r.allows(l, p.dir, imported); !ok {
				broken = append(broken, fmt.Sprintf("%s must not import %s: %s", p.dir, imported, why))
			}
		}
	}
	return broken
}

// allows reports whether dir, which belongs to l, may import the path, and if
// not, why.
func (r rules) allows(l layer, dir, imported string) (why string, ok bool) {
	target, ours := strings.CutPrefix(imported, module+"/")
	switch {
	case ours && within(l.own(dir), target):
		if r.isSupport(target) {
			return "what exists for tests is imported by tests alone", false
		}
	case ours && !r.reaches(l, target):
		return l.why, false
	case !ours && l.stdlibOnly && strings.Contains(imported, "."):
		return l.why, false
	case slices.ContainsFunc(l.never, func(n string) bool { return within(n, imported) }):
		return l.why, false
	}
	for _, g := range r.guards {
		if within(g.pkg, target) && !g.admits(dir) {
			return g.why, false
		}
	}
	return "", true
}

// reaches reports whether the layer's list covers target. What exists for
// tests must be listed by its name.
func (r rules) reaches(l layer, target string) bool {
	return slices.ContainsFunc(r.mayImport(l), func(m string) bool {
		if m == anything {
			return !r.isSupport(target)
		}
		return within(m, target) && (m == target || !r.isSupport(target))
	})
}

// mayImport lists the folders that the layer may import: its own list, and
// what is common.
func (r rules) mayImport(l layer) []string {
	if l.stdlibOnly || l.alone {
		return l.may
	}
	return slices.Concat(l.may, r.common)
}

// layerOf returns the layer with the longest folder that holds dir.
func (r rules) layerOf(dir string) (layer, bool) {
	var best layer
	for _, l := range r.layers {
		if within(l.dir, dir) && len(l.dir) > len(best.dir) {
			best = l
		}
	}
	return best, best.dir != ""
}

func (r rules) isSupport(dir string) bool {
	if slices.ContainsFunc(r.support, func(s string) bool { return within(s, dir) }) {
		return true
	}
	return slices.ContainsFunc(strings.Split(dir, "/"), func(element string) bool {
		return strings.HasSuffix(element, "test")
	})
}

// own is the tree that dir belongs to: the layer's folder, or the folder
// directly under it for the layer that gathers all the rest of internal/.
func (l layer) own(dir string) string {
	if l.dir != "internal" {
		return l.dir
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(dir, "internal/"), "/")
	return path.Join("internal", name)
}

func (g guard) admits(dir string) bool {
	return within(g.pkg, dir) || slices.ContainsFunc(g.by, func(b string) bool { return within(b, dir) })
}

// within reports whether p is dir or lies under it; both are slash-separated.
func within(dir, p string) bool {
	return p == dir || strings.HasPrefix(p, dir+"/")
}
