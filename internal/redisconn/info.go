package redisconn

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Identity tells one run of one server from another: a server that came back
// from a restart, or another that took its place, has a different one, and may
// lack the last writes.
type Identity struct {
	RunID   string // changes with every start of the server
	ReplID  string // changes with every promotion
	Version string // of the server; "" for the in-process store
}

// Identity asks the server who it is.
func (c *Conn) Identity(ctx context.Context) (Identity, error) {
	if c.kind == KindMemory {
		return c.identity, nil
	}
	in, err := readInfo(ctx, c.clients.main)
	if err != nil {
		return Identity{}, err
	}
	return identityOf(in), nil
}

func identityOf(in info) Identity {
	return Identity{RunID: in["run_id"], ReplID: in["master_replid"], Version: in["redis_version"]}
}

// Durability is what a server promises about acknowledged writes. An empty
// string means that it does not say.
type Durability struct {
	AppendOnly      string // yes or no
	AppendFsync     string // always, everysec or no
	Save            string // the snapshot rules, such as "3600 1"
	LazyFsync       string // yes leaves syncs out while a snapshot or a new append-only file is written
	MaxmemoryPolicy string
	MinReplicas     int   // without which it refuses writes
	Replicas        int   // connected now
	DelayedFsyncs   int64 // how often a write had to wait for the disk, with everysec
	WaitAOF         bool  // WAITAOF is known (Redis 7.2)
}

// EveryWrite reports whether an acknowledged write is on disk, at all times.
func (d Durability) EveryWrite() bool {
	return d.AppendOnly == "yes" && d.AppendFsync == "always" && d.LazyFsync != "yes"
}

const noEviction = "noeviction"

func durability(ctx context.Context, client *redis.Client, in info) Durability {
	set, _ := readSettings(ctx, client) // what was not answered is unknown
	return durabilityOf(in, set)
}

func durabilityOf(in info, set map[string]string) Durability {
	d := Durability{
		AppendFsync:     set["appendfsync"],
		Save:            set["save"],
		LazyFsync:       set["no-appendfsync-on-rewrite"],
		MaxmemoryPolicy: in["maxmemory_policy"],
		MinReplicas:     int(info(set).number("min-replicas-to-write")),
		Replicas:        int(in.number("connected_slaves")),
		DelayedFsyncs:   in.number("aof_delayed_fsync"),
		WaitAOF:         in.atLeast(7, 2),
	}
	switch in["aof_enabled"] {
	case "1":
		d.AppendOnly = "yes"
	case "0":
		d.AppendOnly = "no"
	}
	return d
}

// saveNever stands for empty snapshot rules, which Redis prints as "".
const saveNever = "never"

// info is the reply to INFO.
type info map[string]string

// loadingError is INFO's answer while the server loads its data. Redis gives one,
// where it refuses most other commands, but turns its append-only file off for as
// long and says so: what it tells then is taken for none.
type loadingError struct{}

// Error is what Redis says to the other commands.
func (loadingError) Error() string { return "LOADING Redis is loading the dataset in memory" }

// RedisError makes it a refusal like those, for [redis.HasErrorPrefix].
func (loadingError) RedisError() {}

// Loads reports whether err says that the server loads its data, to INFO or to any
// other command.
func Loads(err error) bool { return redis.HasErrorPrefix(err, "LOADING") }

// readInfo asks for all default sections at once: several by name are only
// known since Redis 7.0. That the server loads its data is an error, as with
// every other call.
func readInfo(ctx context.Context, client *redis.Client) (info, error) {
	text, err := client.Info(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("redis: INFO: %w", err)
	}
	in := parseInfo(text)
	if in.number("loading") == 1 {
		return nil, fmt.Errorf("redis: INFO: %w", loadingError{})
	}
	return in, nil
}

func parseInfo(text string) info {
	in := info{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			in[key] = value
		}
	}
	return in
}

func (in info) number(key string) int64 {
	n, err := strconv.ParseInt(in[key], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// seconds reads a duration; what makes no sense as one is 0, or 68 years.
func (in info) seconds(key string) time.Duration {
	return time.Duration(min(max(in.number(key), 0), math.MaxInt32)) * time.Second
}

// atLeast compares redis_version, which other servers of the family also
// carry for the protocol they speak.
func (in info) atLeast(major, minor int) bool {
	first, rest, _ := strings.Cut(in["redis_version"], ".")
	second, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(first)
	b, errB := strconv.Atoi(second)
	return errA == nil && errB == nil && (a > major || a == major && b >= minor)
}
