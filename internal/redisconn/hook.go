package redisconn

import (
	"context"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// detachedFor bounds a command that outlives its context.
const detachedFor = 3 * time.Second

// DetachHook carries out commands whose context has already ended, within 3 s
// of their own. It is for asynq (v0.25 and later): when its write of "this
// task is done" fails once, it repeats it with the context of the first
// attempt, which is over by then; every repetition fails, and the task is sure
// to run again.
//
// A context that ends while its command is under way still ends it.
type DetachHook struct{}

// DialHook leaves connecting as it is.
func (DetachHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook detaches single commands.
func (DetachHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		ctx, cancel := detach(ctx)
		defer cancel()
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook detaches pipelines and transactions.
func (DetachHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		ctx, cancel := detach(ctx)
		defer cancel()
		return next(ctx, cmds)
	}
}

func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), detachedFor)
}
