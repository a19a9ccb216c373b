package client

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	down := &UnavailableError{}
	for name, tt := range map[string]struct {
		told   time.Duration
		err    error
		random float64
		want   []time.Duration
	}{
		"doubles up to half a minute": {err: down, want: []time.Duration{
			time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second,
		}},
		"begins where the stream says": {told: 3 * time.Second, err: down, want: []time.Duration{3 * time.Second, 6 * time.Second, 12 * time.Second}},
		"takes no stream's word for never": {told: time.Hour, err: down, want: []time.Duration{
			time.Hour, time.Hour,
		}},
		"never in a tight loop": {told: time.Nanosecond, err: down, want: []time.Duration{100 * time.Millisecond, 200 * time.Millisecond}},
		"not before Retry-After": {
			err:  fmt.Errorf("wrapped: %w", &UnavailableError{RetryAfter: 3 * time.Second}),
			want: []time.Duration{3 * time.Second, 3 * time.Second, 4 * time.Second},
		},
		"later by a half at most": {err: down, random: 1, want: []time.Duration{1500 * time.Millisecond, 3 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := backoff{told: tt.told}
			for i, want := range tt.want {
				assert.Equal(t, want, b.next(tt.err, tt.random), "wait %d", i+1)
			}
		})
	}
}

func TestBackoffAfterManyFailures(t *testing.T) {
	t.Parallel()
	b := backoff{failures: 1 << 30}
	assert.Equal(t, reconnectMost, b.next(errors.New("down"), 0))
}

func TestLasting(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err             error
		first, thenMore bool // where refreshd was not reached before, and where it was
	}{
		"away":               {err: &UnavailableError{Err: &Error{Status: 503, Code: "unavailable"}}},
		"refused":            {err: &Error{Status: 422, Code: "bad_cursor"}, first: true, thenMore: true},
		"no key":             {err: &Error{Status: 401, Code: "unauthorized"}, first: true, thenMore: true},
		"a proxy's own page": {err: &Error{Status: 404}, first: true},
		"closed":             {err: ErrClosed, first: true, thenMore: true},
		"unreadable":         {err: errFrameTooLong, first: true, thenMore: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.first, lasting(tt.err, false), "at first")
			assert.Equal(t, tt.thenMore, lasting(tt.err, true), "later")
		})
	}
}

func TestLately(t *testing.T) {
	t.Parallel()
	l := newLately[uint64](2)
	assert.Zero(t, l.get("a"))
	l.set("a", 1)
	l.set("b", 2)
	l.set("a", 3) // b is the one that was not set for longest
	l.set("c", 4)
	assert.Equal(t, uint64(3), l.get("a"))
	assert.Zero(t, l.get("b"))
	assert.Equal(t, uint64(4), l.get("c"))
}
