package redisconn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
)

const (
	// answerWithin is how long a Redis that is not there is waited for; on
	// boot it may be started after us.
	answerWithin = 30 * time.Second
	askEvery     = 250 * time.Millisecond
)

func openExternal(ctx context.Context, o Options) (*Conn, error) {
	t, err := parseURL(o.URL, o.PoolSize)
	if err != nil {
		return nil, err
	}
	c := &Conn{kind: KindExternal, name: t.name, clients: newClients(t.client)}
	c.onClose(c.clients.close)
	if err := awaitAnswer(ctx, c.clients.main, t.name, answerWithin, o.Log); err != nil {
		return c.fail(err)
	}
	in, err := readInfo(ctx, c.clients.main)
	if err != nil {
		return c.fail(explainLook(err, t.name))
	}
	d := durability(ctx, c.clients.main, in)
	if err := fit(in, d); err != nil {
		return c.fail(fmt.Errorf("redis.url: %s: %w", t.name, err))
	}
	if !d.EveryWrite() {
		o.Log.Warn().Str("appendonly", orUnknown(d.AppendOnly)).Str("appendfsync", orUnknown(d.AppendFsync)).
			Msg("this Redis may lose acknowledged writes at a crash; received tokens stay safe in the journal. For the strongest promise set appendonly yes and appendfsync always")
	}
	o.Log.Info().Str("redis", t.name).Str("version", in["redis_version"]).Msg("connected to Redis")
	return c, nil
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// awaitAnswer waits until PING is answered, while the server loads or for as
// long as patience lasts. What waiting does not mend, such as a wrong
// password, is returned at once.
func awaitAnswer(ctx context.Context, client *redis.Client, name string, patience time.Duration, log zerolog.Logger) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	silentSince, told := time.Now(), false
	for {
		err := client.Ping(ctx).Err()
		switch {
		case err == nil:
			return nil
		case redis.IsAuthError(err):
			return fmt.Errorf("redis.url: %s refused the login (%w); check the user and the password in redis.url", name, err)
		case redis.IsPermissionError(err):
			return fmt.Errorf("redis.url: %s: %w; the user needs +@all on the keys rd:* and asynq:*", name, err)
		case Loads(err):
			silentSince = time.Now() // it lives
		case time.Since(silentSince) >= patience:
			return fmt.Errorf("redis.url: no answer from %s within %s (%w); is it running, is the address right, and does it expect rediss:// or redis://?", name, patience, err)
		}
		if !told {
			told = true
			log.Warn().Err(err).Str("redis", name).Msg("waiting for Redis")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("redis.url: waiting for %s: %w (last: %w)", name, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// fit refuses a server that cannot keep credentials.
func fit(in info, d Durability) error {
	switch {
	case !in.atLeast(7, 0):
		return fmt.Errorf("it is Redis %s, and 7.0 is the oldest that works; upgrade it", orUnknown(in["redis_version"]))
	case in["redis_mode"] == "cluster":
		return errors.New("it is a node of a Redis Cluster, which this version does not support; use a single server or Sentinel")
	case in["role"] == "slave":
		return errors.New("it is a read-only replica; name the master, or use redis+sentinel:// to have it found")
	case d.MaxmemoryPolicy != "" && d.MaxmemoryPolicy != noEviction:
		return fmt.Errorf("its maxmemory-policy is %s, so it would throw credentials away when memory runs short; set maxmemory-policy noeviction", d.MaxmemoryPolicy)
	case d.AppendOnly == "no" && d.Save == saveNever:
		return errors.New("it persists nothing (appendonly no, save \"\"), so a restart would lose every credential; set appendonly yes and appendfsync always")
	}
	return nil
}
