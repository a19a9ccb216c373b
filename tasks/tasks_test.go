package tasks_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/tasks"
)

type queue struct {
	client    *asynq.Client
	inspector *asynq.Inspector
	redis     *redis.Client
}

func setup(t *testing.T) queue {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return queue{asynq.NewClientFromRedisClient(client), asynq.NewInspectorFromRedisClient(client), client}
}

// taken enqueues a task and returns what asynq made of it.
func (q queue) taken(t *testing.T, task *asynq.Task, err error) *asynq.TaskInfo {
	t.Helper()
	require.NoError(t, err)
	info, err := q.client.EnqueueContext(t.Context(), task)
	require.NoError(t, err)
	return info
}

func ids(names ...string) []credential.ID {
	list := make([]credential.ID, len(names))
	for i, name := range names {
		list[i] = credential.ID(name)
	}
	return list
}

func TestEveryTaskGoesToItsQueueAndIsNeverRunAgainByAsynq(t *testing.T) {
	t.Parallel()
	q := setup(t)
	now := time.Unix(1_700_000_001, 0)
	for _, row := range []struct {
		create          func() (*asynq.Task, error)
		kind, queue, id string
		timeout, kept   time.Duration
	}{
		{
			func() (*asynq.Task, error) {
				return tasks.NewBatch(7, tasks.Batch{Provider: "acme", IDs: ids("a", "b")})
			},
			"refresh:batch", "refresh-07", "", 6 * time.Minute, 0,
		},
		{
			func() (*asynq.Task, error) {
				return tasks.NewSingle(tasks.Single{ID: "a", RejectedGeneration: 7})
			},
			"refresh:single", "single", "", 6 * time.Minute, 0,
		},
		{
			func() (*asynq.Task, error) {
				return tasks.NewSlot(tasks.Sweep{Provider: "acme", Slot: 900}, time.Minute)
			},
			"fetch:sweep", "fetch", "fetch:acme:900", time.Minute + tasks.Grace, tasks.SlotRetention,
		},
		{
			func() (*asynq.Task, error) {
				return tasks.NewSlot(tasks.Sweep{Provider: "acme", Slot: 900, Resume: 2}, time.Minute)
			},
			"fetch:sweep", "fetch", "fetch:acme:900:2", time.Minute + tasks.Grace, tasks.SlotRetention,
		},
		{
			func() (*asynq.Task, error) { return tasks.NewExtra("acme", "client", now, time.Minute) },
			"fetch:sweep", "fetch", "fetch:acme:client:170000000", time.Minute + tasks.Grace, 20 * time.Second,
		},
		{
			func() (*asynq.Task, error) { return tasks.NewOwnExtra("acme", time.Minute) },
			"fetch:sweep", "fetch", "", time.Minute + tasks.Grace, 0,
		},
		{
			func() (*asynq.Task, error) {
				return tasks.NewDelivery(tasks.Delivery{Subscription: "ui", Lane: 3}, now)
			},
			"delivery:advance", "delivery", "delivery:ui:3:340000000", tasks.DeliveryTimeout + tasks.Grace, 0,
		},
	} {
		task, err := row.create()
		info := q.taken(t, task, err)
		assert.Equal(t, row.kind, info.Type)
		assert.Equal(t, row.queue, info.Queue)
		if row.id != "" {
			assert.Equal(t, row.id, info.ID)
		}
		assert.Equal(t, row.timeout, info.Timeout, row.kind)
		assert.Equal(t, row.kept, info.Retention, row.kind)
		assert.Zero(t, info.MaxRetry, row.kind)
	}
}

// A Unique lock stays behind for its whole time when a task's ID conflicts as
// well, so no task takes one.
func TestAsynqPitfallUniqueLocksAreNotUsed(t *testing.T) {
	t.Parallel()
	q := setup(t)
	now := time.Unix(1_700_000_001, 0)
	for range 2 { // the second time IDs conflict
		for _, create := range []func() (*asynq.Task, error){
			func() (*asynq.Task, error) {
				return tasks.NewBatch(0, tasks.Batch{Provider: "acme", IDs: ids("a")})
			},
			func() (*asynq.Task, error) { return tasks.NewSingle(tasks.Single{ID: "a"}) },
			func() (*asynq.Task, error) {
				return tasks.NewSlot(tasks.Sweep{Provider: "acme", Slot: 900}, time.Minute)
			},
			func() (*asynq.Task, error) { return tasks.NewExtra("acme", "clock", now, time.Minute) },
			func() (*asynq.Task, error) {
				return tasks.NewDelivery(tasks.Delivery{Subscription: "ui"}, now)
			},
		} {
			task, err := create()
			require.NoError(t, err)
			_, err = tasks.Enqueue(t.Context(), q.client, task)
			require.NoError(t, err)
		}
	}
	keys, err := q.redis.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.NotEmpty(t, keys)
	for _, key := range keys {
		assert.NotContains(t, key, ":unique:")
	}
}

func TestPayloadsHoldIDsOnly(t *testing.T) {
	t.Parallel()
	for want, create := range map[string]func() (*asynq.Task, error){
		`{"provider":"acme","ids":["a","b"]}`: func() (*asynq.Task, error) {
			return tasks.NewBatch(0, tasks.Batch{Provider: "acme", IDs: ids("a", "b")})
		},
		`{"provider":"acme","ids":["a"],"clock_only":true}`: func() (*asynq.Task, error) {
			return tasks.NewBatch(0, tasks.Batch{Provider: "acme", IDs: ids("a"), ClockOnly: true})
		},
		`{"provider":"acme","ids":["a"],"reservation":"r"}`: func() (*asynq.Task, error) {
			return tasks.NewBatch(0, tasks.Batch{Provider: "acme", IDs: ids("a"), Reservation: "r"})
		},
		`{"id":"a","rejected_generation":7}`: func() (*asynq.Task, error) {
			return tasks.NewSingle(tasks.Single{ID: "a", RejectedGeneration: 7})
		},
		`{"id":"a"}`: func() (*asynq.Task, error) { return tasks.NewSingle(tasks.Single{ID: "a"}) },
		`{"provider":"acme","slot":900,"next":1800,"resume":1}`: func() (*asynq.Task, error) {
			return tasks.NewSlot(tasks.Sweep{Provider: "acme", Slot: 900, Next: 1800, Resume: 1}, time.Minute)
		},
		`{"provider":"acme"}`: func() (*asynq.Task, error) {
			return tasks.NewExtra("acme", "client", time.Now(), time.Minute)
		},
		`{"subscription":"ui","lane":3}`: func() (*asynq.Task, error) {
			return tasks.NewDelivery(tasks.Delivery{Subscription: "ui", Lane: 3}, time.Now())
		},
	} {
		task, err := create()
		require.NoError(t, err)
		assert.JSONEq(t, want, string(task.Payload()))
		assert.Empty(t, task.Headers())
	}
}

func TestDecodeReadsWhatWasMade(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z][a-z0-9-]{0,20}`)
		id := rapid.Custom(func(t *rapid.T) credential.ID {
			return credential.ID(rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}`).Draw(t, "id"))
		})
		batch := tasks.Batch{
			Provider: name.Draw(t, "provider"), IDs: rapid.SliceOfN(id, 1, tasks.MaxBatch).Draw(t, "ids"), ClockOnly: rapid.Bool().Draw(t, "clock only"),
			Reservation: rapid.StringMatching(`[A-Z2-7]{0,26}`).Draw(t, "reservation"),
		}
		again(t, batch, tasks.DecodeBatch, func() (*asynq.Task, error) { return tasks.NewBatch(0, batch) })
		single := tasks.Single{ID: id.Draw(t, "one"), RejectedGeneration: rapid.Uint64().Draw(t, "generation")}
		again(t, single, tasks.DecodeSingle, func() (*asynq.Task, error) { return tasks.NewSingle(single) })
		sweep := tasks.Sweep{
			Provider: name.Draw(t, "provider"), Slot: rapid.Int64Range(1, 1<<40).Draw(t, "slot"), Resume: rapid.IntRange(0, 99).Draw(t, "resume"),
		}
		again(t, sweep, tasks.DecodeSweep, func() (*asynq.Task, error) { return tasks.NewSlot(sweep, time.Minute) })
		delivery := tasks.Delivery{Subscription: name.Draw(t, "subscription"), Lane: rapid.IntRange(0, 63).Draw(t, "lane")}
		again(t, delivery, tasks.DecodeDelivery, func() (*asynq.Task, error) { return tasks.NewDelivery(delivery, time.Now()) })
	})
}

func again[P any](t *rapid.T, want P, decode func([]byte) (P, error), create func() (*asynq.Task, error)) {
	task, err := create()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(task.Payload())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestMalformedPayloadsAreRefusedForGood(t *testing.T) {
	t.Parallel()
	batch := func(b []byte) error { _, err := tasks.DecodeBatch(b); return err }
	single := func(b []byte) error { _, err := tasks.DecodeSingle(b); return err }
	sweep := func(b []byte) error { _, err := tasks.DecodeSweep(b); return err }
	delivery := func(b []byte) error { _, err := tasks.DecodeDelivery(b); return err }
	many, err := json.Marshal(map[string]any{"provider": "acme", "ids": strings.Split(strings.Repeat("a,", tasks.MaxBatch)+"a", ",")})
	require.NoError(t, err)
	for _, row := range []struct {
		decode  func([]byte) error
		payload string
		want    string
	}{
		{batch, ``, "not the JSON object"},
		{batch, `null`, "no provider"},
		{batch, `{"provider":"acme","ids":["a"]} trailing`, "not the JSON object"},
		{batch, `{"provider":"acme","ids":[{}]}`, "not the JSON object"},
		{batch, `{"provider":"","ids":["a"]}`, "no provider"},
		{batch, `{"provider":"acme","ids":[]}`, "1 to 100"},
		{batch, string(many), "1 to 100"},
		{batch, `{"provider":"acme","ids":["a","x}{y"]}`, "invalid credential ID"},
		{batch, strings.Repeat("[", 100_000), "not the JSON object"},
		{single, `{}`, "invalid credential ID"},
		{single, `{"id":"a","rejected_generation":-1}`, "not the JSON object"},
		{single, `{"id":"a","rejected_generation":1e400}`, "not the JSON object"},
		{sweep, `{}`, "no provider"},
		{sweep, `{"provider":"acme","slot":-1}`, "negative"},
		{sweep, `{"provider":"acme","slot":1,"resume":-1}`, "negative"},
		{sweep, `{"provider":"acme","slot":1,"next":-1}`, "negative"},
		{sweep, `{"provider":"acme","resume":1}`, "never resumed"},
		{delivery, `{"lane":1}`, "no subscription"},
		{delivery, `{"subscription":"ui","lane":-1}`, "negative"},
	} {
		err := row.decode([]byte(row.payload))
		var refused *tasks.PayloadError
		require.ErrorAs(t, err, &refused, row.payload)
		require.ErrorIs(t, err, asynq.SkipRetry)
		assert.ErrorContains(t, err, row.want)
	}
}

func TestAPayloadErrorQuotesNothingOfThePayload(t *testing.T) {
	t.Parallel()
	const token = "tok-4f9a2c"
	for _, payload := range []string{
		`"` + token + `"`, token, `{"provider":"acme","ids":["` + token + `\n"]}`, `{"provider":1` + token + `}`, `{"id":"` + token + `{"}`,
	} {
		_, batch := tasks.DecodeBatch([]byte(payload))
		_, single := tasks.DecodeSingle([]byte(payload))
		_, sweep := tasks.DecodeSweep([]byte(payload))
		_, delivery := tasks.DecodeDelivery([]byte(payload))
		err := errors.Join(batch, single, sweep, delivery)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), token)
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	t.Parallel()
	got, err := tasks.DecodeSingle([]byte(`{"id":"a","of_the_next_version":true}`))
	require.NoError(t, err)
	assert.Equal(t, tasks.Single{ID: "a"}, got)
}

func TestConstructorsRefuseWhatDecodingWould(t *testing.T) {
	t.Parallel()
	for _, create := range []func() (*asynq.Task, error){
		func() (*asynq.Task, error) { return tasks.NewBatch(0, tasks.Batch{Provider: "acme"}) },
		func() (*asynq.Task, error) { return tasks.NewSingle(tasks.Single{}) },
		func() (*asynq.Task, error) { return tasks.NewSlot(tasks.Sweep{Slot: 1}, time.Minute) },
		func() (*asynq.Task, error) { return tasks.NewSlot(tasks.Sweep{Provider: "acme"}, time.Minute) },
		func() (*asynq.Task, error) { return tasks.NewExtra("", "client", time.Now(), time.Minute) },
		func() (*asynq.Task, error) { return tasks.NewOwnExtra("", time.Minute) },
		func() (*asynq.Task, error) { return tasks.NewDelivery(tasks.Delivery{}, time.Now()) },
	} {
		_, err := create()
		var refused *tasks.PayloadError
		require.ErrorAs(t, err, &refused)
	}
}

func TestEnqueueTakesATaskThatIsThereForTaken(t *testing.T) {
	t.Parallel()
	q := setup(t)
	task, err := tasks.NewSlot(tasks.Sweep{Provider: "acme", Slot: 900}, time.Minute)
	require.NoError(t, err)
	added, err := tasks.Enqueue(t.Context(), q.client, task)
	require.NoError(t, err)
	assert.True(t, added)
	added, err = tasks.Enqueue(t.Context(), q.client, task)
	require.NoError(t, err)
	assert.False(t, added)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	added, err = tasks.Enqueue(ended, q.client, task)
	require.Error(t, err)
	assert.False(t, added)
}

// Of those who ask for the same reason one is heard, of those who ask for a sweep of
// their own each.
func TestExtraSweepsForOneReasonAreOne(t *testing.T) {
	t.Parallel()
	q := setup(t)
	now := time.Unix(1_700_000_001, 0)
	ask := func(task *asynq.Task, err error) bool {
		t.Helper()
		require.NoError(t, err)
		added, err := tasks.Enqueue(t.Context(), q.client, task)
		require.NoError(t, err)
		return added
	}
	assert.True(t, ask(tasks.NewExtra("acme", tasks.WhyClientRecovered, now, time.Minute)))
	assert.False(t, ask(tasks.NewExtra("acme", tasks.WhyClientRecovered, now.Add(time.Second), time.Minute)))
	assert.True(t, ask(tasks.NewExtra("acme", tasks.WhyClockStep, now, time.Minute)), "another reason")
	assert.True(t, ask(tasks.NewExtra("acme", tasks.WhyClientRecovered, now.Add(time.Minute), time.Minute)), "later")
	for range 2 {
		assert.True(t, ask(tasks.NewOwnExtra("acme", time.Minute)))
	}
}

func TestNewsOfALaneIsOneTaskWhileItWaits(t *testing.T) {
	t.Parallel()
	q := setup(t)
	at := time.Unix(1_700_000_010, 0)
	deliver := func(lane int, at time.Time) bool {
		task, err := tasks.NewDelivery(tasks.Delivery{Subscription: "ui", Lane: lane}, at)
		require.NoError(t, err)
		added, err := tasks.Enqueue(t.Context(), q.client, task)
		require.NoError(t, err)
		return added
	}
	assert.True(t, deliver(1, at))
	assert.False(t, deliver(1, at.Add(time.Second)))
	assert.True(t, deliver(2, at.Add(time.Second)), "another lane")
	assert.True(t, deliver(1, at.Add(5*time.Second)), "an ID that a dead task blocks is blocked for seconds only")
	require.NoError(t, q.inspector.DeleteTask(tasks.QueueDelivery, "delivery:ui:1:340000002"))
	assert.True(t, deliver(1, at), "the first one has ended")
}

func TestRefreshQueues(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"refresh-00", "refresh-01", "refresh-02"}, tasks.RefreshQueues(3))
	assert.Equal(t, "fetch:acme", tasks.SlotName("acme"))
}
