package redisconn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// settingsFor is how long settings that only CONFIG GET tells are taken to
// stand. What INFO tells is new with every view.
const settingsFor = 30 * time.Second

// View is what a server says about itself at one moment. What it does not say
// is zero. The zero View is of a server that nothing is known about.
type View struct {
	Kind       Kind
	At         time.Time // when the answer came, with the monotonic clock
	Identity   Identity
	Durability Durability

	Role     string    // master or slave
	LinkUp   bool      // of a slave to its master
	Mode     string    // standalone, sentinel or cluster
	Clock    time.Time // the server's own
	Replicas []Replica
	// GoodReplicas is how many keep up as Redis counts it for
	// min-replicas-to-write; -1 where that is off.
	GoodReplicas int

	AppendWriteFailed bool          // the last write to the append-only file
	SnapshotFailed    bool          // the last one
	LastSave          time.Time     // when the last snapshot was done, or the server started
	SaveTook          time.Duration // the last snapshot; to the second
	PendingFsync      bool          // one stands in the queue of the server's disk thread
	ChildFor          time.Duration // how long it has been writing a snapshot or a new append-only file; 0 if it is not

	MaxMemory   int64 // bytes; 0 is no bound
	UsedMemory  int64
	EvictedKeys int64 // since the server started
}

// Replica is a connected replica.
type Replica struct {
	Address string
	Online  bool          // it has the data, and gets every write
	Lag     time.Duration // since its last word, which comes every second
}

// View reads the server's state: one INFO, and CONFIG GET where the settings
// are older than 30 s or another run's. Loading and an outage are errors, as
// with every other call.
func (c *Conn) View(ctx context.Context) (View, error) {
	if c.kind == KindMemory {
		return View{
			Kind: c.kind, At: time.Now(), Identity: c.identity, Role: "master", Clock: time.Now(), GoodReplicas: -1,
			Durability: Durability{AppendOnly: "no", MaxmemoryPolicy: noEviction},
		}, nil
	}
	return readView(ctx, c.clients.main, c.kind, &c.settings)
}

func readView(ctx context.Context, client *redis.Client, kind Kind, known *settings) (View, error) {
	in, err := readInfo(ctx, client)
	if err != nil {
		return View{}, err
	}
	now := time.Now()
	v := parseView(in, known.of(ctx, client, in, now))
	v.Kind, v.At = kind, now
	return v, nil
}

// settings keeps what CONFIG GET told.
type settings struct {
	mu    sync.Mutex
	known map[string]string
	at    time.Time
	run   string // the run and what else shows that somebody has changed something
}

// configKeys are the settings that INFO does not tell.
func configKeys() []string {
	return []string{"appendfsync", "save", "no-appendfsync-on-rewrite", "min-replicas-to-write"}
}

// of returns the settings of the server that told in. Where CONFIG is
// forbidden, as with most hosted ones, they are empty.
func (s *settings) of(ctx context.Context, client *redis.Client, in info, now time.Time) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, least := in["min_slaves_good_slaves"] // told where min-replicas-to-write is set
	run := fmt.Sprintln(in["run_id"], in["master_replid"], in["aof_enabled"], in["maxmemory_policy"], in["maxmemory"], least)
	if s.known != nil && s.run == run && now.Sub(s.at) < settingsFor {
		return s.known
	}
	known, answered := readSettings(ctx, client)
	if !answered {
		return known // asked again next time
	}
	s.known, s.at, s.run = known, now, run
	return known
}

// readSettings asks for each by itself: several at once are only known since
// Redis 7.0, and not by every other server of the family. A refusal is an
// answer too: the setting is unknown.
func readSettings(ctx context.Context, client *redis.Client) (known map[string]string, answered bool) {
	known, answered = map[string]string{}, true
	pipe := client.Pipeline()
	asked := make([]*redis.MapStringStringCmd, 0, len(configKeys()))
	for _, key := range configKeys() {
		asked = append(asked, pipe.ConfigGet(ctx, key))
	}
	_, _ = pipe.Exec(ctx) // each command has its own result
	for _, cmd := range asked {
		told, err := cmd.Result()
		if _, refused := errors.AsType[redis.Error](err); err != nil && !refused {
			answered = false
		}
		maps.Copy(known, told)
	}
	if rules, told := known["save"]; told && rules == "" {
		known["save"] = saveNever
	}
	return known, answered
}

func parseView(in info, set map[string]string) View {
	v := View{
		Identity:   identityOf(in),
		Durability: durabilityOf(in, set),
		Role:       in["role"],
		LinkUp:     in["master_link_status"] == "up",
		Mode:       in["redis_mode"],
		Replicas:   replicasOf(in),

		GoodReplicas: -1,

		AppendWriteFailed: in["aof_last_write_status"] == "err",
		SnapshotFailed:    in["rdb_last_bgsave_status"] == "err",
		SaveTook:          in.seconds("rdb_last_bgsave_time_sec"),
		PendingFsync:      in.number("aof_pending_bio_fsync") > 0,

		MaxMemory:   in.number("maxmemory"),
		UsedMemory:  in.number("used_memory"),
		EvictedKeys: in.number("evicted_keys"),
	}
	if _, told := in["min_slaves_good_slaves"]; told {
		v.GoodReplicas = int(in.number("min_slaves_good_slaves"))
	}
	if at := in.number("server_time_usec"); at > 0 {
		v.Clock = time.UnixMicro(at)
	}
	if at := in.number("rdb_last_save_time"); at > 0 {
		v.LastSave = time.Unix(at, 0)
	}
	for child, took := range map[string]string{
		"rdb_bgsave_in_progress": "rdb_current_bgsave_time_sec", "aof_rewrite_in_progress": "aof_current_rewrite_time_sec",
	} {
		if in.number(child) == 1 {
			v.ChildFor = max(v.ChildFor, time.Second, in.seconds(took))
		}
	}
	return v
}

// replicasOf reads the lines slave0:ip=…,port=…,state=online,offset=…,lag=….
// They are in the order of their addresses.
func replicasOf(in info) []Replica {
	var list []Replica
	for key, line := range in {
		n, ok := strings.CutPrefix(key, "slave")
		if _, err := strconv.ParseUint(n, 10, 16); !ok || err != nil {
			continue
		}
		fields := info{}
		for field := range strings.SplitSeq(line, ",") {
			if name, value, ok := strings.Cut(field, "="); ok {
				fields[name] = value
			}
		}
		list = append(list, Replica{
			Address: fmt.Sprintf("%s:%s", fields["ip"], fields["port"]), Online: fields["state"] == "online", Lag: fields.seconds("lag"),
		})
	}
	slices.SortFunc(list, func(a, b Replica) int { return strings.Compare(a.Address, b.Address) })
	return list
}

// Evicting reports whether the server throws keys away when memory runs short.
func (v View) Evicting() bool {
	return v.Durability.MaxmemoryPolicy != "" && v.Durability.MaxmemoryPolicy != noEviction
}
