package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"golang.org/x/sys/unix"
)

const (
	maxFile    = 1 << 20
	maxNesting = 100 // of brackets; the deepest key lies six deep
)

// Buildable tells what keeps a provider from being built of its settings; nil if
// nothing does. A problem's Key begins below the provider, "" for the provider as
// a whole, and its Where is not looked at.
type Buildable func(name string, p Provider) []Problem

// Load reads the file at path and the overrides in env, which has the form of
// os.Environ. An empty path means no file: the defaults and env. What is wrong
// is returned as an [InvalidError]; an unreadable file as an error of its own.
//
// How a provider is written is decided here; buildable, which may be nil, adds
// what is asked of one beside that. It is called for each provider in which
// nothing else is wrong.
func Load(path string, env []string, buildable Buildable) (*Config, error) {
	return read(path, env, everything, buildable)
}

// Locate reads the same as [Load] for somebody who only wants to find the
// service: what is wrong elsewhere than in listen, data_dir and tls does not
// matter, such as a secret that is not in his environment. What lies under the
// keys of also matters, too. Nothing else of the result can be relied on.
func Locate(path string, env []string, also ...string) (*Config, error) {
	return read(path, env, func(key string) bool {
		first, _, _ := strings.Cut(key, ".")
		return first == "" || first == "listen" || first == "data_dir" || first == "tls" || slices.Contains(also, first)
	}, nil)
}

// everything says that all of a configuration matters.
func everything(string) bool { return true }

func read(path string, env []string, matters func(key string) bool, buildable Buildable) (*Config, error) {
	if path == "" {
		return load("the defaults", ".", nil, env, matters, buildable)
	}
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", withRemedy(err, "name the one that is meant with --config"))
	}
	return load(path, filepath.Dir(path), data, env, matters, buildable)
}

// loader gathers what is known while a configuration is read.
type loader struct {
	name string // of the file, for messages
	base string // the folder that relative paths start from
	env  map[string]string

	buildable Buildable // nil if nobody was asked

	cfg      *Config
	at       map[string]string // key path → where it was set
	below    map[string]string // key path → where the first key below it was set
	bad      map[string]bool   // key paths whose value could not be read
	misnamed map[string]bool   // paths of mappings with a key that is not known
	filled   map[string]bool   // key paths whose value is a preset's
	problems []Problem
	warnings []string
	files    []string
	envUsed  map[string]bool
}

func load(name, base string, data []byte, env []string, matters func(key string) bool, buildable Buildable) (*Config, error) {
	l := &loader{
		name: name, base: base, env: environ(env), buildable: buildable, cfg: Default(),
		at: map[string]string{}, below: map[string]string{}, bad: map[string]bool{}, misnamed: map[string]bool{}, filled: map[string]bool{}, envUsed: map[string]bool{},
	}
	l.cfg.DataDir = filepath.Join(base, l.cfg.DataDir)
	l.cfg.Keyset.File = filepath.Join(base, l.cfg.Keyset.File)
	root, problem := parse(data)
	if problem != nil {
		problem.Where = name + problem.Where
		return nil, &InvalidError{Problems: []Problem{*problem}}
	}
	if root != nil {
		l.decode(root, reflect.ValueOf(l.cfg).Elem(), field{}, "")
	}
	l.override()
	l.applyPresets()
	l.inherit()
	l.check()
	l.problems = slices.DeleteFunc(l.problems, func(p Problem) bool { return !matters(p.Key) })
	if len(l.problems) > 0 {
		slices.SortStableFunc(l.problems, byPlace)
		return nil, &InvalidError{Problems: l.problems}
	}
	l.cfg.Warnings = l.warnings
	slices.Sort(l.files)
	l.cfg.files = slices.Compact(l.files)
	return l.cfg, nil
}

// parse turns the text into a tree. A problem's Where is what follows the
// file's name.
func parse(data []byte) (root ast.Node, problem *Problem) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	switch {
	case !utf8.Valid(data):
		return nil, &Problem{Text: "it is not UTF-8 text; save it as UTF-8"}
	case bytes.IndexByte(data, 0) >= 0:
		return nil, &Problem{Text: "it holds a NUL byte; it is not a text file"}
	case nesting(data) > maxNesting:
		return nil, &Problem{Text: fmt.Sprintf("its brackets are nested more than %d deep", maxNesting)}
	}
	// A parser that fails on some input must not take the service with it.
	defer func() {
		if recover() != nil {
			root, problem = nil, &Problem{Text: "it cannot be read as YAML"}
		}
	}()
	// Duplicate keys are let through here, to be reported with everything else.
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxProblem(err)
	}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if root != nil {
			return nil, &Problem{Where: line(doc.Body), Text: "a second YAML document begins here; one file is one document, remove the ---"}
		}
		root = doc.Body
	}
	return root, nil
}

// syntaxProblem keeps the message and the line. The error's own text quotes
// the lines around it, and with them perhaps a secret.
func syntaxProblem(err error) *Problem {
	syntax, ok := errors.AsType[yaml.Error](err)
	if !ok {
		return &Problem{Text: "it cannot be read as YAML"}
	}
	p := &Problem{Text: "it is not valid YAML"}
	if text := syntax.GetMessage(); !strings.Contains(text, `"`) {
		p.Text += ": " + text
	}
	if tk := syntax.GetToken(); tk != nil && tk.Position != nil {
		p.Where = fmt.Sprintf(":%d", tk.Position.Line)
	}
	return p
}

// nesting is how deep brackets are open at most, quotes and comments counted
// in: an upper bound that keeps the parser's recursion short.
func nesting(data []byte) int {
	depth, most := 0, 0
	for _, b := range data {
		switch b {
		case '[', '{':
			depth++
			most = max(most, depth)
		case ']', '}':
			depth = max(depth-1, 0)
		}
	}
	return most
}

func line(n ast.Node) string {
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		return fmt.Sprintf(":%d", tk.Position.Line)
	}
	return ""
}

// readFile reads a regular file of at most [maxFile] bytes. It does not wait for
// the writer of a pipe.
func readFile(path string) ([]byte, error) {
	f, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(data)) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes; is it the right file?", path, maxFile)
	}
	return data, nil
}

func openRegular(path string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file; name one that is", path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, st, nil
}

// inFolder resolves a path against the folder of the file.
func (l *loader) inFolder(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(l.base, path)
}

// mark remembers where a key was given its value, for itself and for what it
// is part of.
func (l *loader) mark(key, where string) {
	l.at[key] = where
	for parent := key; ; {
		cut := strings.LastIndexAny(parent, ".[")
		if cut < 0 {
			return
		}
		parent = parent[:cut]
		if _, known := l.below[parent]; known {
			return
		}
		l.below[parent] = where
	}
}

// where tells where the value of a key came from, or of one below it, or its
// nearest parent.
func (l *loader) where(key string) string {
	if at, ok := l.at[key]; ok {
		return at
	}
	if at, ok := l.below[key]; ok {
		return at
	}
	cut := strings.LastIndexAny(key, ".[")
	if cut < 0 {
		return l.name
	}
	return l.where(key[:cut])
}

// set reports whether the key, or one below it, was given a value, if only
// one that cannot be read.
func (l *loader) set(key string) bool {
	_, itself := l.at[key]
	_, below := l.below[key]
	return itself || below
}

// readable reports whether none of the keys was refused for itself, so that a
// check of one against the other says something new. Nor may one be missing beside
// a key that is not known: it may stand there, misspelt.
func (l *loader) readable(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(k string) bool {
		return l.bad[k] || l.misnamed[k[:max(0, strings.LastIndexAny(k, ".["))]] && !l.set(k)
	})
}

// refuse adds a problem with a key.
func (l *loader) refuse(key, format string, args ...any) {
	l.bad[key] = true
	l.problems = append(l.problems, Problem{Where: l.where(key), Key: key, Text: fmt.Sprintf(format, args...)})
}

// warn adds a warning about a key.
func (l *loader) warn(key, format string, args ...any) {
	l.warnings = append(l.warnings, Problem{Where: l.where(key), Key: key, Text: fmt.Sprintf(format, args...)}.String())
}
