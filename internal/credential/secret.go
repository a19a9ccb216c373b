package credential

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// redacted is what every way of printing a [Secret] yields.
const redacted = "<secret>"

// Secret is a string that must not be shown: an access token, a refresh
// token, a password, a client secret. Every printing verb, JSON, text and
// structured logging yield "<secret>"; only [Secret.Reveal] yields the value.
//
// The value is held behind a pointer in a struct, so that reflection-based
// printers that ignore the methods below find an address and not the text.
type Secret struct {
	value *string
}

// NewSecret wraps value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{value: &value}
}

// Reveal returns the value itself. Each call is a place to look at in a review.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.value == nil }

// Equal reports whether both hold the same value.
func (s Secret) Equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// String returns "<secret>", or "" for an empty one.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// GoString returns what String does.
func (s Secret) GoString() string { return s.String() }

// Format writes "<secret>" whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, s.String()) // a fmt.State has nowhere to report a failure to
}

// MarshalJSON writes the string "<secret>".
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalText writes "<secret>".
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the value from log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
