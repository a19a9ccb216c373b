package redisconn

import (
	"context"
	"fmt"
	"strings"
)

// FullError is a write that Redis refused because its maxmemory is used up.
type FullError struct {
	Redis string // its scheme and address, or what else it is
	What  string // was to be written
	Used  int64  // bytes; 0 where it does not tell
	Max   int64  // its maxmemory, in bytes; 0 where it does not tell
	Err   error
}

// Error says what was refused, where, and what to do about it.
func (e *FullError) Error() string {
	used := ""
	if e.Max > 0 {
		used = fmt.Sprintf(" (%s used of a maxmemory of %s)", size(e.Used), size(e.Max))
	}
	return fmt.Sprintf("%s is out of memory%s, and refused what has to be written first (%s); raise maxmemory with CONFIG SET maxmemory and in redis.conf, or remove what others keep there, and start again. Nothing that is stored, or in the journal, is lost",
		e.Redis, used, e.What)
}

// Unwrap returns the refusal.
func (e *FullError) Unwrap() error { return e.Err }

// size writes bytes for people.
func size(bytes int64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
}

// full tells of a write that was refused for want of memory.
func (c *Conn) full(ctx context.Context, err error) *FullError {
	full := &FullError{Redis: c.described(), Err: err}
	full.What, _, _ = strings.Cut(err.Error(), ": OOM ") // what follows are Redis's own words
	if in, infoErr := readInfo(ctx, c.clients.main); infoErr == nil {
		full.Used, full.Max = in.number("used_memory"), in.number("maxmemory")
	}
	return full
}
