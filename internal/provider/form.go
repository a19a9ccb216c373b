package provider

import (
	"bytes"
	"net/url"
)

// parseForm reads a form-encoded body (application/x-www-form-urlencoded), as
// GitHub sends it to those who do not ask for JSON. If the body was cut off
// its last pair does not count, for nothing shows where it would have ended.
func parseForm(in []byte, cut bool) Fields {
	var outer, none raw
	in = bytes.TrimRight(in, " \t\r\n")
	clean := true
	for len(in) > 0 {
		pair, rest, more := bytes.Cut(in, []byte("&"))
		in = rest
		if cut && !more {
			break
		}
		name, value, ok := bytes.Cut(pair, []byte("="))
		if !ok {
			clean = clean && len(pair) == 0
			continue
		}
		text, err := url.QueryUnescape(string(value))
		if err != nil {
			clean = false
			continue
		}
		outer.set(member{key: name, kind: kindString, value: []byte(text), whole: true})
	}
	f := outer.fields(&none, &none)
	f.Whole = clean
	return f
}
