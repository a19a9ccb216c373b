package redisconn

import "time"

// Level is what becomes of acknowledged writes when the server, or its
// machine, dies. It is a closed set, for metrics too. What a failover does is
// another matter: see [View.FailoverLoses].
type Level string

// The levels, the strongest first.
const (
	LevelEveryWrite  Level = "every_write"  // synced before it is acknowledged
	LevelEverySecond Level = "every_second" // synced within a second or two
	LevelSystem      Level = "system"       // written at once, synced when the system likes
	LevelSnapshots   Level = "snapshots"    // only what the last snapshot holds
	LevelInProcess   Level = "in_process"   // the same, of a store that dies with this process
	LevelMemory      Level = "memory"       // nothing is kept
	LevelUnknown     Level = "unknown"      // it does not say
)

// Levels lists all of them, the strongest first.
func Levels() []Level {
	return []Level{LevelEveryWrite, LevelEverySecond, LevelSystem, LevelSnapshots, LevelInProcess, LevelMemory, LevelUnknown}
}

// Level tells which promise the server makes by its settings.
func (v View) Level() Level {
	d := v.Durability
	switch {
	case v.Kind == KindMemory:
		return LevelInProcess
	case d.AppendOnly == "no" && d.Save == saveNever:
		return LevelMemory
	case d.AppendOnly == "no" && d.Save != "":
		return LevelSnapshots
	case d.AppendOnly != "yes":
		return LevelUnknown
	case d.AppendFsync == "always":
		return LevelEveryWrite
	case d.AppendFsync == "everysec":
		return LevelEverySecond
	case d.AppendFsync == "no":
		return LevelSystem
	}
	return LevelUnknown
}

// FailoverLoses reports whether a failover can take back an acknowledged
// write: replication is asynchronous, so wherever there is a replica that may
// take over. Who waits for them as [View.Waits] says is safe for those writes.
func (v View) FailoverLoses() bool { return len(v.Replicas) > 0 || v.Durability.Replicas > 0 }

// keepsUp is the most time since the last word of a replica that keeps up: one
// comes every second.
const keepsUp = 3 * time.Second

// Waits is what a write can wait for until no crash and no failover takes it
// back.
type Waits struct {
	// Enough says that the rest of it is all that it takes. It is false where
	// nothing that can be waited for is enough: then waiting only helps.
	Enough   bool
	AOF      bool // for the server's own disk, WAITAOF
	Replicas int  // for so many replicas, WAIT
}

// Waits tells what a write can wait for at this server. Replicas that do not
// keep up are not waited for, and nothing is enough while there is one: it is
// the one that may take over.
func (v View) Waits() Waits {
	var w Waits
	for _, r := range v.Replicas {
		if r.Online && r.Lag <= keepsUp {
			w.Replicas++
		}
	}
	if v.AppendWriteFailed || v.Role == "slave" {
		return w
	}
	everyWrite := v.Durability.EveryWrite() && v.Kind != KindMemory
	w.AOF = !everyWrite && v.Durability.WaitAOF && v.Level() == LevelEverySecond
	all := max(len(v.Replicas), v.Durability.Replicas)
	w.Enough = (everyWrite || w.AOF) && w.Replicas == all
	return w
}

// The bounds of [LossWindow].
const (
	// everysecLoss: a sync is begun once a second, and a write waits for at
	// most two seconds of one that hangs before it goes on without it. Cuts of
	// the power were measured to take up to 3.7 s with a slow disk.
	everysecLoss = 10 * time.Second
	slowDiskLoss = 30 * time.Second // while syncs are late
	systemLoss   = time.Minute      // Linux writes back what is 30 s old, and takes its time
	snapshotSlop = 2 * time.Second  // Redis tells the times of its snapshots in whole seconds
	// failedSave is taken to be the least that a snapshot takes after one that
	// failed: the time told is then that of the failed one.
	failedSave = time.Minute
	// MostLoss is the longest [LossWindow]: what nothing keeps is taken back
	// by every crash, however old it is, and no journal can hold it all.
	MostLoss = 24 * time.Hour
)

// LossWindow is how old an acknowledged write must be so that no crash and no
// failover of this server takes it back: what is younger must be kept
// elsewhere. 0 says that an acknowledged write is safe at once; MostLoss that
// none ever is. previous is the view before, some seconds older, or zero. What
// a run that has taken the place of another lacks is not part of it.
//
//	every_write without replicas    0
//	every_second, or replicas       10 s, and by as much more as a replica lags
//	 … syncs are late               30 s: aof_delayed_fsync has grown since the
//	                                view before, or one stands in both
//	system                          1 min
//	snapshots                       the time since the last one was begun
//	in_process                      10 s: twice the time between its snapshots
//	memory                          MostLoss
//	unknown                         1 min
//	writing to the disk fails       MostLoss, until it succeeds again
//	no-appendfsync-on-rewrite yes   10 s; while a child writes, its time and 30 s
func LossWindow(v, previous View) time.Duration {
	if v.Identity.RunID == "" && v.At.IsZero() {
		return systemLoss // nothing is known about it
	}
	var window time.Duration
	switch v.Level() {
	case LevelEveryWrite:
	case LevelEverySecond, LevelInProcess:
		window = everysecLoss
	case LevelSystem, LevelUnknown:
		window = systemLoss
	case LevelSnapshots:
		window = sinceSnapshot(v)
	case LevelMemory:
		window = MostLoss
	}
	if v.Durability.AppendOnly == "yes" {
		if v.AppendWriteFailed {
			window = MostLoss
		}
		if v.Durability.LazyFsync == "yes" {
			window = max(window, everysecLoss) // a child may be started at any time
			if v.ChildFor > 0 {
				window = max(window, v.ChildFor+slowDiskLoss)
			}
		}
		if v.syncsAreLate(previous) {
			window = max(window, slowDiskLoss)
		}
	}
	if v.FailoverLoses() {
		window = max(window, everysecLoss+v.lag())
	}
	return min(window, MostLoss)
}

// sinceSnapshot is the time since the last snapshot was begun: what it holds
// is as of then, and it counts from its end.
func sinceSnapshot(v View) time.Duration {
	if v.LastSave.IsZero() || v.Clock.IsZero() {
		return MostLoss
	}
	took := v.SaveTook
	if v.SnapshotFailed {
		took = max(took, failedSave)
	}
	return max(0, v.Clock.Sub(v.LastSave)) + took + snapshotSlop
}

// syncsAreLate reports whether the disk does not keep up: with everysec only,
// for with always a write waits for its sync.
func (v View) syncsAreLate(previous View) bool {
	if v.Durability.AppendFsync == "always" || previous.Identity != v.Identity {
		return false
	}
	return v.Durability.DelayedFsyncs > previous.Durability.DelayedFsyncs || v.PendingFsync && previous.PendingFsync
}

// lag is that of the replica that lags most.
func (v View) lag() time.Duration {
	var most time.Duration
	for _, r := range v.Replicas {
		most = max(most, r.Lag)
	}
	return most
}
