package redisconn

import (
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/redisurl"
)

// target is a parsed URL, with what it left open filled in.
type target struct {
	name   string // scheme and address, without user and password, for messages
	single *redis.Options
	failed *redis.FailoverOptions // for Sentinel; then single is nil
}

func (t target) client() *redis.Client {
	if t.failed != nil {
		own := *t.failed
		return redis.NewFailoverClient(&own)
	}
	return single(t.single)
}

// parseURL reads redis.url. No error repeats the URL.
func parseURL(secret credential.Secret, poolSize int) (target, error) {
	read, err := redisurl.Parse(secret)
	if err != nil {
		return target{}, fmt.Errorf("redis.url: %w", err)
	}
	t := target{name: read.Name, failed: read.Sentinel}
	if o := t.failed; o != nil {
		tuned := tune(&redis.Options{}, poolSize, remoteDial)
		o.DialTimeout, o.DialerRetries, o.PoolSize = tuned.DialTimeout, tuned.DialerRetries, tuned.PoolSize
		o.ReadTimeout, o.WriteTimeout, o.MaxRetries = tuned.ReadTimeout, tuned.WriteTimeout, tuned.MaxRetries
		o.ContextTimeoutEnabled, o.DisableIdentity = true, true
		return t, nil
	}
	t.single = tune(read.Single, poolSize, remoteDial)
	return t, nil
}
