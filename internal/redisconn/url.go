package redisconn

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	sentinelScheme = "redis+sentinel"
	clusterScheme  = "redis+cluster"
)

// target is a parsed URL.
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

// parseURL reads redis.url. No error repeats the URL, for it may hold a
// password in a place where nobody looks for one.
func parseURL(secret credential.Secret, poolSize int) (target, error) {
	scheme, rest, _ := strings.Cut(secret.Reveal(), "://")
	switch scheme {
	case "redis", "rediss", "unix":
		return parseSingle(secret, scheme, poolSize)
	case sentinelScheme:
		return parseSentinel(rest, poolSize)
	case clusterScheme:
		return target{}, errors.New("redis.url: redis+cluster:// is not supported by this version; use redis://, rediss:// or redis+sentinel://")
	default:
		return target{}, errors.New("redis.url: the scheme is not one of redis://, rediss://, unix://, redis+sentinel://; write redis://host:6379, or leave it empty for the embedded Redis")
	}
}

func parseSingle(secret credential.Secret, scheme string, poolSize int) (target, error) {
	u, err := url.Parse(secret.Reveal())
	if err != nil {
		return target{}, errors.New("redis.url cannot be read as a URL; write redis://user:password@host:6379/0 and percent-encode what is special in the password")
	}
	o, err := redis.ParseURL(secret.Reveal())
	if err != nil {
		return target{}, fmt.Errorf("redis.url: %w", reveal(err, u))
	}
	return target{name: scheme + "://" + o.Addr, single: tune(o, poolSize, remoteDial)}, nil
}

// reveal takes out of a go-redis message what may hold more than it should:
// it repeats the path and the values of options that it cannot read.
func reveal(err error, u *url.URL) error {
	if strings.Contains(err.Error(), "unexpected option") {
		return errors.New("it has options after the ? that go-redis does not know; remove them")
	}
	if strings.Contains(err.Error(), "database number") || strings.Count(u.Path, "/") > 1 {
		return errors.New("what follows the address must be a database number, as in redis://host:6379/0")
	}
	return errors.New("its options cannot be read; write redis://user:password@host:6379/0")
}

// parseSentinel reads what follows redis+sentinel://, that is
// [user:password@]host:port[,host:port…]/master[/db], with sentinel_username
// and sentinel_password as options. net/url refuses several ports, so the list
// of hosts is taken out first.
func parseSentinel(rest string, poolSize int) (target, error) {
	const shape = "redis+sentinel://[user:password@]host:26379[,host:26379]/mastername[/0]"
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		return target{}, errors.New("redis.url names no master; write " + shape)
	}
	authority := rest[:end]
	at := strings.LastIndexByte(authority, '@') + 1
	u, err := url.Parse(sentinelScheme + "://" + authority[:at] + "sentinel" + rest[end:])
	if err != nil {
		return target{}, errors.New("redis.url cannot be read as a URL; write " + shape)
	}
	master, db, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if master == "" {
		return target{}, errors.New("redis.url names no master; write " + shape)
	}
	o := &redis.FailoverOptions{
		MasterName:       master,
		Username:         u.User.Username(),
		SentinelUsername: u.Query().Get("sentinel_username"),
		SentinelPassword: u.Query().Get("sentinel_password"),
	}
	o.Password, _ = u.User.Password()
	for option := range u.Query() {
		if option != "sentinel_username" && option != "sentinel_password" {
			return target{}, errors.New("redis.url has an option that is not sentinel_username or sentinel_password; remove it")
		}
	}
	if db != "" {
		if o.DB, err = strconv.Atoi(db); err != nil || o.DB < 0 {
			return target{}, errors.New("redis.url: what follows the master's name must be a database number; write " + shape)
		}
	}
	for host := range strings.SplitSeq(authority[at:], ",") {
		if !strings.Contains(host, ":") {
			host = net.JoinHostPort(host, "26379")
		}
		if name, port, err := net.SplitHostPort(host); err != nil || name == "" || port == "" {
			return target{}, errors.New("redis.url: the list of sentinels cannot be read; write " + shape)
		}
		o.SentinelAddrs = append(o.SentinelAddrs, host)
	}
	tuned := tune(&redis.Options{}, poolSize, remoteDial)
	o.DialTimeout, o.DialerRetries, o.PoolSize = tuned.DialTimeout, tuned.DialerRetries, tuned.PoolSize
	o.ReadTimeout, o.WriteTimeout, o.MaxRetries = tuned.ReadTimeout, tuned.WriteTimeout, tuned.MaxRetries
	o.ContextTimeoutEnabled, o.DisableIdentity = true, true
	return target{name: sentinelScheme + "://" + strings.Join(o.SentinelAddrs, ",") + "/" + master, failed: o}, nil
}
