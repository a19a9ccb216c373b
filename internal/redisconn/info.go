package redisconn

import (
	"context"
	"fmt"
	"strconv"
	"strings"

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
	return Identity{RunID: in["run_id"], ReplID: in["master_replid"], Version: in["redis_version"]}, nil
}

// Durability is what a server promises about acknowledged writes. An empty
// string means that it does not say.
type Durability struct {
	AppendOnly      string // yes or no
	AppendFsync     string // always, everysec or no
	Save            string // the snapshot rules, such as "3600 1"
	MaxmemoryPolicy string
	Replicas        int   // connected now
	DelayedFsyncs   int64 // how often a write had to wait for the disk, with everysec
	WaitAOF         bool  // WAITAOF is known (Redis 7.2)
}

// EveryWrite reports whether an acknowledged write is on disk.
func (d Durability) EveryWrite() bool { return d.AppendOnly == "yes" && d.AppendFsync == "always" }

// Durability reads the server's settings. Where CONFIG is forbidden, as with
// most hosted ones, what INFO does not tell stays empty.
func (c *Conn) Durability(ctx context.Context) (Durability, error) {
	if c.kind == KindMemory {
		return Durability{AppendOnly: "no", MaxmemoryPolicy: noEviction}, nil
	}
	in, err := readInfo(ctx, c.clients.main)
	if err != nil {
		return Durability{}, err
	}
	return durability(ctx, c.clients.main, in), nil
}

const noEviction = "noeviction"

func durability(ctx context.Context, client *redis.Client, in info) Durability {
	d := Durability{
		MaxmemoryPolicy: in["maxmemory_policy"],
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
	// A refusal here is an answer too: the setting is unknown.
	if known, err := client.ConfigGet(ctx, "appendfsync").Result(); err == nil {
		d.AppendFsync = known["appendfsync"]
	}
	if known, err := client.ConfigGet(ctx, "save").Result(); err == nil {
		if rules, told := known["save"]; told {
			d.Save = rules
			if rules == "" {
				d.Save = saveNever
			}
		}
	}
	return d
}

// saveNever stands for empty snapshot rules, which Redis prints as "".
const saveNever = "never"

// info is the reply to INFO.
type info map[string]string

// readInfo asks for all default sections at once: several by name are only
// known since Redis 7.0.
func readInfo(ctx context.Context, client *redis.Client) (info, error) {
	text, err := client.Info(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("redis: INFO: %w", err)
	}
	return parseInfo(text), nil
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

// atLeast compares redis_version, which other servers of the family also
// carry for the protocol they speak.
func (in info) atLeast(major, minor int) bool {
	first, rest, _ := strings.Cut(in["redis_version"], ".")
	second, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(first)
	b, errB := strconv.Atoi(second)
	return errA == nil && errB == nil && (a > major || a == major && b >= minor)
}
