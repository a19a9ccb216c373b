// Package redisurl reads the URL of a Redis. The check of a configuration and the
// start of the service read it here, so that neither takes what the other refuses.
package redisurl

import (
	"errors"
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

	singleShape   = "write redis://user:password@host:6379/0, and percent-encode what is special in the password" //nolint:gosec // an example for a message
	sentinelShape = "write redis+sentinel://[user:password@]host:26379[,host:26379]/mastername[/0]"
	databaseShape = "what follows the address must be a database number, as in redis://host:6379/0"
)

// Target is what a URL names. What the URL leaves open is zero in its options.
type Target struct {
	Name     string // scheme and address, without user and password, for messages
	Single   *redis.Options
	Sentinel *redis.FailoverOptions // then Single is nil
}

// Parse reads redis://, rediss://, unix:// and redis+sentinel://. No error repeats
// the URL, for it may hold a password in a place where nobody looks for one; each
// says what to write.
func Parse(secret credential.Secret) (Target, error) {
	scheme, rest, found := strings.Cut(secret.Reveal(), "://")
	switch {
	case found && (scheme == "redis" || scheme == "rediss" || scheme == "unix"):
		return parseSingle(secret.Reveal(), scheme)
	case found && scheme == sentinelScheme:
		return parseSentinel(rest)
	case found && scheme == clusterScheme:
		return Target{}, errors.New("redis+cluster:// is not supported by this version; use redis://, rediss:// or redis+sentinel://")
	default:
		return Target{}, errors.New("it does not begin with redis://, rediss://, unix:// or redis+sentinel://; write redis://host:6379, or leave it empty for the embedded Redis")
	}
}

func parseSingle(text, scheme string) (Target, error) {
	u, err := url.Parse(text)
	switch {
	case scheme == "unix" && (err != nil || u.Host != "" || strings.Trim(u.Path, "/") == ""):
		return Target{}, errors.New("it names no socket; write unix:///run/redis.sock")
	case err != nil || u.Port() != "" && !isPort(u.Port()):
		return Target{}, errors.New("it cannot be read as a URL with ports from 1 to 65535; " + singleShape)
	}
	o, err := redis.ParseURL(text)
	switch {
	case err != nil:
		return Target{}, reveal(err, u)
	case o.DB < 0:
		return Target{}, errors.New(databaseShape)
	}
	return Target{Name: scheme + "://" + o.Addr, Single: o}, nil
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

// reveal takes out of a go-redis message what may hold more than it should:
// it repeats the path and the values of options that it cannot read.
func reveal(err error, u *url.URL) error {
	if strings.Contains(err.Error(), "unexpected option") {
		return errors.New("it has options after the ? that go-redis does not know; remove them")
	}
	if strings.Contains(err.Error(), "database number") || strings.Count(u.Path, "/") > 1 && u.Scheme != "unix" {
		return errors.New(databaseShape)
	}
	return errors.New("its options after the ? cannot be read; give each a value that fits, as in redis://host:6379/0?pool_size=20, or remove them")
}

// parseSentinel reads what follows redis+sentinel://, that is
// [user:password@]host:port[,host:port…]/master[/db], with sentinel_username
// and sentinel_password as options. net/url refuses several ports, so the list
// of hosts is taken out first.
func parseSentinel(rest string) (Target, error) {
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		return Target{}, errors.New("it names no master; " + sentinelShape)
	}
	authority := rest[:end]
	at := strings.LastIndexByte(authority, '@') + 1
	u, err := url.Parse(sentinelScheme + "://" + authority[:at] + "sentinel" + rest[end:])
	if err != nil {
		return Target{}, errors.New("it cannot be read as a URL; " + sentinelShape)
	}
	master, db, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if master == "" {
		return Target{}, errors.New("it names no master; " + sentinelShape)
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
			return Target{}, errors.New("it has an option that is not sentinel_username or sentinel_password; remove it")
		}
	}
	if db != "" {
		if o.DB, err = strconv.Atoi(db); err != nil || o.DB < 0 {
			return Target{}, errors.New("what follows the master's name must be a database number; " + sentinelShape)
		}
	}
	for host := range strings.SplitSeq(authority[at:], ",") {
		if !strings.Contains(host, ":") {
			host = net.JoinHostPort(host, "26379")
		}
		if name, port, err := net.SplitHostPort(host); err != nil || name == "" || !isPort(port) {
			return Target{}, errors.New("the list of sentinels cannot be read as hosts with ports from 1 to 65535; " + sentinelShape)
		}
		o.SentinelAddrs = append(o.SentinelAddrs, host)
	}
	return Target{Name: sentinelScheme + "://" + strings.Join(o.SentinelAddrs, ",") + "/" + master, Sentinel: o}, nil
}
