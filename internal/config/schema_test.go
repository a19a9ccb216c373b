package config

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/schedule"
)

// node is what the test looks at in a JSON schema.
type node struct {
	Ref         string           `json:"$ref"`
	Description string           `json:"description"`
	Properties  map[string]*node `json:"properties"`
	Items       *node            `json:"items"`
	AnyOf       []*node          `json:"anyOf"`
	Enum        []any            `json:"enum"`
	Default     any              `json:"default"`
	Not         *node            `json:"not"`
	Additional  json.RawMessage  `json:"additionalProperties"`
	Defs        map[string]*node `json:"$defs"`
}

// TestSchemaAndTypesHaveTheSameKeys walks both from the root.
func TestSchemaAndTypesHaveTheSameKeys(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/config.schema.json")
	require.NoError(t, err)
	var root node
	require.NoError(t, json.Unmarshal(text, &root))
	w := walker{T: t, defs: root.Defs}
	w.walk("", reflect.ValueOf(Default()).Elem(), field{}, &root)
	assert.Greater(t, w.keys, 300)
}

type walker struct {
	*testing.T

	defs map[string]*node
	keys int
}

// resolve follows a reference, and picks the mapping out of alternatives.
func (w *walker) resolve(n *node) *node {
	if n.Ref != "" {
		next := w.defs[strings.TrimPrefix(n.Ref, "#/$defs/")]
		require.NotNil(w, next, n.Ref)
		return w.resolve(next)
	}
	for _, alternative := range n.AnyOf {
		if r := w.resolve(alternative); r.Properties != nil {
			return r
		}
	}
	return n
}

func (w *walker) walk(key string, v reflect.Value, f field, n *node) {
	kind := shapeOf(v.Type())
	if v.Type() == reflect.TypeFor[unsupported]() {
		assert.NotNil(w, n.Not, "%s is refused, so the schema must refuse it", key)
		assert.Contains(w, n.Description, f.remedy, key)
		return
	}
	w.values(key, v, f, n)
	at := w.resolve(n)
	switch kind {
	case mapping, either:
		assert.JSONEq(w, "false", string(at.Additional), "%s takes no other keys", key)
		w.mapping(key, v, at)
	case table:
		var elem node
		require.NoError(w, json.Unmarshal(at.Additional, &elem), key)
		w.walk(key+".*", newElem(v.Type().Elem()), field{}, &elem)
	case list:
		require.NotNil(w, at.Items, key)
		w.walk(key+"[]", newElem(v.Type().Elem()), f, at.Items)
	case scalar:
		if v.Type() == reflect.TypeFor[credential.Secret]() {
			assert.Len(w, at.Properties, 2, "%s is a secret: env or file", key)
			return
		}
		assert.Empty(w, at.Properties, "%s is a single value", key)
	case free:
		assert.Empty(w, at.Properties, "%s is any value", key)
		assert.Nil(w, at.Additional, "%s is any value", key)
	}
}

func (w *walker) mapping(key string, v reflect.Value, at *node) {
	var want, got []string
	for _, f := range fieldsOf(v.Type()) {
		want = append(want, f.key)
		if sub := at.Properties[f.key]; assert.NotNil(w, sub, "the schema lacks %s", join(key, f.key)) {
			w.keys++
			w.walk(join(key, f.key), v.Field(f.index), f, sub)
		}
	}
	for name := range at.Properties {
		got = append(got, name)
	}
	slices.Sort(want)
	slices.Sort(got)
	assert.Equal(w, want, got, "keys of %q", key)
}

// values compares allowed and default values.
func (w *walker) values(key string, v reflect.Value, f field, n *node) {
	if len(f.oneof) > 0 {
		var texts []string
		for _, e := range n.Enum {
			if s, ok := e.(string); ok {
				texts = append(texts, s)
			}
		}
		assert.Equal(w, f.oneof, texts, key)
	}
	if n.Default == nil || f.path { // paths are resolved, and shown as written
		return
	}
	want := fmt.Sprint(v.Interface())
	switch x := v.Interface().(type) {
	case time.Duration:
		d, err := schedule.ParseDuration(fmt.Sprint(n.Default))
		require.NoError(w, err, key)
		assert.Equal(w, x, d, key)
		return
	case OfflineReads:
		want = "expiry"
		assert.Equal(w, OfflineUntilExpiry, x)
	case Send:
		want = "bearer"
		assert.Equal(w, Send{}, x)
	}
	assert.Equal(w, want, fmt.Sprint(n.Default), "default of %s", key)
}
