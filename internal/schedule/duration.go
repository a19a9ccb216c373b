package schedule

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
)

const day = 24 * time.Hour

// ParseDuration reads a duration as people write it in config.yaml: Go's
// syntax (300ms, 90s, 1h30m) with days in front of it (4d, 1d12h). The error
// shows s and how to write it.
func ParseDuration(s string) (time.Duration, error) {
	text, negative := strings.CutPrefix(s, "-")
	days, rest, hasDays := strings.Cut(text, "d")
	if !hasDays {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, notDuration(s)
		}
		return d, nil
	}
	// A day is read as so many hours, then multiplied: that leaves the
	// grammar of numbers to the standard library.
	n, err := time.ParseDuration(days + "h")
	if err != nil || n < 0 || strings.ContainsAny(days, "+-hmsuµn") {
		return 0, notDuration(s)
	}
	if n > math.MaxInt64/24 {
		return 0, notDuration(s)
	}
	total := n * 24
	if rest != "" {
		r, err := time.ParseDuration(rest)
		if err != nil || r < 0 || strings.ContainsAny(rest, "+-") || total > math.MaxInt64-r {
			return 0, notDuration(s)
		}
		total += r
	}
	if negative {
		total = -total
	}
	return total, nil
}

// durationShape is what a duration looks like, however long it is.
var durationShape = regexp.MustCompile(`^-?(` + amount + `d)?(` + amount + `(ns|us|µs|μs|ms|s|m|h))*$`)

const amount = `([0-9]+(\.[0-9]*)?|\.[0-9]+)`

// longest is how many whole days fit a [time.Duration].
const longest = int(math.MaxInt64 / day)

func notDuration(s string) error {
	if strings.TrimPrefix(s, "-") != "" && durationShape.MatchString(s) {
		return fmt.Errorf("%q is too long; the longest duration is %dd", s, longest)
	}
	return fmt.Errorf("%q is not a duration; write one like 90s, 15m, 12h or 4d", s)
}

// short prints d without the zero units that [time.Duration.String] appends:
// 15m, not 15m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
