package redisconn

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// RefusedError is a write that Redis refused because it takes none at present.
type RefusedError struct {
	Redis  string // its scheme and address, or what else it is
	Why    string // it takes none
	What   string // was to be written
	Remedy string
	Err    error
}

// Error says what was refused, where, and what to do about it.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s %s, and refused what has to be written first (%s); %s. Nothing that is stored, or in the journal, is lost", e.Redis, e.Why, e.What, e.Remedy)
}

// Unwrap returns the refusal.
func (e *RefusedError) Unwrap() error { return e.Err }

// Refusal makes a [*FullError] or a [*RefusedError] of an error that is such a
// refusal, wherever it was met, and returns any other as it is.
func (c *Conn) Refusal(ctx context.Context, err error) error {
	if redis.IsOOMError(err) {
		return c.full(ctx, err)
	}
	for code, refused := range map[string]RefusedError{
		"NOREPLICAS": {Why: "lacks the replicas that its min-replicas-to-write wants", Remedy: "bring the replicas back"},
		"READONLY":   {Why: "is a read-only replica", Remedy: "name the master in redis.url, or use redis+sentinel:// to have it found"},
		"MASTERDOWN": {Why: "is a replica that has lost its master", Remedy: "name the master in redis.url, or use redis+sentinel:// to have it found"},
		"MISCONF":    {Why: "cannot write to its disk", Remedy: "make room on the disk of Redis, and look into its log"},
	} {
		if !redis.HasErrorPrefix(err, code) {
			continue
		}
		refused.Redis, refused.Err = c.described(), err
		refused.What, _, _ = strings.Cut(err.Error(), ": "+code+" ") // what follows are Redis's own words
		return &refused
	}
	return err
}

// described names the server for people, by its place in the configuration if it
// has one.
func (c *Conn) described() string {
	if c.name == "" {
		return embeddedName
	}
	return "redis.url: " + c.name
}
