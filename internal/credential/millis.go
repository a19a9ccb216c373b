package credential

import (
	"math"
	"time"
)

// Millis is a moment: milliseconds since the Unix epoch in UTC, as told by
// the clock of the shared store (Redis TIME), which is the one that replicas
// have in common. Zero means "none".
type Millis int64

// At converts a wall-clock time. The zero time becomes 0.
func At(t time.Time) Millis {
	if t.IsZero() {
		return 0
	}
	return Millis(t.UnixMilli())
}

// Time converts to a time.Time in UTC. 0 becomes the zero time.
func (m Millis) Time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(m)).UTC()
}

// Add returns m + d; what d has below a millisecond is dropped.
func (m Millis) Add(d time.Duration) Millis { return m + Millis(d.Milliseconds()) }

// Sub returns the duration m - other, or the nearest there is: a duration
// holds 292 years, and providers name moments beyond that.
func (m Millis) Sub(other Millis) time.Duration {
	const most = Millis(math.MaxInt64 / int64(time.Millisecond))
	d := m - other
	switch {
	case m >= other && (d < 0 || d > most):
		return math.MaxInt64
	case m < other && (d > 0 || d < -most):
		return math.MinInt64
	}
	return time.Duration(d) * time.Millisecond
}

// earliest returns the smallest of the moments that are set, or 0.
func earliest(moments ...Millis) Millis {
	var first Millis
	for _, m := range moments {
		if m != 0 && (first == 0 || m < first) {
			first = m
		}
	}
	return first
}
