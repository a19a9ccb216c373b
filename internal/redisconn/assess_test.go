package redisconn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// found are the findings that are not ok, as topic=severity.
func found(list []Finding) []string {
	out := []string{}
	for _, f := range list {
		if f.Severity != SeverityOK {
			out = append(out, f.Topic+"="+string(f.Severity))
		}
	}
	return out
}

func finding(list []Finding, topic string) Finding {
	for _, f := range list {
		if f.Topic == topic {
			return f
		}
	}
	return Finding{}
}

func TestAssess(t *testing.T) {
	t.Parallel()
	memory := func(used, most int64) func(*View) {
		return func(v *View) { v.UsedMemory, v.MaxMemory = used<<20, most<<20 }
	}
	policy := func(name string) func(*View) { return func(v *View) { v.Durability.MaxmemoryPolicy = name } }
	for name, row := range map[string]struct {
		now, before View
		want        []string // worst first
		topic       string   // whose words are looked at
		says        string
		remedy      string
	}{
		"all is well":            {master(), master(), []string{}, "persistence", "appendfsync always", ""},
		"and with replicas":      {master(replicas(0, time.Second)), master(), []string{}, "replicas", "2 connected, and all keep up", ""},
		"everysec, WAITAOF":      {master(fsync("everysec")), View{}, []string{}, "persistence", "appendfsync everysec", "appendfsync always"},
		"everysec, 7.0":          {master(fsync("everysec"), redis70), View{}, []string{"persistence=warn"}, "persistence", "appendfsync everysec", "7.2"},
		"appendfsync no":         {master(fsync("no")), View{}, []string{"persistence=warn"}, "persistence", "appendfsync no", "appendfsync always"},
		"not told":               {master(fsync("")), View{}, []string{"persistence=warn"}, "persistence", "does not tell", "CONFIG GET"},
		"snapshots":              {master(snapshots("3600 1 300 100")), View{}, []string{"persistence=warn"}, "persistence", "save 3600 1 300 100", "appendonly yes"},
		"nothing":                {master(snapshots(saveNever)), View{}, []string{"persistence=fail"}, "persistence", "persists nothing", "appendonly yes"},
		"evicting":               {master(policy("allkeys-lru")), View{}, []string{"eviction=fail"}, "eviction", "maxmemory-policy allkeys-lru", "CONFIG SET maxmemory-policy noeviction"},
		"has evicted":            {master(policy("volatile-ttl"), func(v *View) { v.EvictedKeys = 7 }), View{}, []string{"eviction=fail"}, "eviction", "thrown 7 keys away since", "noeviction"},
		"evicts":                 {master(policy("volatile-ttl"), func(v *View) { v.EvictedKeys = 9 }), master(func(v *View) { v.EvictedKeys = 7 }), []string{"eviction=fail"}, "eviction", "just thrown 2 keys", "noeviction"},
		"policy not told":        {master(policy("")), View{}, []string{"eviction=warn"}, "eviction", "does not tell", "noeviction"},
		"too old":                {master(func(v *View) { v.Identity.Version = "6.2.14" }), View{}, []string{"version=fail"}, "version", "6.2.14", "upgrade"},
		"replica":                {master(slave), View{}, []string{"role=fail"}, "role", "read-only replica", "redis+sentinel://"},
		"replica without master": {master(slave, func(v *View) { v.LinkUp = false }), View{}, []string{"role=fail"}, "role", "has lost its master", ""},
		"cluster":                {master(func(v *View) { v.Mode = "cluster" }), View{}, []string{"role=fail"}, "role", "Redis Cluster", "Sentinel"},
		"disk full":              {master(fsync("everysec"), func(v *View) { v.AppendWriteFailed = true }), View{}, []string{"append_only_file=fail"}, "append_only_file", "failed", "make room"},
		"snapshot failed":        {master(func(v *View) { v.SnapshotFailed, v.Durability.Save = true, "3600 1" }), View{}, []string{"snapshots=fail"}, "snapshots", "failed", "make room"},
		"one of a replica's own": {master(func(v *View) { v.SnapshotFailed = true }), View{}, []string{}, "", "", ""},
		"slow disk":              {master(fsync("everysec"), func(v *View) { v.Durability.DelayedFsyncs = 1 }), master(fsync("everysec")), []string{"late_syncs=warn"}, "late_syncs", "does not keep up", "faster disk"},
		"lazy":                   {master(func(v *View) { v.Durability.LazyFsync = "yes" }), View{}, []string{"lazy_syncs=warn"}, "lazy_syncs", "no-appendfsync-on-rewrite yes", "no-appendfsync-on-rewrite no"},
		"a replica lags":         {master(replicas(0, 30*time.Second)), View{}, []string{"replicas=warn"}, "replicas", "1 of 2 do not keep up (the last word of one came 30s ago)", "log"},
		"split brain":            {master(replicas(0), func(v *View) { v.Durability.MinReplicas = 0 }), View{}, []string{"min_replicas=warn"}, "min_replicas", "min-replicas-to-write 0", "min-replicas-to-write 1"},
		"too few replicas":       {master(replicas(0), func(v *View) { v.Durability.MinReplicas = 2 }), View{}, []string{"min_replicas=fail"}, "min_replicas", "is 2, and 1 keep up", "bring"},
		"few, and no matter":     {master(func(v *View) { v.Durability.MinReplicas = 2 }), View{}, []string{}, "", "", ""},
		"memory left":            {master(memory(89, 100)), View{}, []string{}, "memory", "less than 90 %", ""},
		"memory nearly used":     {master(memory(91, 100)), View{}, []string{"memory=warn"}, "memory", "over 90 %", "raise maxmemory"},
		"memory used":            {master(memory(100, 100)), View{}, []string{"memory=fail"}, "memory", "all of its maxmemory of 100 MiB", "raise maxmemory"},
		"memory used, evicting":  {master(memory(100, 100), policy("allkeys-lru")), View{}, []string{"eviction=fail", "memory=warn"}, "memory", "over 90 %", ""},
		"restarted":              {master(func(v *View) { v.Identity.RunID = "another" }), master(), []string{"run=warn"}, "run", "another run", ""},
		"promoted":               {master(func(v *View) { v.Identity.ReplID = "another" }), master(), []string{"run=warn"}, "run", "replication ID", ""},
		"in process":             {master(inProcess), View{}, []string{"persistence=warn"}, "persistence", "in this process", "install redis-server"},
		"the worst first":        {master(fsync("no"), slave, policy("allkeys-lru")), View{}, []string{"role=fail", "eviction=fail", "persistence=warn"}, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := Assess(row.now, row.before)
			assert.Equal(t, row.want, found(list))
			said := finding(list, row.topic)
			assert.Contains(t, said.What, row.says)
			assert.Contains(t, said.Remedy, row.remedy)
			topics := map[string]bool{}
			for _, f := range list {
				assert.NotEmpty(t, f.What, f.Topic)
				assert.False(t, topics[f.Topic], "%s twice", f.Topic)
				topics[f.Topic] = true
				if f.Severity != SeverityOK {
					assert.NotEmpty(t, f.Consequence, f.Topic)
					assert.True(t, f.Remedy != "" || f.Topic == "run", f.Topic)
				}
			}
		})
	}
}
