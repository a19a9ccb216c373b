package scheduler

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/schedule"
	"github.com/refreshd/refreshd/tasks"
)

// fakeSlots are stored slot states.
type fakeSlots struct {
	mu    sync.Mutex
	slots map[string]Slot
	err   error
	panic bool
}

func (f *fakeSlots) Slot(_ context.Context, name string) (Slot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panic {
		panic("no such state")
	}
	return f.slots[name], f.err
}

func (f *fakeSlots) set(change func(*fakeSlots)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// periodicBench has asynq's own client on a miniredis that runs outside the
// bubble; retention does not pass, for nobody serves the queue.
type periodicBench struct {
	*testing.T // of the bubble

	clock     *fakeClock
	slots     *fakeSlots
	log       *logged
	inspector *asynq.Inspector
	opts      Options
}

func inPeriodicBench(t *testing.T, test func(b *periodicBench)) {
	t.Helper()
	addr := miniredis.RunT(t).Addr()
	synctest.Test(t, func(t *testing.T) {
		client := redis.NewClient(&redis.Options{Addr: addr})
		defer func() { assert.NoError(t, client.Close()) }()
		elapse(17 * time.Minute) // off every slot's edge
		b := &periodicBench{
			T:     t,
			clock: &fakeClock{}, slots: &fakeSlots{slots: map[string]Slot{}}, log: &logged{}, inspector: asynq.NewInspectorFromRedisClient(client),
		}
		b.opts = Options{
			Queue: asynq.NewClientFromRedisClient(client), Tasks: b.inspector, Slots: b.slots, Clock: b.clock,
			FetchWithin: defaultFetchWithin, Logger: zerolog.New(b.log),
		}
		test(b)
	})
}

// start runs a replica; stop it before the test ends.
func (b *periodicBench) start(t *testing.T, schedules map[string]schedule.Schedule) (p *periodic, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p = newPeriodic(ctx, b.opts, newMetrics(prometheus.NewRegistry()))
	p.set(schedules)
	p.start()
	synctest.Wait()
	return p, func() {
		cancel()
		p.stop()
	}
}

// pending lists the IDs of the waiting sweeps, the oldest first.
func (b *periodicBench) pending(t *testing.T) []string {
	t.Helper()
	list, err := b.inspector.ListPendingTasks(tasks.QueueFetch, asynq.PageSize(1000))
	if err != nil {
		require.ErrorIs(t, err, asynq.ErrQueueNotFound)
	}
	var ids []string
	for _, info := range list {
		ids = append(ids, info.ID)
	}
	return ids
}

func (b *periodicBench) opened(s schedule.Schedule) int64 {
	return openedAt(s, b.clock.Now().Time())
}

func sweepOf(provider string, slot int64, resume int) string {
	return tasks.Sweep{Provider: provider, Slot: slot, Resume: resume}.ID()
}

func TestTheSlotOfTheStartIsCaughtUpAtOnceAndOnlyTheNewest(t *testing.T) {
	t.Parallel()
	inPeriodicBench(t, func(b *periodicBench) {
		t := b.T
		s := parse(t, "@every 15m")
		slot := b.opened(s)
		b.slots.slots["fetch:acme"] = Slot{Done: slot - 10*900} // nine were missed
		_, stop := b.start(t, map[string]schedule.Schedule{"acme": s})
		defer stop()
		assert.Equal(t, []string{sweepOf("acme", slot, 0)}, b.pending(t))
		elapse(5 * time.Minute)
		assert.Len(t, b.pending(t), 1, "and not again at every look")
	})
}

func TestASlotThatIsDoneIsNotOpenedAgainByARestart(t *testing.T) {
	t.Parallel()
	inPeriodicBench(t, func(b *periodicBench) {
		t := b.T
		s := parse(t, "*/15 * * * *")
		b.slots.slots["fetch:acme"] = Slot{Done: b.opened(s)}
		_, stop := b.start(t, map[string]schedule.Schedule{"acme": s})
		defer stop()
		elapse(time.Minute)
		assert.Empty(t, b.pending(t))
	})
}

func TestSlotsOpenOnTime(t *testing.T) {
	t.Parallel()
	inPeriodicBench(t, func(b *periodicBench) {
		t := b.T
		every, cron := parse(t, "@every 15m"), parse(t, "30 * * * *")
		_, stop := b.start(t, map[string]schedule.Schedule{"every": every, "cron": cron})
		defer stop()
		started := len(b.pending(t))
		require.Equal(t, 2, started)
		next := every.Next(b.clock.Now().Time())
		elapse(next.Sub(b.clock.Now().Time()) - time.Millisecond)
		require.Len(t, b.pending(t), started)
		elapse(2 * time.Millisecond)
		require.Contains(t, b.pending(t), sweepOf("every", next.Unix(), 0))
		elapse(2 * time.Hour)
		assert.Len(t, b.pending(t), started+9+3)
	})
}

func TestAPassedSlotIsFoundEvenWhenTheTimerSleptThroughIt(t *testing.T) {
	t.Parallel()
	inPeriodicBench(t, func(b *periodicBench) {
		t := b.T
		s := parse(t, "@every 15m")
		_, stop := b.start(t, map[string]schedule.Schedule{"acme": s})
		defer stop()
		require.Len(t, b.pending(t), 1)
		b.clock.jump(3 * time.Hour) // as a suspension looks to timers
		elapse(longestSleep)
		assert.Equal(t, []string{sweepOf("acme", b.opened(s), 0)}, b.pending(t)[1:], "of twelve slots the newest")
	})
}

func TestASlotWhoseWorkerDiedIsResumedUnderAnotherID(t *testing.T) {
	t.Parallel()
	inPeriodicBench(t, func(b *periodicBench) {
		t := b.T
		s := parse(t, "@every 15m")
		slot := b.opened(s)
		running := Slot{Done: slot - 900, Running: slot, Resumes: 1, Until: b.clock.Now().Add(time.Minute)}
		b.slots.slots["fetch:acme"] = running
		_, stop := b.start(t, map[string]schedule.Schedule{"acme": s})
		defer stop()
		elapse(50 * time.Second)
		require.Empty(t, b.pending(t), "it still lives")
		elapse(longestSleep + 10*time.Second)
		assert.Equal(t, []string{sweepOf("acme", slot, 2)}, b.pending(t))
		elapse(2 * time.Minute)
		assert.Len(t, b.pending(t), 1, "one that waits is enough")
	})
}

// A fixed task ID stays taken while its task is archived, up to 90 days.
func TestAsynqPitfallASlotsIDThatIsBlockedByTheArchiveIsWorkedAround(t *testing.T) {
	t.Parallel()
	inPeriodicBench(t, func(b *periodicBench) {
		t := b.T
		s := parse(t, "@every 15m")
		slot := b.opened(s)
		_, stop := b.start(t, map[string]schedule.Schedule{"acme": s})
		defer stop()
		require.Equal(t, []string{sweepOf("acme", slot, 0)}, b.pending(t))
		// Its worker died before it had stored anything: asynq archives it.
		require.NoError(t, b.inspector.ArchiveTask(tasks.QueueFetch, sweepOf("acme", slot, 0)))
		elapse(longestSleep + time.Second)
		require.Equal(t, []string{sweepOf("acme", slot, 1)}, b.pending(t))
		require.NoError(t, b.inspector.ArchiveTask(tasks.QueueFetch, sweepOf("acme", slot, 1)))
		elapse(longestSleep + time.Second)
		assert.Equal(t, []string{sweepOf("acme", slot, 2)}, b.pending(t))
	})
}

func TestASlotOfAFutureThatIsOverIsStoodInForOnce(t *testing.T) {
	t.Parallel()
	inPeriodicBench(t, func(b *periodicBench) {
		t := b.T
		s := parse(t, "@every 15m")
		b.slots.slots["fetch:acme"] = Slot{Done: b.opened(s) + 365*24*3600}
		_, stop := b.start(t, map[string]schedule.Schedule{"acme": s})
		defer stop()
		elapse(10 * time.Minute)
		require.Len(t, b.pending(t), 1)
		info, err := b.inspector.GetTaskInfo(tasks.QueueFetch, b.pending(t)[0])
		require.NoError(t, err)
		sweep, err := tasks.DecodeSweep(info.Payload)
		require.NoError(t, err)
		assert.Equal(t, tasks.Sweep{Provider: "acme"}, sweep, "a sweep that is not of a slot")
		elapse(15 * time.Minute)
		assert.Len(t, b.pending(t), 2, "the next slot has its own")
	})
}

func TestSchedulesAreReplacedWhileRunning(t *testing.T) {
	t.Parallel()
	inPeriodicBench(t, func(b *periodicBench) {
		t := b.T
		quarter, day := parse(t, "@every 15m"), parse(t, "@every 1d")
		p, stop := b.start(t, map[string]schedule.Schedule{"gone": quarter, "kept": day, "none": {}})
		defer stop()
		require.Len(t, b.pending(t), 2)
		p.set(map[string]schedule.Schedule{"kept": day, "new": day, "none": {}})
		synctest.Wait()
		require.Equal(t, []string{sweepOf("new", b.opened(day), 0)}, b.pending(t)[2:], "a new provider at once")
		assert.Equal(t, []string{"kept", "new", "none"}, p.providers())
		elapse(time.Hour)
		assert.Len(t, b.pending(t), 3, "and one that is gone no more")
	})
}

func TestTroubleOfATickEndsNothing(t *testing.T) {
	t.Parallel()
	inPeriodicBench(t, func(b *periodicBench) {
		t := b.T
		s := parse(t, "@every 15m")
		b.slots.slots["fetch:acme"] = Slot{Done: b.opened(s)}
		_, stop := b.start(t, map[string]schedule.Schedule{"acme": s})
		defer stop()
		b.slots.set(func(f *fakeSlots) { f.panic = true })
		elapse(longestSleep + time.Second)
		b.slots.set(func(f *fakeSlots) { f.panic, f.err = false, errAway })
		elapse(longestSleep + time.Second)
		b.slots.set(func(f *fakeSlots) { f.err, f.slots = nil, map[string]Slot{} })
		elapse(longestSleep + time.Second)
		assert.Equal(t, []string{sweepOf("acme", b.opened(s), 0)}, b.pending(t))
		var all string
		for _, line := range b.log.all() {
			all += line
		}
		assert.Contains(t, all, "no such state")
		assert.Contains(t, all, errAway.Error())
	})
}

func TestSweepsAfterAStepAreOneForAllReplicas(t *testing.T) {
	t.Parallel()
	inPeriodicBench(t, func(b *periodicBench) {
		t := b.T
		s := parse(t, "@every 15m")
		b.slots.slots["fetch:acme"] = Slot{Done: b.opened(s)}
		p, stop := b.start(t, map[string]schedule.Schedule{"acme": s})
		defer stop()
		other, stopOther := b.start(t, map[string]schedule.Schedule{"acme": s})
		defer stopOther()
		require.NoError(t, p.afterStep(t.Context(), "acme"))
		require.NoError(t, other.afterStep(t.Context(), "acme"))
		require.Len(t, b.pending(t), 1)
		elapse(time.Minute)
		require.NoError(t, p.afterStep(t.Context(), "acme"))
		assert.Len(t, b.pending(t), 2)
	})
}
