package redisconn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// master is a view of a healthy server with that promise.
func master(change ...func(*View)) View {
	at := time.Unix(1_800_000_000, 0)
	v := View{
		Kind: KindExternal, At: at, Clock: at, Identity: Identity{RunID: "run", ReplID: "repl", Version: "7.2.4"}, Role: "master", Mode: "standalone",
		Durability:   Durability{AppendOnly: "yes", AppendFsync: "always", Save: saveNever, LazyFsync: "no", MaxmemoryPolicy: noEviction, WaitAOF: true},
		GoodReplicas: -1, LastSave: at.Add(-time.Hour), UsedMemory: 1 << 20,
	}
	for _, f := range change {
		f(&v)
	}
	return v
}

func fsync(how string) func(*View) { return func(v *View) { v.Durability.AppendFsync = how } }

func redis70(v *View) { v.Identity.Version, v.Durability.WaitAOF = "7.0.15", false }

func snapshots(rules string) func(*View) {
	return func(v *View) {
		v.Durability.AppendOnly, v.Durability.AppendFsync, v.Durability.Save = "no", "everysec", rules
	}
}

// replicas connects one replica for each lag; a negative one is not online.
func replicas(lags ...time.Duration) func(*View) {
	return func(v *View) {
		for _, lag := range lags {
			v.Replicas = append(v.Replicas, Replica{Address: "10.0.0.2:6379", Online: lag >= 0, Lag: max(0, lag)})
		}
		v.Durability.Replicas, v.Durability.MinReplicas, v.GoodReplicas = len(lags), 1, len(lags)
	}
}

func slave(v *View) { v.Role, v.LinkUp = "slave", true }

func inProcess(v *View) {
	*v = View{Kind: KindMemory, At: v.At, Identity: Identity{RunID: "run"}, Durability: Durability{AppendOnly: "no"}}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	var seen []Level
	for name, row := range map[string]struct {
		view  View
		level Level
		waits Waits
		loses bool
		loss  time.Duration
	}{
		"always":                           {master(), LevelEveryWrite, Waits{Enough: true}, false, 0},
		"always, a replica":                {master(replicas(0)), LevelEveryWrite, Waits{Enough: true, Replicas: 1}, true, 10 * time.Second},
		"always, one that lags":            {master(replicas(0, 7*time.Second)), LevelEveryWrite, Waits{Replicas: 1}, true, 17 * time.Second},
		"always, one that joins":           {master(replicas(0, -1)), LevelEveryWrite, Waits{Replicas: 1}, true, 10 * time.Second},
		"always, one that is only counted": {master(func(v *View) { v.Durability.Replicas = 1 }), LevelEveryWrite, Waits{}, true, 10 * time.Second},
		"always, lazily":                   {master(func(v *View) { v.Durability.LazyFsync = "yes" }), LevelEveryWrite, Waits{}, false, 10 * time.Second},
		"always, lazily, and a child": {
			master(func(v *View) { v.Durability.LazyFsync, v.ChildFor = "yes", 40*time.Second }), LevelEveryWrite, Waits{}, false, 70 * time.Second,
		},
		"always, and a child":              {master(func(v *View) { v.ChildFor = 40 * time.Second }), LevelEveryWrite, Waits{Enough: true}, false, 0},
		"everysec":                         {master(fsync("everysec")), LevelEverySecond, Waits{Enough: true, AOF: true}, false, 10 * time.Second},
		"everysec, 7.0":                    {master(fsync("everysec"), redis70), LevelEverySecond, Waits{}, false, 10 * time.Second},
		"everysec, 7.0, a replica":         {master(fsync("everysec"), redis70, replicas(time.Second)), LevelEverySecond, Waits{Replicas: 1}, true, 11 * time.Second},
		"everysec, two replicas":           {master(fsync("everysec"), replicas(0, time.Second)), LevelEverySecond, Waits{Enough: true, AOF: true, Replicas: 2}, true, 11 * time.Second},
		"everysec, writing fails":          {master(fsync("everysec"), func(v *View) { v.AppendWriteFailed = true }), LevelEverySecond, Waits{}, false, MostLoss},
		"no":                               {master(fsync("no")), LevelSystem, Waits{}, false, time.Minute},
		"not told how":                     {master(fsync("")), LevelUnknown, Waits{}, false, time.Minute},
		"nothing told":                     {master(func(v *View) { v.Durability = Durability{} }), LevelUnknown, Waits{}, false, time.Minute},
		"nothing known":                    {View{}, LevelUnknown, Waits{}, false, time.Minute},
		"snapshots":                        {master(snapshots("3600 1")), LevelSnapshots, Waits{}, false, time.Hour + 2*time.Second},
		"snapshots that take long":         {master(snapshots("3600 1"), func(v *View) { v.SaveTook = time.Minute }), LevelSnapshots, Waits{}, false, time.Hour + 62*time.Second},
		"snapshots that fail":              {master(snapshots("3600 1"), func(v *View) { v.SnapshotFailed = true }), LevelSnapshots, Waits{}, false, time.Hour + 62*time.Second},
		"snapshots, never told when":       {master(snapshots("3600 1"), func(v *View) { v.LastSave = time.Time{} }), LevelSnapshots, Waits{}, false, MostLoss},
		"snapshots, the last a week ago":   {master(snapshots("3600 1"), func(v *View) { v.LastSave = v.Clock.Add(-7 * MostLoss) }), LevelSnapshots, Waits{}, false, MostLoss},
		"snapshots, the clock set back":    {master(snapshots("3600 1"), func(v *View) { v.LastSave = v.Clock.Add(time.Hour) }), LevelSnapshots, Waits{}, false, 2 * time.Second},
		"snapshots or not is not told":     {master(snapshots("")), LevelUnknown, Waits{}, false, time.Minute},
		"nothing is kept":                  {master(snapshots(saveNever)), LevelMemory, Waits{}, false, MostLoss},
		"nothing is kept, but a replica's": {master(snapshots(saveNever), replicas(0)), LevelMemory, Waits{Replicas: 1}, true, MostLoss},
		"in process":                       {master(inProcess), LevelInProcess, Waits{}, false, 10 * time.Second},
		"a read-only replica":              {master(slave), LevelEveryWrite, Waits{}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, row.level, row.view.Level())
			assert.Equal(t, row.waits, row.view.Waits())
			assert.Equal(t, row.loses, row.view.FailoverLoses())
			assert.Equal(t, row.loss, LossWindow(row.view, View{}))
			assert.Equal(t, row.loss, LossWindow(row.view, row.view), "nothing has changed since")
		})
		seen = append(seen, row.level)
	}
	for _, level := range Levels() {
		assert.Contains(t, seen, level, "it is in no row")
	}
	for _, level := range seen {
		assert.Contains(t, Levels(), level)
	}
}

// TestLossWindowGrowsWhileSyncsAreLate: the view before is what tells.
func TestLossWindowGrowsWhileSyncsAreLate(t *testing.T) {
	t.Parallel()
	delayed := func(n int64) func(*View) { return func(v *View) { v.Durability.DelayedFsyncs = n } }
	pending := func(v *View) { v.PendingFsync = true }
	another := func(v *View) { v.Identity.RunID = "another" }
	everysec := fsync("everysec")
	for name, row := range map[string]struct {
		now, before View
		want        time.Duration
	}{
		"some long ago":              {master(everysec, delayed(7)), master(everysec, delayed(7)), 10 * time.Second},
		"one more":                   {master(everysec, delayed(8)), master(everysec, delayed(7)), 30 * time.Second},
		"the counter began anew":     {master(everysec, delayed(2)), master(everysec, delayed(7)), 10 * time.Second},
		"of another run":             {master(everysec, delayed(9), another), master(everysec, delayed(7)), 10 * time.Second},
		"one is under way":           {master(everysec, pending), master(everysec), 10 * time.Second},
		"one was":                    {master(everysec), master(everysec, pending), 10 * time.Second},
		"one stands":                 {master(everysec, pending), master(everysec, pending), 30 * time.Second},
		"with always, writes wait":   {master(pending, delayed(8)), master(pending, delayed(7)), 0},
		"a replica that lags longer": {master(everysec, delayed(8), replicas(40*time.Second)), master(everysec), 50 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, row.want, LossWindow(row.now, row.before))
		})
	}
}
