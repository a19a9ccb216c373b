package httpflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/reqtemplate"
)

const opening = "{{"

// values returns what stands for a field.
type values func(reqtemplate.Field) string

// emptyError is a request that cannot be made because a value is not there.
type emptyError struct {
	where string // of the settings
	field reqtemplate.Field
}

// Error names the field.
func (e *emptyError) Error() string {
	return "there is no " + string(e.field) + ", which " + e.where + " needs"
}

// unfitError is a request that cannot be made because a value does not fit where
// it has to stand.
type unfitError struct {
	where string // of the settings
	field reqtemplate.Field
	why   string
}

// Error does not quote the value.
func (e *unfitError) Error() string {
	return e.where + " cannot be made: " + string(e.field) + " " + e.why
}

// pair is a name and the template of its value.
type pair struct {
	name  string
	value *reqtemplate.Template
}

// pairs reads a map of templates, in the order of their names. Names are no
// templates.
func (b *builder) pairs(key string, in map[string]string) []pair {
	var list []pair
	for _, name := range slices.Sorted(maps.Keys(in)) {
		at := key + "." + name
		if name == "" || strings.Contains(name, opening) {
			b.problem(key, errors.New("a name is empty or has a template in it; templates are for values"))
		}
		if t := b.template(at, in[name]); t != nil {
			list = append(list, pair{name, t})
		}
	}
	return list
}

// template reads a template and notes which fields it uses; nil if it is none.
func (b *builder) template(key, text string) *reqtemplate.Template {
	t, err := reqtemplate.Parse(text)
	if unknown, ok := errors.AsType[*reqtemplate.UnknownFieldError](err); ok {
		err = errors.New(unknown.Among(known(b.kind)))
	}
	if err != nil {
		b.problem(key, err)
		return nil
	}
	for _, f := range t.Fields() {
		if !slices.Contains(known(b.kind), f) {
			b.problem(key, fmt.Errorf("{{.%s}} is not known to this call; known are %v", f, known(b.kind)))
		}
		if !slices.Contains(b.fields, f) {
			b.fields = append(b.fields, f)
		}
	}
	return t
}

// tree reads a JSON value in which the strings are templates: they become
// templates in it.
func (b *builder) tree(key string, in any) any {
	var plain any
	text, err := json.Marshal(in)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber() // a number is sent as it is written
		err = d.Decode(&plain)
	}
	if err != nil {
		b.problem(key, errors.New("it is no JSON value"))
		return nil
	}
	return b.branch(key, plain)
}

func (b *builder) branch(key string, in any) any {
	switch in := in.(type) {
	case string:
		return b.template(key, in)
	case []any:
		for i := range in {
			in[i] = b.branch(fmt.Sprintf("%s[%d]", key, i), in[i])
		}
	case map[string]any:
		for name := range in {
			if strings.Contains(name, opening) {
				b.problem(key, errors.New("a name has a template in it; templates are for values"))
			}
			in[name] = b.branch(key+"."+name, in[name])
		}
	}
	return in
}

// renderTree returns the tree with its templates rendered.
func renderTree(in any, get values) any {
	switch in := in.(type) {
	case *reqtemplate.Template:
		return in.Render(get)
	case []any:
		out := make([]any, len(in))
		for i := range in {
			out[i] = renderTree(in[i], get)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(in))
		for name := range in {
			out[name] = renderTree(in[name], get)
		}
		return out
	}
	return in
}

// writeJSON renders a tree as JSON text. It is an error if a value is not UTF-8,
// which JSON is (RFC 8259 section 8.1): it would become another one.
func writeJSON(where string, tree any, get values) (string, error) {
	var broken reqtemplate.Field
	filled := renderTree(tree, func(f reqtemplate.Field) string {
		text := get(f)
		if !utf8.ValidString(text) {
			broken = f
		}
		return text
	})
	if broken != "" {
		return "", &unfitError{where, broken, "is not UTF-8"}
	}
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(filled); err != nil {
		return "", &unfitError{where, broken, "cannot be written as JSON"}
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// checkHeaderName reports why a header cannot be declared. Those that say where
// a request ends, or how it is sent, are not for a declaration; Idempotency-Key
// has net/http send a request twice.
func checkHeaderName(name string) error {
	switch lower := strings.ToLower(name); {
	case !provider.IsToken(name):
		return fmt.Errorf("%q is not the name of a header", name)
	case slices.Contains([]string{
		"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect",
		"idempotency-key", "x-idempotency-key",
	}, lower), strings.HasPrefix(lower, "proxy-"):
		return fmt.Errorf("%q says where a request ends or how it is sent, or has it sent twice, and is not for a declaration; write another header, or none", name)
	}
	return nil
}
