package config

import (
	"encoding"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// field is one key of a mapping, as a struct declares it.
type field struct {
	index   int
	key     string
	oneof   []string // allowed values; nil for any
	growing bool     // whether a later version may allow more of them
	secret  string   // "url" for a URL that may hold a password, "template" for a part of a request
	path    bool     // a path in the file system
	quoted  bool     // a text that is hardly ever a number: one must be in quotes
	remedy  string   // of a key that is reserved
}

// fieldsOf lists the keys of a struct type in the order of their declaration.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "" || key == "-" {
			continue
		}
		supported := f.Tag.Get("supported")
		fields = append(fields, field{
			index:   i,
			key:     key,
			oneof:   strings.Fields(supported + f.Tag.Get("oneof")),
			growing: supported != "",
			secret:  f.Tag.Get("secret"),
			path:    f.Tag.Get("path") != "",
			quoted:  f.Tag.Get("quoted") != "",
			remedy:  f.Tag.Get("remedy"),
		})
	}
	return fields
}

// shape is how a Go type is written in YAML.
type shape int

const (
	scalar  shape = iota
	either        // a scalar or a mapping
	mapping       // with fixed keys
	table         // with keys of the operator's choice
	list
	free // any JSON value
)

// shapeOf tells how a type is written.
func shapeOf(t reflect.Type) shape {
	_, text := reflect.TypeAssert[encoding.TextUnmarshaler](reflect.Zero(reflect.PointerTo(t)))
	switch {
	case t == reflect.TypeFor[credential.Secret](), t == reflect.TypeFor[netip.Prefix](), t == reflect.TypeFor[time.Duration]():
		return scalar
	case t.Kind() == reflect.Struct && text && len(fieldsOf(t)) > 0:
		return either
	case text:
		return scalar
	case t.Kind() == reflect.Struct:
		return mapping
	case t.Kind() == reflect.Map:
		return table
	case t.Kind() == reflect.Slice:
		return list
	case t.Kind() == reflect.Interface:
		return free
	default:
		return scalar
	}
}
