package redisconn

import (
	"fmt"
	"slices"
	"time"
)

// Severity says how bad a finding is. It is a closed set.
type Severity string

// The severities.
const (
	SeverityOK   Severity = "ok"
	SeverityWarn Severity = "warn" // it works, and a crash or a failover costs more than it must
	SeverityFail Severity = "fail" // credentials are lost, or cannot be written, as it is
)

// rank puts the worst first.
func (s Severity) rank() int {
	switch s {
	case SeverityFail:
		return 0
	case SeverityWarn:
		return 1
	case SeverityOK:
	}
	return 2
}

// Finding is one thing about a server that an operator should know.
type Finding struct {
	Topic       string // one of a closed set, such as eviction
	Severity    Severity
	What        string // is the case
	Consequence string // that has; empty where all is well and nothing follows
	Remedy      string // empty where there is nothing to do
}

// Assess says what follows from a view, the worst first: one finding for each
// topic that there is something to say about. previous is the view before, or
// zero; what has changed since is told by it.
func Assess(v, previous View) []Finding {
	if v.Kind == KindMemory {
		return []Finding{{
			"persistence", SeverityWarn, "everything is kept in this process, with a snapshot every few seconds",
			"what changed since the last snapshot is lost with the process, though no received token: those are in the journal; one process and 10,000 credentials at the most",
			"install redis-server 7, or set redis.url",
		}}
	}
	var list []Finding
	for _, topic := range []func(View, View) Finding{
		assessRole, assessVersion, assessRun, assessEviction, assessPersistence, assessDisk, assessSnapshots,
		assessLateSyncs, assessLazySyncs, assessReplicas, assessMinReplicas, assessMemory,
	} {
		if f := topic(v, previous); f.Topic != "" {
			list = append(list, f)
		}
	}
	slices.SortStableFunc(list, func(a, b Finding) int { return a.Severity.rank() - b.Severity.rank() })
	return list
}

func assessRole(v, _ View) Finding {
	const topic = "role"
	switch {
	case v.Mode == "cluster":
		return Finding{
			topic, SeverityFail, "it is a node of a Redis Cluster", "this version does not support one",
			"use a single server or Sentinel",
		}
	case v.Role != "slave":
		return Finding{topic, SeverityOK, "it is a master", "", ""}
	}
	what := "it is a read-only replica"
	if !v.LinkUp {
		what += ", and has lost its master"
	}
	return Finding{
		topic, SeverityFail, what, "nothing can be stored: no refresh is begun, and received tokens stay in the journal",
		"name the master in redis.url, or use redis+sentinel:// to have it found",
	}
}

func assessVersion(v, _ View) Finding {
	const topic = "version"
	in := info{"redis_version": v.Identity.Version}
	if !in.atLeast(7, 0) {
		return Finding{
			topic, SeverityFail, "it is Redis " + orUnknown(v.Identity.Version), "7.0 is the oldest that works: older ones do not know what the scripts need",
			"upgrade it",
		}
	}
	return Finding{topic, SeverityOK, "it is Redis " + v.Identity.Version, "", ""}
}

// assessRun tells of a restart or a failover, once: the view after it is
// compared with its like again.
func assessRun(v, previous View) Finding {
	const topic = "run"
	before := previous.Identity
	switch {
	case before.RunID == "" || before == v.Identity:
		return Finding{}
	case before.RunID == v.Identity.RunID:
		return Finding{
			topic, SeverityWarn, "its replication ID has changed: it was made a master, or follows another",
			"it may lack acknowledged writes; nothing is begun until every process has put back what it knows", "",
		}
	}
	return Finding{
		topic, SeverityWarn, "it is another run than before: a restart, or a failover",
		"it may lack acknowledged writes; nothing is begun until every process has put back what it knows", "",
	}
}

func assessEviction(v, previous View) Finding {
	const topic = "eviction"
	policy := v.Durability.MaxmemoryPolicy
	switch {
	case policy == "":
		return Finding{
			topic, SeverityWarn, "it does not tell its maxmemory-policy", "if it evicts, it throws credentials away when memory runs short",
			"make sure that it is noeviction",
		}
	case !v.Evicting():
		return Finding{topic, SeverityOK, "maxmemory-policy " + noEviction, "", ""}
	}
	what := "maxmemory-policy " + policy
	if gone := v.EvictedKeys - previous.EvictedKeys; gone > 0 && previous.Identity.RunID == v.Identity.RunID {
		what += fmt.Sprintf(", and it has just thrown %d keys away", gone)
	} else if v.EvictedKeys > 0 {
		what += fmt.Sprintf(", and it has thrown %d keys away since it started", v.EvictedKeys)
	}
	return Finding{
		topic, SeverityFail, what, "it throws credentials away when memory runs short, and their users must log in again",
		"run CONFIG SET maxmemory-policy noeviction, and set it in redis.conf; the next start refuses this Redis",
	}
}

func assessPersistence(v, _ View) Finding {
	const topic = "persistence"
	const strongest = "set appendonly yes and appendfsync always"
	switch v.Level() {
	case LevelEveryWrite:
		return Finding{topic, SeverityOK, "appendfsync always: an acknowledged write is on disk", "", ""}
	case LevelEverySecond:
		if v.Durability.WaitAOF {
			return Finding{
				topic, SeverityOK, "appendfsync everysec",
				"a power cut loses up to a second of writes, more on a slow disk; each refresh waits until its beginning is on disk, which takes up to a second, and the journal keeps received tokens meanwhile",
				"set appendfsync always for refreshes that begin at once",
			}
		}
		return Finding{
			topic, SeverityWarn, "appendfsync everysec",
			"a power cut loses up to a second of writes, more on a slow disk; the journal keeps received tokens meanwhile, and after a restart nothing is begun until every process has put back what it knows",
			"set appendfsync always, or upgrade to Redis 7.2, whose WAITAOF each beginning can wait for",
		}
	case LevelSystem:
		return Finding{
			topic, SeverityWarn, "appendfsync no", "a crash of the machine loses up to a minute of writes; the journal keeps received tokens meanwhile",
			"set appendfsync always",
		}
	case LevelSnapshots:
		return Finding{
			topic, SeverityWarn, "no append-only file, snapshots alone (save " + v.Durability.Save + ")",
			"a crash loses what changed since the last one; the journal keeps received tokens until the next, and grows",
			strongest,
		}
	case LevelMemory:
		return Finding{
			topic, SeverityFail, "it persists nothing (appendonly no, save \"\")", "its next restart loses every credential, and all users must log in again",
			"run CONFIG SET appendonly yes, and set it in redis.conf; the next start refuses this Redis",
		}
	case LevelInProcess, LevelUnknown:
	}
	return Finding{
		topic, SeverityWarn, "it does not tell how it persists", "what a crash loses is unknown; the journal keeps received tokens for a minute",
		"allow its user the command CONFIG GET, or make sure that it is as with appendonly yes and appendfsync always",
	}
}

func assessDisk(v, _ View) Finding {
	const topic = "append_only_file"
	if v.Durability.AppendOnly != "yes" {
		return Finding{}
	}
	if v.AppendWriteFailed {
		return Finding{
			topic, SeverityFail, "its last write to the append-only file failed", "it refuses writes: no refresh is begun, and received tokens stay in the journal",
			"make room on the disk of Redis and look into its log; it goes on by itself",
		}
	}
	return Finding{topic, SeverityOK, "its append-only file is written without errors", "", ""}
}

func assessSnapshots(v, _ View) Finding {
	const topic = "snapshots"
	if !v.SnapshotFailed || v.Durability.Save == saveNever {
		return Finding{}
	}
	return Finding{
		topic, SeverityFail, "its last snapshot failed", "with stop-writes-on-bgsave-error, its default, it refuses writes: no refresh is begun, and received tokens stay in the journal",
		"make room on the disk of Redis, or memory for its fork (vm.overcommit_memory 1), and look into its log",
	}
}

func assessLateSyncs(v, previous View) Finding {
	const topic = "late_syncs"
	if v.Durability.AppendOnly != "yes" || !v.syncsAreLate(previous) {
		return Finding{}
	}
	return Finding{
		topic, SeverityWarn, "its disk does not keep up: syncs of the append-only file are late",
		"a power cut loses some seconds of writes; the journal keeps received tokens for 30 s",
		"give Redis a faster disk, or one of its own",
	}
}

func assessLazySyncs(v, _ View) Finding {
	const topic = "lazy_syncs"
	if v.Durability.AppendOnly != "yes" || v.Durability.LazyFsync != "yes" {
		return Finding{}
	}
	return Finding{
		topic, SeverityWarn, "no-appendfsync-on-rewrite yes", "while it writes a snapshot or a new append-only file, nothing is synced, and a power cut loses all of that time",
		"set no-appendfsync-on-rewrite no",
	}
}

func assessReplicas(v, _ View) Finding {
	const topic = "replicas"
	all := max(len(v.Replicas), v.Durability.Replicas)
	waits := v.Waits().Replicas
	switch {
	case v.Role == "slave":
		return Finding{}
	case all == 0:
		return Finding{topic, SeverityOK, "no replica is connected", "", ""}
	case waits == all:
		return Finding{
			topic, SeverityOK, fmt.Sprintf("%d connected, and all keep up", all),
			"a failover loses what is not replicated yet; each refresh waits until its beginning is", "",
		}
	}
	return Finding{
		topic, SeverityWarn, fmt.Sprintf("%d of %d do not keep up (the last word of one came %s ago)", all-waits, all, v.lag().Round(time.Second)),
		"a failover to one of them loses acknowledged writes; nothing is begun after it until every process has put back what it knows",
		"look into the log of the replica, and at the network in between",
	}
}

func assessMinReplicas(v, _ View) Finding {
	const topic = "min_replicas"
	least := v.Durability.MinReplicas
	switch {
	case v.Role == "slave":
	case v.GoodReplicas >= 0 && v.GoodReplicas < least:
		return Finding{
			topic, SeverityFail, fmt.Sprintf("min-replicas-to-write is %d, and %d keep up", least, v.GoodReplicas),
			"it refuses writes: no refresh is begun, and received tokens stay in the journal", "bring the replicas back",
		}
	case v.FailoverLoses() && least == 0:
		return Finding{
			topic, SeverityWarn, "min-replicas-to-write 0",
			"a master that is cut off from the others goes on taking writes, which are lost when it comes back",
			"set min-replicas-to-write 1 and min-replicas-max-lag 10",
		}
	}
	return Finding{}
}

func assessMemory(v, _ View) Finding {
	const topic = "memory"
	const nearly = 90 // percent
	switch {
	case v.MaxMemory <= 0:
		return Finding{topic, SeverityOK, "no maxmemory", "", ""}
	case v.UsedMemory >= v.MaxMemory && !v.Evicting():
		return Finding{
			topic, SeverityFail, fmt.Sprintf("all of its maxmemory of %d MiB is used", v.MaxMemory>>20),
			"it refuses what grows: refreshes that are not under way, touches, new API keys and subscriptions fail as long as it has no room, now and again one gets through; logins, logouts, deletions and what is under way are stored",
			"raise maxmemory",
		}
	case v.UsedMemory >= v.MaxMemory/100*nearly:
		return Finding{
			topic, SeverityWarn, fmt.Sprintf("over %d %% of its maxmemory of %d MiB is used", nearly, v.MaxMemory>>20),
			"when all is used, refreshes that are not under way, touches, new API keys and subscriptions fail", "raise maxmemory",
		}
	}
	return Finding{topic, SeverityOK, fmt.Sprintf("less than %d %% of its maxmemory of %d MiB is used", nearly, v.MaxMemory>>20), "", ""}
}
