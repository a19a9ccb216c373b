package redisconn

import (
	"cmp"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	localDial  = 500 * time.Millisecond
	remoteDial = time.Second
	readWrite  = 3 * time.Second
	// maxRetries repeats a command whose reply was lost. What may not be done
	// twice is made idempotent where it is written, by a nonce.
	maxRetries = 2
)

// clients are the two clients of one server.
type clients struct{ main, queue *redis.Client }

// newClients makes both clients from what makes one.
func newClients(one func() *redis.Client) clients {
	c := clients{main: one(), queue: one()}
	c.queue.AddHook(DetachHook{})
	return c
}

func (c clients) close() error { return errors.Join(c.main.Close(), c.queue.Close()) }

// tune fills in what the URL left open.
func tune(o *redis.Options, poolSize int, dial time.Duration) *redis.Options {
	o.DialTimeout = cmp.Or(o.DialTimeout, dial)
	o.DialerRetries = 1
	o.ReadTimeout = cmp.Or(o.ReadTimeout, readWrite)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, readWrite)
	o.MaxRetries = cmp.Or(o.MaxRetries, maxRetries)
	o.PoolSize = cmp.Or(o.PoolSize, poolSize)
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true // not known to every server, and nobody reads the answer
	return o
}

// single makes a client of its own from o, which is left alone: go-redis fills
// defaults into what it is given.
func single(o *redis.Options) *redis.Client {
	own := *o
	own.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(&own)
}
