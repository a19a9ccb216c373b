package store

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/refreshd/refreshd/internal/credential"
)

var (
	errCutOff   = errors.New("it ends too early")
	errTrailing = errors.New("something follows its end")
	errNumber   = errors.New("a number is out of range")
)

// The binary form: unsigned varints, zigzag varints for what may be negative,
// strings with their length in front.

func appendString[T ~string](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendMillis(b []byte, m credential.Millis) []byte { return binary.AppendVarint(b, int64(m)) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendLabels writes the labels in the order of their names, so that equal
// labels give equal bytes.
func appendLabels(b []byte, labels map[string]string) []byte {
	b = binary.AppendUvarint(b, uint64(len(labels)))
	if len(labels) == 0 {
		return b
	}
	names := make([]string, 0, len(labels))
	for name := range labels {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b = appendString(b, name)
		b = appendString(b, labels[name])
	}
	return b
}

// reader takes the binary form apart. The first failure sticks, and everything
// read after it is zero. Strings that it returns share s.
type reader struct {
	s   string
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.s = ""
}

func (r *reader) uvarint() uint64 {
	var x uint64
	for i := range min(len(r.s), binary.MaxVarintLen64) {
		c := r.s[i]
		if c < 0x80 {
			if i == binary.MaxVarintLen64-1 && c > 1 {
				break
			}
			r.s = r.s[i+1:]
			return x | uint64(c)<<(7*i)
		}
		x |= uint64(c&0x7f) << (7 * i)
	}
	if len(r.s) < binary.MaxVarintLen64 {
		r.fail(errCutOff)
	} else {
		r.fail(errNumber)
	}
	return 0
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	x := int64(u >> 1)
	if u&1 != 0 {
		x = ^x
	}
	return x
}

func (r *reader) millis() credential.Millis { return credential.Millis(r.varint()) }

// count reads how many items of at least size bytes follow.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.s)/size) { //nolint:gosec // a length is not negative
		r.fail(errCutOff)
		return 0
	}
	return int(n) //nolint:gosec // at most the length of a string
}

// take returns the next n bytes, as they are.
func (r *reader) take(n int) string {
	if n > len(r.s) {
		r.fail(errCutOff)
		return ""
	}
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *reader) str() string { return r.take(r.count(1)) }

func (r *reader) bool() bool { return r.take(1) == "\x01" }

func (r *reader) labels() map[string]string {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	labels := make(map[string]string, n)
	for range n {
		name := r.str()
		labels[name] = r.str()
	}
	return labels
}

// end returns the first failure; bytes that nobody asked for are one.
func (r *reader) end() error {
	if r.err == nil && r.s != "" {
		return errTrailing
	}
	return r.err
}
