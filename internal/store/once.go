package store

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// once sends a script to Redis no second time by itself when its answer is lost.
type once struct{ redis.UniversalClient }

func (c once) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return c.send(ctx, "eval", script, keys, args)
}

func (c once) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return c.send(ctx, "evalsha", sha, keys, args)
}

func (c once) send(ctx context.Context, name, script string, keys []string, args []any) *redis.Cmd {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, name, script, len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	cmd := redis.NewCmd(ctx, append(all, args...)...)
	if len(keys) > 0 {
		cmd.SetFirstKeyPos(3)
	}
	_ = c.Process(ctx, unrepeated{cmd}) // cmd has it
	return cmd
}

// unrepeated is a command that the client gives up when its answer is lost.
type unrepeated struct{ *redis.Cmd }

func (unrepeated) NoRetry() bool { return true }

// notMade reports whether err says that none of what was asked for was done: Redis
// is another run, or refuses scripts as such.
func notMade(err error) bool {
	if _, ok := errors.AsType[*RunError](err); ok {
		return true
	}
	for _, code := range []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "MISCONF", "BUSY"} {
		if redis.HasErrorPrefix(err, code) {
			return true
		}
	}
	return false
}
