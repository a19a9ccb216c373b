package config

import (
	"reflect"
	"strconv"

	"github.com/goccy/go-yaml/ast"
)

// decodeFree sets v to any JSON value.
func (l *loader) decodeFree(n ast.Node, v reflect.Value, key string) {
	if _, null := n.(*ast.NullNode); null {
		l.refuse(key, "%v", errNoValue)
		return
	}
	if value := l.free(n, key); value != nil {
		v.Set(reflect.ValueOf(value))
	}
}

// free reads any JSON value: nil, bool, int64, uint64, float64, string, []any
// or map[string]any.
func (l *loader) free(n ast.Node, key string) any {
	if pairs, ok := pairsOf(n); ok {
		object := map[string]any{}
		l.eachPair(pairs, key, func(name, sub string, value ast.Node) {
			object[name] = l.free(value, sub)
		})
		return object
	}
	switch n := n.(type) {
	case *ast.SequenceNode:
		items := make([]any, len(n.Values))
		for i, item := range n.Values {
			sub := key + "[" + strconv.Itoa(i) + "]"
			l.mark(sub, l.name+line(item))
			items[i] = l.free(item, sub)
		}
		return items
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		if n.Value != nil {
			return n.Value.Value
		}
	case *ast.IntegerNode:
		switch n.Value.(type) {
		case int64, uint64:
			return n.Value
		}
	case *ast.FloatNode:
		return n.Value
	case *ast.BoolNode:
		return n.Value
	case *ast.NullNode:
		return nil
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		l.refuse(key, "YAML anchors, aliases and tags are not supported; write the value out")
		return nil
	}
	l.refuse(key, "a %s is no JSON value; write it in quotes", kindOf(n))
	return nil
}
