package doctor

import (
	"fmt"
	"slices"
)

// Severity says how bad a finding is. It is a closed set.
type Severity string

// The severities.
const (
	OK   Severity = "ok"   // in order, or only to be known
	Warn Severity = "warn" // it works, and is not as it should be
	Fail Severity = "fail" // it does not work, or loses credentials
)

// Finding is one thing that was looked at, and what follows from it.
type Finding struct {
	Topic       Topic    `json:"topic"`
	Severity    Severity `json:"severity"`
	What        string   `json:"what"`
	Consequence string   `json:"consequence,omitempty"`
	Remedy      string   `json:"remedy,omitempty"`
}

// Topic is what a finding is about. It is a closed set; programs may rely on
// the names.
type Topic string

// The topics, but for those of [RedisTopic].
const (
	TopicConfig        Topic = "config"
	TopicDataDir       Topic = "data_dir"
	TopicDiskSpace     Topic = "disk_space"
	TopicJournal       Topic = "journal"
	TopicKeyset        Topic = "keyset"
	TopicListen        Topic = "listen"
	TopicMetricsListen Topic = "metrics_listen"
	TopicRedis         Topic = "redis" // whether it can be reached
	TopicClock         Topic = "clock"
	TopicOpenFiles     Topic = "open_files"
	TopicCoreDumps     Topic = "core_dumps"
	TopicService       Topic = "service" // whether it answers, and is ready
	TopicVersion       Topic = "version"
	TopicProcesses     Topic = "processes" // that work on the service's Redis
	TopicRecovery      Topic = "recovery"
	TopicInDoubt       Topic = "in_doubt"
	TopicProviders     Topic = "providers"
	TopicQueues        Topic = "queues"
)

// redisTopics are what is told of a Redis that could be asked.
func redisTopics() []string {
	return []string{
		"role", "version", "run", "eviction", "persistence", "append_only_file", "snapshots", "late_syncs", "lazy_syncs",
		"replicas", "min_replicas", "memory",
	}
}

// RedisTopic is the topic of a finding about a Redis, such as redis_eviction.
// One that is not known here, as of a newer service, counts as redis.
func RedisTopic(name string) Topic {
	if slices.Contains(redisTopics(), name) {
		return TopicRedis + "_" + Topic(name)
	}
	return TopicRedis
}

// count says how many there are of something whose plural ends in s.
func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
