package credential

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
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
// formats it differently, names an object's members in another order (RFC 8259
// section 4), or writes a number in another way, has not changed it. What is no
// JSON is compared as it is.
func (d UserData) Equal(other UserData) bool {
	if bytes.Equal(d, other) {
		return true
	}
	a, first := d.value()
	b, second := other.value()
	return first && second && reflect.DeepEqual(a, b)
}

// value returns the JSON value. Each number is written in one way, with all of its
// digits: a float would make one of two long ones.
func (d UserData) value() (any, bool) {
	dec := json.NewDecoder(bytes.NewReader(d))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil, false
	}
	_, err := dec.Token()
	return spelledAlike(v), errors.Is(err, io.EOF)
}

// spelledAlike returns v with each number in it written in one way, in place.
func spelledAlike(v any) any {
	switch v := v.(type) {
	case json.Number:
		return spelling(v.String())
	case []any:
		for i := range v {
			v[i] = spelledAlike(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = spelledAlike(v[name])
		}
	}
	return v
}

// spelling writes a number of JSON as its digits without zeros at their ends, and
// the exponent that belongs to them. One whose exponent is beyond all use stays as
// it is written.
func spelling(number string) json.Number {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	digits, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0"
	}
	power, err := strconv.ParseInt(cmp.Or(exponent, "0"), 10, 32)
	if err != nil {
		return json.Number(number)
	}
	short := strings.TrimRight(digits, "0")
	power += int64(len(digits) - len(short) - len(fraction))
	if negative {
		short = "-" + short
	}
	return json.Number(short + "e" + strconv.FormatInt(power, 10))
}

// tooLong reports whether there is more of it than is kept.
func (d UserData) tooLong() bool { return len(d) > MaxUserData }
