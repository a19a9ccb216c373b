package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/refreshd/refreshd/internal/credential"
)

// decode sets v from a node. What cannot be read becomes a problem, and
// reading goes on.
func (l *loader) decode(n ast.Node, v reflect.Value, f field, key string) {
	if _, marked := l.at[key]; !marked && key != "" {
		l.mark(key, l.name+line(n))
	}
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		l.refuse(key, "YAML anchors, aliases and tags are not supported; write the value out")
		return
	}
	kind := shapeOf(v.Type())
	pairs, isMapping := pairsOf(n)
	if _, null := n.(*ast.NullNode); null && kind != scalar && kind != free {
		return // a section whose entries are all commented out
	}
	switch {
	case v.Type() == reflect.TypeFor[credential.Secret]():
		l.decodeSecret(n, v, f, key)
	case v.Type() == reflect.TypeFor[unsupported]():
		l.refuse(key, "it is not supported by this version; %s", f.remedy)
	case (kind == mapping || kind == either) && isMapping:
		l.decodeStruct(pairs, v, key)
	case kind == table && isMapping:
		l.decodeTable(pairs, v, f, key)
	case kind == list:
		l.decodeList(n, v, f, key)
	case kind == free:
		l.decodeFree(n, v, key)
	case kind == mapping, kind == table:
		l.refuse(key, "a mapping is expected, not a %s", kindOf(n))
	default:
		text, err := textOf(n, v.Type(), f)
		if err == nil {
			err = l.setText(v, f, text)
		}
		if err != nil {
			l.refuse(key, "%v", err)
		}
	}
}

// pairsOf returns the entries of a mapping, which the parser represents in
// two ways.
func pairsOf(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	default:
		return nil, false
	}
}

// eachPair calls use for every entry, with the path of its key, and reports
// keys that occur twice or are no plain text.
func (l *loader) eachPair(pairs []*ast.MappingValueNode, parent string, use func(name, key string, value ast.Node)) {
	first := map[string]string{}
	for _, pair := range pairs {
		at := l.name + line(pair.Key)
		name, ok := keyText(pair.Key)
		if !ok {
			l.problems = append(l.problems, Problem{Where: at, Key: parent, Text: "a key must be plain text"})
			continue
		}
		key := join(parent, name)
		if before, twice := first[name]; twice {
			l.problems = append(l.problems, Problem{Where: at, Key: key, Text: "the key occurs twice (first at " + before + "); remove one of them"})
			continue
		}
		first[name] = at
		l.mark(key, at)
		use(name, key, pair.Value)
	}
}

func keyText(n ast.MapKeyNode) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return n.GetToken().Value, true
	default:
		return "", false
	}
}

// join returns the path of a key. A name that cannot be shown as it is, as one with a
// line break, stands in it in quotes.
func join(parent, name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		name = strconv.Quote(name)
	}
	if parent == "" {
		return name
	}
	return parent + "." + name
}

func (l *loader) decodeStruct(pairs []*ast.MappingValueNode, v reflect.Value, parent string) {
	fields := fieldsOf(v.Type())
	l.eachPair(pairs, parent, func(name, key string, value ast.Node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == name })
		if i < 0 {
			l.misnamed[parent] = true
			l.refuse(key, "there is no such key; known here: %s", known(fields))
			return
		}
		l.decode(value, v.Field(fields[i].index), fields[i], key)
	})
}

// known lists the keys that may be used.
func known(fields []field) string {
	var keys []string
	for _, f := range fields {
		if f.remedy == "" {
			keys = append(keys, f.key)
		}
	}
	return strings.Join(keys, ", ")
}

func (l *loader) decodeTable(pairs []*ast.MappingValueNode, v reflect.Value, f field, parent string) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	l.eachPair(pairs, parent, func(name, key string, value ast.Node) {
		elem := newElem(v.Type().Elem())
		l.decode(value, elem, f, key)
		v.SetMapIndex(reflect.ValueOf(name), elem)
	})
}

func (l *loader) decodeList(n ast.Node, v reflect.Value, f field, key string) {
	items, ok := n.(*ast.SequenceNode)
	if !ok {
		l.refuse(key, "a list is expected, not a %s; write [a, b]", kindOf(n))
		return
	}
	for _, item := range items.Values {
		elem := newElem(v.Type().Elem())
		l.decode(item, elem, f, index(key, v.Len())) // a preset's come behind the file's
		v.Set(reflect.Append(v, elem))
	}
}

// newElem makes an element of a table or a list, with its defaults.
func newElem(t reflect.Type) reflect.Value {
	elem := reflect.New(t)
	if d, ok := reflect.TypeAssert[interface{ setDefaults() }](elem); ok {
		d.setDefaults()
	}
	return elem.Elem()
}
