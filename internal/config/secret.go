package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/refreshd/refreshd/internal/credential"
)

const maxSecret = 64 << 10

// asTemplate marks secrets that are parts of a request: texts with or without
// fields of a template.
const asTemplate = "template"

// decodeSecret reads {env: NAME}, {file: path} or a plain value.
func (l *loader) decodeSecret(n ast.Node, v reflect.Value, f field, key string) {
	pairs, isMapping := pairsOf(n)
	if !isMapping {
		text, err := secretText(n, f)
		if err != nil {
			l.refuse(key, "%v", err)
			return
		}
		if f.secret == "" && blank(text) {
			l.refuse(key, "it holds nothing but blanks; write {env: NAME} or {file: path}")
			return
		}
		l.setSecret(v, text, key, "it")
		if plainSecret(text, f, key) {
			l.warn(key, "a secret is written into the file; use {env: NAME} or {file: path}")
		}
		return
	}
	given, before := map[string]string{}, len(l.problems)
	l.eachPair(pairs, key, func(name, sub string, value ast.Node) {
		text, err := secretText(value, field{})
		switch {
		case name != "env" && name != "file":
			l.refuse(sub, "there is no such key; a secret is {env: NAME}, {file: path} or a plain value")
		case err != nil || text == "":
			l.refuse(sub, "write a name, as in {env: NAME} or {file: path}")
		default:
			given[name] = text
		}
	})
	name, fromEnv := given["env"]
	path, fromFile := given["file"]
	var (
		text, from string
		err        error
	)
	switch {
	case fromEnv && fromFile:
		err = errors.New("give either env or file, not both")
	case fromEnv:
		from = "the environment variable " + name
		text, err = l.secretFromEnv(name)
	case fromFile:
		path = l.inFolder(path)
		from = "the file " + path
		text, err = l.secretFromFile(path)
	case len(l.problems) > before:
		l.bad[key] = true // said already
		return
	default:
		err = errors.New("it is empty; write {env: NAME} or {file: path}")
	}
	if err == nil && f.secret == asTemplate && strings.Contains(text, "{{") {
		err = errors.New("it holds {{, and what comes from the environment or a file is sent as it is; write the template into this file")
	}
	if err != nil {
		l.refuse(key, "%v", err)
		return
	}
	l.setSecret(v, text, key, from)
}

// secretText is textOf for values that no message may show.
func secretText(n ast.Node, f field) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		if n.Value != nil {
			return n.Value.Value, nil
		}
		return "", errNoValue
	case *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value, nil
	case *ast.BoolNode:
		if f.secret == asTemplate {
			return n.GetToken().Value, nil
		}
	case *ast.NullNode:
		return "", errNoValue
	}
	if f.secret == asTemplate {
		return "", fmt.Errorf("a text, {env: NAME} or {file: path} is expected, not a %s", kindOf(n))
	}
	return "", fmt.Errorf("a secret is {env: NAME}, {file: path} or a plain value in quotes, not a %s", kindOf(n))
}

// plainSecret reports whether a value in the file gives something away.
func plainSecret(text string, f field, key string) bool {
	switch f.secret {
	case asTemplate:
		return text != "" && !strings.Contains(text, "{{") && namesSecret(key)
	case "":
		return text != ""
	}
	_, rest, _ := strings.Cut(text, "://")
	authority, _, _ := strings.Cut(rest, "/")
	login, _, found := strings.Cut(authority, "@")
	return found && strings.Contains(login, ":") || strings.Contains(text, "password=")
}

// namesSecret reports whether a part of a request is called what secrets are
// called.
func namesSecret(key string) bool {
	name := strings.ToLower(key[strings.LastIndexByte(key, '.')+1:])
	name = strings.NewReplacer("-", "", "_", "").Replace(name)
	return slices.ContainsFunc([]string{"secret", "apikey", "password", "authorization", "cookie"}, func(word string) bool {
		return strings.Contains(name, word)
	})
}

// blank reports whether a text has something in it, and none of that can be seen.
func blank(text string) bool { return text != "" && strings.TrimSpace(text) == "" }

// setSecret takes a single line; from says what holds it.
func (l *loader) setSecret(v reflect.Value, text, key, from string) {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		l.refuse(key, "%s holds a line break or another control character; give the secret as a single line of text", from)
		return
	}
	v.Set(reflect.ValueOf(credential.NewSecret(text)))
}

func (l *loader) secretFromEnv(name string) (string, error) {
	l.envUsed[name] = true
	value, set := l.env[name]
	switch {
	case !set:
		return "", fmt.Errorf("the environment variable %s is not set; set it, or use {file: path}", name)
	case value == "":
		return "", fmt.Errorf("the environment variable %s is empty; give it a value, or use {file: path}", name)
	case blank(value):
		return "", fmt.Errorf("the environment variable %s holds nothing but blanks; give it a value, or use {file: path}", name)
	}
	return value, nil
}

// secretFromFile reads a file that only its owner may read, without the line
// break at its end.
func (l *loader) secretFromFile(path string) (string, error) {
	l.files = append(l.files, path)
	data, err := readPrivate(path, maxSecret)
	if err != nil {
		return "", withRemedy(err, "write the secret into that file and run: chmod 600 "+path+", or name the file that has it")
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case text == "":
		return "", fmt.Errorf("the file %s is empty; write the secret into it", path)
	case blank(text):
		return "", fmt.Errorf("the file %s holds nothing but blanks; write the secret into it", path)
	}
	return text, nil
}

// withRemedy adds what to do about a file that is not there, that this user may not
// read, or that cannot be opened for another reason. What is wrong with one that was
// opened comes with its remedy.
func withRemedy(err error, missing string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; %s", err, missing)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; let the user that refreshd runs as read it", err)
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%w; name a file that can be read", err)
	}
	return err
}

// readPrivate reads a file that nobody but its owner may read or write.
func readPrivate(path string, limit int64) ([]byte, error) {
	f, st, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("the file %s can be read or written by others (mode %04o); run: chmod 600 %s", path, mode, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("the file %s is larger than %d bytes; is it the right one?", path, limit)
	}
	return data, nil
}
