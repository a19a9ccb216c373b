package provider

import (
	"bytes"
	"cmp"
	"strings"

	"github.com/refreshd/refreshd/internal/credential"
)

// maxPrefix is how far into a body its JSON object may start. Some servers
// put a guard such as )]}' in front of it.
const maxPrefix = 64

// Fields is what a reply's body says, as far as anyone here needs to know.
// All of it but Found is for classifying: it may echo secrets and is never
// shown as it is.
type Fields struct {
	Found       credential.Found
	Codes       []string // what may be an error code, the likeliest first
	Description string   // of the error, for matchers
	Failed      bool     // an error was told: a code, an error object, or "ok": false

	// Whole is set if the reply's object was read to its end without
	// stumbling: what was not found is then really not there.
	Whole bool
}

// Scan takes the tokens out of a reply's body: JSON, also nested one level,
// or form-encoded, as it came off the wire. It never fails; it works on what
// is broken, cut off, or followed by something else. A value that was cut off
// is not a value; of several, the last that is a string and not empty counts.
func Scan(body []byte) credential.Found { return Parse(body, false).Found }

// Parse reads a reply's body as [Scan] does. cut tells that the body ended
// before its end, which form-encoding alone does not show.
func Parse(body []byte, cut bool) Fields {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	body = bytes.TrimLeft(body, " \t\r\n")
	var f Fields
	switch start := bytes.IndexAny(body[:min(len(body), maxPrefix)], "{=<"); {
	case start < 0 || body[start] == '<':
		return f
	case body[start] == '{':
		f = parseObject(body[start+1:])
	default:
		f = parseForm(body, cut)
	}
	f.Whole = f.Whole && !cut
	f.Found.Complete = f.Whole
	if !printable(f.Found.Token.Access.Reveal()) {
		f.Found.Token.Access = credential.Secret{} // RFC 6749 appendix A.12; it could not be sent in a header
	}
	return f
}

// raw is what one object or form holds under the names that matter.
type raw struct {
	access, refresh, kind, scope, expiresIn, refreshExpiresIn string

	err, errorCode, code, status, errorType string
	description, message                    string
	notOK                                   bool
}

// holdsToken reports whether a token was among it.
func (r *raw) holdsToken() bool { return r.access != "" || r.refresh != "" }

// failed reports whether it tells of an error, by more than a word that may
// just as well mean success.
func (r *raw) failed() bool {
	return r.notOK || !blank(r.err) || !blank(r.errorCode)
}

// blank reports whether s says that there is no error.
func blank(s string) bool { return s == "" || s == "0" || s == "false" }

// fields puts together what the outermost object said with what a nested one
// and an object under "error" said. Tokens are never mixed: they come from one
// object, the outer one if it has any.
func (r *raw) fields(nested, failure *raw) Fields {
	tokens := r
	if !r.holdsToken() {
		tokens = nested
	}
	f := Fields{
		Found: credential.Found{
			Token: credential.Token{
				Access:  credential.NewSecret(tokens.access),
				Refresh: credential.NewSecret(tokens.refresh),
				Type:    tokens.kind,
				Scope:   tokens.scope,
			},
			ExpiresIn:        tokens.expiresIn,
			RefreshExpiresIn: tokens.refreshExpiresIn,
		},
		Failed: r.failed() || nested.failed() || failure.code != "" || failure.message != "",
	}
	for _, code := range [...]string{
		word(r.err), word(r.errorCode), failure.code, word(failure.status), failure.errorType,
		word(r.code), word(r.status), word(nested.err), word(nested.errorCode),
	} {
		if code != "" {
			f.Codes = append(f.Codes, code)
		}
	}
	f.Description = cmp.Or(r.description, r.message, failure.message, nested.description, nested.message)
	return f
}

// word returns s unless it is a number or a truth value: outside of an object
// under "error" those repeat the HTTP status, or say that all is well.
func word(s string) string {
	if s == "true" || s == "false" || strings.Trim(s, "0123456789+-.eE") == "" {
		return ""
	}
	return s
}

// parseObject reads a JSON object from behind its opening brace.
func parseObject(in []byte) Fields {
	var outer, nested, failure raw
	l := newLexer(in)
	for {
		m, ok := l.next()
		if !ok {
			break
		}
		if m.kind != kindObject {
			outer.set(m)
			continue
		}
		if bytes.Equal(m.name(), []byte("error")) {
			failure = parseNested(m.value)
		} else if !nested.holdsToken() {
			nested = parseNested(m.value)
		}
	}
	f := outer.fields(&nested, &failure)
	f.Whole = l.ended && l.clean
	return f
}

// parseNested reads the members of a nested object.
func parseNested(in []byte) raw {
	var r raw
	l := newLexer(in)
	for {
		m, ok := l.next()
		if !ok {
			return r
		}
		r.set(m)
	}
}

// set takes the member if it is one of those that matter.
func (r *raw) set(m member) {
	switch string(m.name()) {
	case "access_token":
		setText(&r.access, m)
	case "refresh_token":
		setText(&r.refresh, m)
	case "token_type":
		if text, ok := m.text(); ok && IsToken(text) {
			r.kind = text
		}
	case "scope":
		if text, ok := m.text(); ok && printable(text) {
			r.scope = text
		}
	case "expires_in":
		setPlain(&r.expiresIn, m)
	case "refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in": // GitHub; Keycloak; Intuit
		setPlain(&r.refreshExpiresIn, m)
	case "ok":
		r.notOK = m.kind == kindLiteral && string(m.value) == "false"
	default:
		r.setError(m)
	}
}

// setError takes the member if it tells of an error.
func (r *raw) setError(m member) {
	var to *string
	switch string(m.name()) {
	case "error":
		to = &r.err
	case "error_code":
		to = &r.errorCode
	case "code":
		to = &r.code
	case "status":
		to = &r.status
	case "type":
		to = &r.errorType
	case "error_description":
		to = &r.description
	case "message", "msg":
		to = &r.message
	default:
		return
	}
	setPlain(to, m)
}

// setPlain stores a string, a number or a truth value.
func setPlain(to *string, m member) {
	if text, ok := m.plain(); ok {
		*to = text
	}
}

// setText stores a string that is not empty.
func setText(to *string, m member) {
	if text, ok := m.text(); ok && text != "" {
		*to = text
	}
}

// printable reports whether s has no control character.
func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// IsToken reports whether s is a token in the sense of RFC 9110 section
// 5.6.2, of a sensible length, as the names of headers and cookies and a token type
// have to be.
func IsToken(s string) bool {
	if s == "" || len(s) > maxCode {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return true
}
