package scheduler

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/schedule"
	"github.com/refreshd/refreshd/tasks"
)

// whole returns a scheduler of which the due index and the event log are
// fakes.
func (b *periodicBench) whole(index *fakeIndex, queue *fakeQueue, log *fakeLog) *Scheduler {
	opts := b.opts
	opts.Index, opts.Depth, opts.Log, opts.Shards, opts.Retention = index, queue, log, 1, time.Hour
	opts.Capacity, opts.RecoverWithin = capacityFunc(endless), noGrace
	opts.Registerer = prometheus.NewRegistry()
	return New(opts)
}

func TestStopWaitsMayBeCalledTwiceAndWithoutStart(t *testing.T) {
	t.Parallel()
	inPeriodicBench(t, func(b *periodicBench) {
		t := b.T
		never := b.whole(newFakeIndex(b.clock), &fakeQueue{clock: b.clock}, &fakeLog{})
		never.Stop()
		never.Stop()
		never.Start() // too late: nothing may run
		synctest.Wait()

		index := newFakeIndex(b.clock)
		s := b.whole(index, &fakeQueue{clock: b.clock}, &fakeLog{})
		s.SetSchedules(map[string]schedule.Schedule{"acme": parse(t, "@every 15m")})
		s.Start()
		s.Start()
		elapse(time.Minute)
		s.Stop()
		s.Stop()
		looks := index.lookCount()
		assert.InDelta(t, 60, looks, 10)
		elapse(time.Minute)
		assert.Equal(t, looks, index.lookCount())
	})
}

func TestAJumpOfTheClockIsHandledLikeABoot(t *testing.T) {
	t.Parallel()
	inPeriodicBench(t, func(b *periodicBench) {
		t := b.T
		schedules := map[string]schedule.Schedule{"acme": parse(t, "@every 15m"), "shop": parse(t, "@every 1d")}
		for name, s := range schedules {
			b.slots.slots[tasks.SlotName(name)] = Slot{Done: b.opened(s)}
		}
		index, log := newFakeIndex(b.clock), &fakeLog{}
		index.add("acme", b.clock.Now().Add(time.Hour), "one")
		s := b.whole(index, &fakeQueue{clock: b.clock}, log)
		s.SetSchedules(schedules)
		s.Start()
		defer s.Stop()
		elapse(2*trimEvery + time.Second)
		require.Empty(t, b.pending(t))
		require.Len(t, log.seen(), 2)

		b.clock.jump(2 * time.Hour)
		elapse(syncEvery + time.Second)
		assert.NotEmpty(t, index.claimsOf("one"), "what is overdue is dispatched")
		var sweeps []tasks.Sweep
		for _, id := range b.pending(t) {
			info, err := b.inspector.GetTaskInfo(tasks.QueueFetch, id)
			require.NoError(t, err)
			sweep, err := tasks.DecodeSweep(info.Payload)
			require.NoError(t, err)
			if sweep.Slot != 0 {
				require.Equal(t, schedules[sweep.Provider].Next(b.clock.Now().Time()).Unix(), sweep.Next)
				sweep.Next = 0
			}
			sweeps = append(sweeps, sweep)
		}
		assert.ElementsMatch(t, []tasks.Sweep{
			{Provider: "acme", Slot: b.opened(schedules["acme"])}, {Provider: "acme"}, {Provider: "shop"},
		}, sweeps, "missed slots are caught up, and all scores looked at")
		elapse(30 * time.Minute)
		assert.Len(t, log.seen(), 2, "nothing is trimmed for only looking old")
	})
}

func TestANudgeReachesItsPart(t *testing.T) {
	t.Parallel()
	inPeriodicBench(t, func(b *periodicBench) {
		t := b.T
		s := parse(t, "@every 15m")
		b.slots.slots["fetch:acme"] = Slot{Done: b.opened(s)}
		index := newFakeIndex(b.clock)
		sched := b.whole(index, &fakeQueue{clock: b.clock}, &fakeLog{})
		sched.SetSchedules(map[string]schedule.Schedule{"acme": s})
		sched.Start()
		defer sched.Stop()
		synctest.Wait()
		index.add("acme", b.clock.Now(), "one")
		sched.Nudge()
		synctest.Wait()
		assert.Equal(t, []credential.Millis{b.clock.Now()}, index.claimsOf("one"))
	})
}
