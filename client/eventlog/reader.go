package eventlog

import (
	"encoding/binary"
	"fmt"
	"time"
)

// reader takes an entry apart: unsigned varints, zigzag varints for moments,
// strings with their length in front. The first failure sticks, and everything
// read after it is zero.
type reader struct {
	s   string
	err error
}

func (r *reader) fail(why string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, why)
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
		r.fail("it ends too early")
	} else {
		r.fail("a number is out of range")
	}
	return 0
}

// moment reads milliseconds since 1970; 0 is none.
func (r *reader) moment() *time.Time {
	u := r.uvarint()
	ms := int64(u >> 1)
	if u&1 != 0 {
		ms = ^ms
	}
	if ms == 0 {
		return nil
	}
	return new(time.UnixMilli(ms).UTC())
}

// count reads how many items of at least size bytes follow.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.s)/size) { //nolint:gosec // a length is not negative
		r.fail("it ends too early")
		return 0
	}
	return int(n) //nolint:gosec // at most the length of a string
}

func (r *reader) take(n int) string {
	if n > len(r.s) {
		r.fail("it ends too early")
		return ""
	}
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *reader) str() string { return r.take(r.count(1)) }

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

// latest reads the version of the credential's last event of each type, and
// returns the largest. Types that are not known here count like all others.
func (r *reader) latest() uint64 {
	var last uint64
	for range r.count(2) {
		_ = r.str()
		last = max(last, r.uvarint())
	}
	return last
}

// end returns the first failure; bytes that nobody asked for are one.
func (r *reader) end() error {
	if r.err == nil && r.s != "" {
		r.fail("something follows its end")
	}
	return r.err
}
