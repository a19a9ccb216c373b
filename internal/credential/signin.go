package credential

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
)

// SignIn is what a login at a backend needs. It is kept sealed, so that a login
// can be repeated without asking the user.
type SignIn struct {
	Username Secret // a person's name or address is nobody else's business
	Password Secret
}

// IsZero reports whether there is nothing to log in with.
func (s SignIn) IsZero() bool { return s.Username.IsZero() && s.Password.IsZero() }

// UserData is what a backend tells of its user, as JSON (RFC 8259): any value,
// kept as it came. It is sealed where it is stored, and shown to those who may
// read tokens.
type UserData []byte

// MaxUserData is how many bytes of user data are kept. What is longer is not
// taken.
const MaxUserData = 64 << 10

// String keeps personal data out of logs and errors.
func (UserData) String() string { return "<user data>" }

// GoString does the same for %#v.
func (UserData) GoString() string { return "<user data>" }

// Equal reports whether both hold the same JSON value: a backend that only
// formats it differently, or names an object's members in another order (RFC 8259
// section 4), has not changed it. What is no JSON is compared as it is.
func (d UserData) Equal(other UserData) bool {
	if bytes.Equal(d, other) {
		return true
	}
	a, first := d.value()
	b, second := other.value()
	return first && second && reflect.DeepEqual(a, b)
}

// value returns the JSON value, with numbers as they are written.
func (d UserData) value() (any, bool) {
	dec := json.NewDecoder(bytes.NewReader(d))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil, false
	}
	_, err := dec.Token()
	return v, errors.Is(err, io.EOF)
}

// tooLong reports whether there is more of it than is kept.
func (d UserData) tooLong() bool { return len(d) > MaxUserData }
