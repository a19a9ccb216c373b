package provider

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// kind is what a member's value looks like.
type kind byte

const (
	kindString  kind = '"'
	kindObject  kind = '{'
	kindArray   kind = '['
	kindLiteral kind = 'l' // a number, true, false, null, or anything else without quotes
)

// member is one key and value of a JSON object, not decoded.
type member struct {
	key        []byte
	keyEscaped bool
	kind       kind
	value      []byte // without its quotes, or from behind its opening brace
	escaped    bool   // value has escapes; only for kindString
	whole      bool   // value ended before the input did
}

// lexer walks the members of one JSON object (RFC 8259) and puts up with what
// a strict parser refuses: missing or doubled commas, raw control characters,
// stray bytes between members, an input that ends anywhere. What it had to put
// up with is told by clean.
type lexer struct {
	in    []byte
	at    int
	clean bool // every byte so far was where it belongs
	ended bool // the closing brace was seen
}

// newLexer starts behind the opening brace of the object.
func newLexer(in []byte) lexer { return lexer{in: in, clean: true} }

// next returns the next member, false at the end of the object or of the
// input.
func (l *lexer) next() (member, bool) {
	for {
		if !l.toKey() {
			return member{}, false
		}
		key, escaped, ok := l.text()
		if !ok {
			return member{}, false
		}
		l.space()
		if l.at == len(l.in) {
			return member{}, false
		}
		if l.in[l.at] != ':' {
			l.clean = false
			continue
		}
		l.at++
		l.space()
		if l.at == len(l.in) {
			return member{}, false
		}
		m := member{key: key, keyEscaped: escaped}
		l.value(&m)
		return m, true
	}
}

// toKey moves to the opening quote of the next key; false if there is none.
func (l *lexer) toKey() bool {
	for l.at < len(l.in) {
		switch l.in[l.at] {
		case '"':
			return true
		case '}':
			l.at++
			l.ended = true
			return false
		case '{', '[':
			l.clean = false
			l.skip()
		case ' ', '\t', '\r', '\n', ',':
			l.at++
		default:
			l.clean = false
			l.at++
		}
	}
	return false
}

func (l *lexer) space() {
	for l.at < len(l.in) {
		switch l.in[l.at] {
		case ' ', '\t', '\r', '\n':
			l.at++
		default:
			return
		}
	}
}

// text reads the string that starts at the current quote and returns what is
// between its quotes; false if the input ends first.
func (l *lexer) text() (raw []byte, escaped, whole bool) {
	start := l.at + 1
	for i := start; i < len(l.in); i++ {
		switch l.in[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			l.at = i + 1
			return l.in[start:i], escaped, true
		}
	}
	l.at = len(l.in)
	return l.in[start:], escaped, false
}

// value reads the value at the current position into m.
func (l *lexer) value(m *member) {
	switch c := l.in[l.at]; c {
	case '"':
		m.kind = kindString
		m.value, m.escaped, m.whole = l.text()
	case '{', '[':
		m.kind = kind(c)
		start := l.at + 1
		m.whole = l.skip()
		m.value = l.in[start:l.at]
	default:
		m.kind = kindLiteral
		start := l.at
		for l.at < len(l.in) && !endsLiteral(l.in[l.at]) {
			l.at++
		}
		m.value = l.in[start:l.at]
		m.whole = l.at < len(l.in)
		if len(m.value) == 0 || !startsLiteral(m.value[0]) {
			l.clean = false
		}
	}
}

// startsLiteral reports whether c starts a number, true, false or null.
func startsLiteral(c byte) bool {
	return c == '-' || c >= '0' && c <= '9' || c == 't' || c == 'f' || c == 'n'
}

func endsLiteral(c byte) bool {
	switch c {
	case ',', '}', ']', ' ', '\t', '\r', '\n', '"', '{', '[', ':':
		return true
	}
	return false
}

// skip moves behind the object or array that starts at the current position,
// however deep it is; false if the input ends first.
func (l *lexer) skip() bool {
	depth := 0
	for l.at < len(l.in) {
		switch l.in[l.at] {
		case '"':
			if _, _, whole := l.text(); !whole {
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

// name returns the member's key, escapes resolved.
func (m member) name() []byte {
	if !m.keyEscaped {
		return m.key
	}
	return unescape(m.key)
}

// text returns the member's string value, escapes resolved; false if it is
// not a string or was cut off.
func (m member) text() (string, bool) {
	if m.kind != kindString || !m.whole {
		return "", false
	}
	if !m.escaped {
		return string(m.value), true
	}
	return string(unescape(m.value)), true
}

// plain returns a string's or a literal's text; false for anything else, for
// null, and for what was cut off.
func (m member) plain() (string, bool) {
	if m.kind == kindLiteral && m.whole && !bytes.Equal(m.value, []byte("null")) {
		return string(m.value), true
	}
	return m.text()
}

// Unquote returns the text of a JSON string that is given with its quotes.
func Unquote(quoted string) string { return string(unescape([]byte(quoted[1 : len(quoted)-1]))) }

// unescape resolves the escapes of RFC 8259 section 7. An escape that does
// not exist stands for the character behind the backslash; half of a
// surrogate pair becomes U+FFFD.
func unescape(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' || i+1 == len(raw) {
			out = append(out, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(raw[i+1:])
			if !ok {
				out = append(out, 'u')
				continue
			}
			i += 4
			if utf16.IsSurrogate(r) {
				r = lowHalf(r, raw[i+1:], &i)
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, raw[i])
		}
	}
	return out
}

// lowHalf completes the surrogate pair that r starts from the escape that
// follows, and moves at behind that.
func lowHalf(r rune, rest []byte, at *int) rune {
	if len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
		if low, ok := hex4(rest[2:]); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				*at += 6
				return pair
			}
		}
	}
	return utf8.RuneError
}

// hex4 reads four hex digits.
func hex4(in []byte) (rune, bool) {
	if len(in) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range in[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
