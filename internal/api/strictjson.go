package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxDepth is how deep values of free form may nest.
const maxDepth = 32

// checkJSON compares a request's body with the Go type that it will be decoded
// into, more strictly than encoding/json does: no unknown or duplicate names,
// names in their exact case, no null, no NUL, whole numbers where whole
// numbers belong. It returns the first thing that is wrong, nil if nothing is.
// Nothing that was sent is part of the problem.
func checkJSON(data []byte, t reflect.Type) *Problem {
	if !utf8.Valid(data) {
		return badBody("is not UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return badBody(fmt.Sprintf("is not JSON, or nested too deeply, at byte %d", syntax.Offset))
		}
		return badBody("is not JSON")
	}
	c := checker{d: json.NewDecoder(bytes.NewReader(data))}
	c.d.UseNumber()
	return c.value(t, "body", 0)
}

func badBody(message string) *Problem {
	p := problem(http.StatusBadRequest, codeBadRequest, "body "+message)
	p.Errors = []ProblemField{{Location: "body", Message: message}}
	return p
}

// checker walks a text that is known to be JSON.
type checker struct{ d *json.Decoder }

func (c checker) value(t reflect.Type, at string, depth int) *Problem {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if depth > maxDepth {
		return invalid(at, fmt.Sprintf("nests deeper than %d levels", maxDepth))
	}
	token, err := c.d.Token()
	if err != nil {
		return badBody("is not JSON")
	}
	if t == reflect.TypeFor[json.RawMessage]() {
		t = reflect.TypeFor[any]()
	}
	free := t.Kind() == reflect.Interface
	switch token := token.(type) {
	case json.Delim:
		switch {
		case token == '{' && (free || t.Kind() == reflect.Map || t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]()):
			return c.object(t, at, depth)
		case token == '[' && (free || t.Kind() == reflect.Slice):
			return c.array(t, at, depth)
		}
	case string:
		return c.text(token, t, at)
	case json.Number:
		return c.number(token, t, at)
	case bool:
		if free || t.Kind() == reflect.Bool {
			return nil
		}
	case nil:
		if free {
			return nil
		}
		return invalid(at, "is null; leave it out instead")
	}
	return invalid(at, "must be "+wanted(t))
}

func (c checker) object(t reflect.Type, at string, depth int) *Problem {
	fields := map[string]reflect.Type{}
	if t.Kind() == reflect.Struct {
		for field := range t.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			fields[name] = field.Type
		}
	}
	seen := map[string]bool{}
	for c.d.More() {
		token, err := c.d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return badBody("is not JSON")
		}
		inner, where := t, at
		switch t.Kind() {
		case reflect.Struct:
			if inner, ok = fields[name]; !ok {
				known := slices.Sorted(maps.Keys(fields))
				return invalid(at, fmt.Sprintf("has a field at byte %d that is not known; known are %s", c.d.InputOffset(), strings.Join(known, ", ")))
			}
			where = at + "." + name
		case reflect.Map:
			inner = t.Elem()
		default:
		}
		if seen[name] {
			return invalid(where, fmt.Sprintf("is given twice, or has a name twice, at byte %d", c.d.InputOffset()))
		}
		seen[name] = true
		if strings.ContainsRune(name, 0) {
			return invalid(where, "has a name with a NUL")
		}
		if p := c.value(inner, where, depth+1); p != nil {
			return p
		}
	}
	return c.end()
}

func (c checker) array(t reflect.Type, at string, depth int) *Problem {
	for i := 0; c.d.More(); i++ {
		inner, where := t, at
		if t.Kind() == reflect.Slice {
			inner, where = t.Elem(), at+"["+strconv.Itoa(i)+"]"
		}
		if p := c.value(inner, where, depth+1); p != nil {
			return p
		}
	}
	return c.end()
}

// end consumes the closing bracket.
func (c checker) end() *Problem {
	if _, err := c.d.Token(); err != nil {
		return badBody("is not JSON")
	}
	return nil
}

func (c checker) text(s string, t reflect.Type, at string) *Problem {
	switch {
	case strings.ContainsRune(s, 0):
		return invalid(at, "holds a NUL")
	case strings.ContainsRune(s, utf8.RuneError):
		return invalid(at, "holds half a surrogate pair, or U+FFFD")
	case t.Kind() == reflect.Interface, t.Kind() == reflect.String:
		return nil
	case t == reflect.TypeFor[time.Time]():
		if _, err := time.Parse(time.RFC3339, s); err == nil {
			return nil
		}
	}
	return invalid(at, "must be "+wanted(t))
}

func (c checker) number(n json.Number, t reflect.Type, at string) *Problem {
	var err error
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		_, err = strconv.ParseInt(n.String(), 10, 64)
	case reflect.Uint64:
		_, err = strconv.ParseUint(n.String(), 10, 64)
	case reflect.Interface:
		_, err = n.Float64()
	default:
		err = strconv.ErrSyntax
	}
	if err != nil {
		return invalid(at, "must be "+wanted(t))
	}
	return nil
}

// wanted names what a type takes.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return "a time like 2026-01-02T15:04:05Z"
		}
		return "an object"
	case reflect.Map:
		return "an object"
	case reflect.Slice:
		return "a list"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Uint64:
		return "a whole number, 0 or more"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	default:
		return "a JSON value in range"
	}
}
