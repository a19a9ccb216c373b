package credential

import (
	"errors"
	"fmt"
)

// MaxIDLen is the longest ID in bytes.
const MaxIDLen = 128

// ErrInvalidID is wrapped by every error of [ParseID].
var ErrInvalidID = errors.New("invalid credential ID")

// ID names one credential. Its text matches
// ^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$, which leaves no way to smuggle a
// Redis hash tag, a path or a line break into a key.
type ID string

// ParseID checks s and returns it as an ID. The error names the first
// offending byte, never more of the input than that.
func ParseID(s string) (ID, error) {
	if s == "" {
		return "", fmt.Errorf("%w: empty; give 1 to %d characters of A-Z a-z 0-9 . _ : @ -", ErrInvalidID, MaxIDLen)
	}
	if len(s) > MaxIDLen {
		return "", fmt.Errorf("%w: %d bytes; at most %d are allowed", ErrInvalidID, len(s), MaxIDLen)
	}
	for i := range len(s) {
		if !idByte(s[i], i == 0) {
			return "", fmt.Errorf("%w: byte %#02x at position %d; allowed are A-Z a-z 0-9 and, after the first, . _ : @ -", ErrInvalidID, s[i], i)
		}
	}
	return ID(s), nil
}

func idByte(c byte, first bool) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	case first:
		return false
	default:
		return c == '.' || c == '_' || c == ':' || c == '@' || c == '-'
	}
}
