package httpflow

import (
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/refreshd/refreshd/internal/credential"
)

// What is said of a place where nothing stands, and of a token's and an expiry's that
// has something else.
const (
	notFound = "was not found"
	noText   = "is no text"
	noExpiry = "tells no time to come"

	lineBreak = "has a line break in it, and cannot be sent"
	control   = "has a control character in it, and cannot be sent"
)

const (
	// maxBeside is how many names are told that stand beside a place.
	maxBeside = 12
	// maxName and maxDigits bound what counts as a name: a key that is a token
	// or somebody's number is not shown.
	maxName   = 32
	maxDigits = 4
)

// absent notes that a place is empty, and what stood where it was looked for.
func (r *reply) absent(n named, why string) credential.Absence {
	return credential.Absence{Name: n.name, Place: n.place.String(), Why: why, Beside: r.beside(n.place)}
}

// absentToken is absent for the place of a token. What stood beside one that is in
// its place, and cannot be used, does not matter.
func (r *reply) absentToken(n named) credential.Absence {
	text, _ := r.token(n.place)
	switch {
	case r.otherThanText(n.place):
		return r.absent(n, noText)
	case printable(text):
		return r.absent(n, notFound)
	case strings.ContainsAny(text, "\r\n"):
		return credential.Absence{Name: n.name, Place: n.place.String(), Why: lineBreak}
	default:
		return credential.Absence{Name: n.name, Place: n.place.String(), Why: control}
	}
}

// absentExpiry is absent for the place of an expiry.
func (r *reply) absentExpiry(n named) credential.Absence {
	if _, ok := r.text(n.place); ok || r.otherThanText(n.place) {
		return r.absent(n, noExpiry)
	}
	return r.absent(n, notFound)
}

// beside returns the names that stand where a place was looked for: keys of the
// object that should have held it, or of the outermost one, headers or cookies.
func (r *reply) beside(p Place) []string {
	var names []string
	shown := isName
	switch {
	case p.JSON != "":
		names = r.json.keysAround(p.JSON)
	case p.Cookie != "":
		shown = isCookieName
		for _, line := range r.header.Values("Set-Cookie") {
			if c, err := http.ParseSetCookie(line); err == nil {
				names = append(names, c.Name)
			}
		}
	default:
		for name := range r.header {
			if name != "Date" && !strings.HasPrefix(name, "Content-") {
				names = append(names, name)
			}
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !shown(name) })
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), maxBeside)]
}

// keysAround returns the keys of the object that a path leads into, as far as
// it does.
func (o object) keysAround(path string) []string {
	if !o.valid {
		return nil
	}
	around := gjson.ParseBytes(o.text)
	if end := strings.LastIndexByte(path, '.'); end > 0 && !strings.ContainsAny(path, `(\|`) {
		if inner := around.Get(path[:end]); inner.IsObject() {
			around = inner
		}
	}
	if !around.IsObject() {
		return nil
	}
	var names []string
	around.ForEach(func(key, _ gjson.Result) bool {
		names = append(names, key.String())
		return true
	})
	return names
}

// isCookieName is [isName] for cookies, in whose names dots are usual:
// connect.sid, .AspNetCore.Cookies.
func isCookieName(name string) bool { return isName(strings.ReplaceAll(name, ".", "")) }

// isName reports whether a key reads like the name of a value.
func isName(key string) bool {
	digits := 0
	for _, c := range []byte(key) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == '-':
		case c >= '0' && c <= '9':
			digits++
		default:
			return false
		}
	}
	return key != "" && len(key) <= maxName && digits <= maxDigits
}
