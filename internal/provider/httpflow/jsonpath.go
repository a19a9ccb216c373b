package httpflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/refreshd/refreshd/internal/provider"
)

const (
	wholeBody = "@this"
	maxPath   = 256
	// maxShownPath is how many bytes are shown of a path that is too long.
	maxShownPath = 32
)

// checkPath reports what is wrong with a path, and shows it.
func checkPath(path string) error {
	if len(path) > maxPath {
		return fmt.Errorf("%q… has %d bytes; a path has at most %d", path[:maxShownPath], len(path), maxPath)
	}
	if err := checkSyntax(path); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	return nil
}

// checkSyntax reports what is wrong with the syntax of a path. Of gjson's it takes
// what leads to a value, and not what makes a new one of several.
func checkSyntax(path string) error {
	switch {
	case path == wholeBody:
		return nil
	case strings.IndexFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0:
		return errors.New("a path has no control characters")
	}
	start, depth, quoted := true, 0, false
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '\\':
			if i++; i == len(path) {
				return errors.New("it ends in a backslash, which stands before the character that it protects")
			}
			start = false
		case quoted:
			quoted = c != '"'
		case start && strings.IndexByte("@!{[", c) >= 0:
			return fmt.Errorf("%q begins a part of it, which is no path to a value; a key that begins so is written \\%c", c, c)
		case c == '.' || c == '|':
			if start {
				return errors.New("a part of it is empty; before a dot that belongs to a key stands a backslash")
			}
			start = true
		case c == '(':
			depth++
			start = true
		case c == ')':
			depth--
			start = false
		case c == '"' && depth > 0:
			quoted, start = true, false
		default:
			start = false
		}
		if depth < 0 {
			return errors.New("a ) has no (")
		}
	}
	switch {
	case depth > 0 || quoted:
		return errors.New("it ends within a query; close it with )")
	case start:
		return errors.New("its last part is empty; write one like user.id")
	}
	return nil
}

// object is the part of a body that is JSON.
type object struct {
	text  []byte
	valid bool // it is a JSON text and nothing else: what is not found is not there
}

// value is a JSON value as it stands in a body.
type value struct{ gjson.Result }

// find returns the value at a path, unless it is null. Of a body that is broken
// or cut off it returns values that are certain to be whole.
func (o object) find(path string) (value, bool) {
	if len(o.text) == 0 {
		return value{}, false
	}
	if path == wholeBody {
		if !o.valid {
			return value{}, false
		}
		v := value{gjson.ParseBytes(o.text)}
		return v, v.Type != gjson.Null
	}
	v := value{gjson.GetBytes(o.text, path)}
	if v.Raw == "" || v.Type == gjson.Null {
		return value{}, false
	}
	if !o.valid && (v.Index == 0 || !whole(v.Raw, v.Index+len(v.Raw) < len(o.text))) {
		return value{}, false
	}
	return v, true
}

// whole reports whether a value that was read out of a broken text ended where
// it should. more tells that something follows it.
func whole(raw string, more bool) bool {
	switch raw[0] {
	case '"':
		for i := 1; i < len(raw); i++ {
			switch raw[i] {
			case '\\':
				i++
			case '"':
				return i == len(raw)-1
			}
		}
		return false
	case '{', '[':
		return json.Valid([]byte(raw))
	}
	return more && json.Valid([]byte(raw))
}

// scalar returns a string, escapes resolved, or a number as it is written; false
// for anything else.
func (v value) scalar() (string, bool) {
	switch v.Type {
	case gjson.String:
		if !whole(v.Raw, false) {
			return "", false
		}
		return provider.Unquote(v.Raw), true
	case gjson.Number:
		return v.Raw, true
	case gjson.Null, gjson.False, gjson.True, gjson.JSON:
	}
	return "", false
}

// equals reports whether the value is written so, or is a list that has one
// which is.
func (v value) equals(text string) bool {
	return v.is(func(one value) bool { return one.equalsOne(text) })
}

// is reports whether the value fits, or is a list that has one which does.
func (v value) is(fitting func(value) bool) bool {
	if !v.IsArray() {
		return fitting(v)
	}
	found := false
	v.ForEach(func(_, element gjson.Result) bool {
		found = fitting(value{element})
		return !found
	})
	return found
}

func (v value) equalsOne(text string) bool {
	if s, ok := v.scalar(); ok {
		return s == text
	}
	return v.Raw == text // true, false
}

// holdsAny reports whether the value is a list or an object that has anything
// but null in it.
func (v value) holdsAny() bool {
	found := false
	v.ForEach(func(_, element gjson.Result) bool {
		found = element.Type != gjson.Null
		return !found
	})
	return found
}
