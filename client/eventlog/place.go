package eventlog

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Meta is the hash that describes an installation. Its field "shards" says how
// many logs there are, and "epoch" which installation it is.
const Meta = "rd:meta"

// Stream returns the key of a shard's log; shards count from 0.
func Stream(shard int) string { return fmt.Sprintf("rd:{refresh-%02d}:events", shard) }

// Trimmed returns the key of a string: the ID of the newest entry that was
// trimmed off a shard's log. It is missing as long as none was.
func Trimmed(shard int) string { return fmt.Sprintf("rd:{refresh-%02d}:trimmed", shard) }

// Missed reports whether entries behind last were trimmed off a log: last is the
// ID of the entry that was read last, trimmed is what stands in [Trimmed], or "".
// Ask after each reading, with the last ID of the one before: a reader who was
// away for longer than events are kept learns so, and has to look at the present
// state of its credentials. It may be told so of entries that it has read just
// before they were trimmed.
func Missed(last, trimmed string) (bool, error) {
	if trimmed == "" {
		return false, nil
	}
	read, err := parsePosition(last)
	if err != nil {
		return false, err
	}
	gone, err := parsePosition(trimmed)
	if err != nil {
		return false, err
	}
	return gone.ms > read.ms || gone.ms == read.ms && gone.n > read.n, nil
}

// position is a stream ID: milliseconds, and a number within them.
type position struct{ ms, n uint64 }

func parsePosition(s string) (position, error) {
	ms, n, dashed := strings.Cut(s, "-")
	var p position
	var err error
	if p.ms, err = strconv.ParseUint(ms, 10, 64); err == nil && dashed {
		p.n, err = strconv.ParseUint(n, 10, 64)
	}
	if err != nil || p.ms > math.MaxInt64 {
		return position{}, fmt.Errorf("%w: %.64q is no ID of a stream", ErrMalformed, s)
	}
	return p, nil
}
