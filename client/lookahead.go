package client

import (
	"encoding/json"
	"io"
	"slices"
)

// lookahead walks a JSON text as it arrives, no further than it is asked to,
// and keeps what it read. It finds its way through any JSON text; it does not
// check whether it is one. Each of its methods reports false at the end of
// what may be read, and where the text cannot be JSON.
type lookahead struct {
	body io.Reader
	seen []byte // all that was read
	at   int    // of seen, what comes next
	max  int    // bytes that may be read
	want int    // bytes that there are, as far as is known
	err  error  // of the last read
}

// emptyReads is how many reads in a row may bring nothing, as in package bufio.
const emptyReads = 100

// more reads on.
func (l *lookahead) more() bool {
	for range emptyReads {
		if l.err != nil || len(l.seen) >= l.max {
			return false
		}
		if len(l.seen) == cap(l.seen) {
			l.seen = slices.Grow(l.seen, max(len(l.seen), l.want-len(l.seen), 512))
		}
		var n int
		n, l.err = l.body.Read(l.seen[len(l.seen):min(cap(l.seen), l.max)])
		l.seen = l.seen[:len(l.seen)+n]
		if n > 0 {
			return true
		}
	}
	return false
}

// token returns the byte with which the next token begins, and leaves it.
func (l *lookahead) token() (byte, bool) {
	for {
		for l.at < len(l.seen) {
			switch c := l.seen[l.at]; c {
			case ' ', '\t', '\r', '\n':
				l.at++
			default:
				return c, true
			}
		}
		if !l.more() {
			return 0, false
		}
	}
}

// take passes the next token if it is c.
func (l *lookahead) take(c byte) bool {
	next, ok := l.token()
	if !ok || next != c {
		return false
	}
	l.at++
	return true
}

// quoted passes a string and returns it with its quotes. What was read is never
// overwritten, so it stays as it is.
func (l *lookahead) quoted() ([]byte, bool) {
	if !l.take('"') {
		return nil, false
	}
	from := l.at - 1
	for escaped := false; ; {
		for i, c := range l.seen[l.at:] {
			switch {
			case escaped:
				escaped = false
			case c == '\\':
				escaped = true
			case c == '"':
				l.at += i + 1
				return l.seen[from:l.at], true
			}
		}
		l.at = len(l.seen)
		if !l.more() {
			return nil, false
		}
	}
}

// is reports whether a string, given with its quotes, has that value.
func is(quoted []byte, text string) bool {
	inner := quoted[1 : len(quoted)-1]
	if !slices.Contains(inner, '\\') {
		return string(inner) == text
	}
	var plain string
	return json.Unmarshal(quoted, &plain) == nil && plain == text
}

// skip passes a value of any kind.
func (l *lookahead) skip() bool {
	c, ok := l.token()
	if !ok {
		return false
	}
	switch c {
	case '"':
		_, ok = l.quoted()
	case '{', '[':
		ok = l.nested()
	case '}', ']', ',', ':':
		ok = false
	default:
		l.scalar()
	}
	return ok
}

// nested passes an object or an array by its brackets and strings alone,
// without recursion.
func (l *lookahead) nested() bool {
	for depth := 0; l.at < len(l.seen) || l.more(); {
		switch l.seen[l.at] {
		case '"':
			if _, ok := l.quoted(); !ok {
				return false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		l.at++
		if depth == 0 {
			return true
		}
	}
	return false
}

// scalar passes a number, true, false or null, or what stands in its place.
func (l *lookahead) scalar() {
	for l.at < len(l.seen) || l.more() {
		switch l.seen[l.at] {
		case ' ', '\t', '\r', '\n', ',', ':', '{', '}', '[', ']', '"':
			return
		}
		l.at++
	}
}

// object passes an object. It calls member at the value of each member, which
// has to pass it; false ends the walk. Another value is skipped.
func (l *lookahead) object(member func(name []byte) bool) bool {
	if c, _ := l.token(); c != '{' {
		return l.skip()
	}
	l.at++
	if l.take('}') {
		return true
	}
	for {
		name, ok := l.quoted()
		if !ok || !l.take(':') || !member(name) {
			return false
		}
		if !l.take(',') {
			return l.take('}')
		}
	}
}

// array passes an array, and calls element at each value as object does.
func (l *lookahead) array(element func() bool) bool {
	if c, _ := l.token(); c != '[' {
		return l.skip()
	}
	l.at++
	if l.take(']') {
		return true
	}
	for {
		if !element() {
			return false
		}
		if !l.take(',') {
			return l.take(']')
		}
	}
}
