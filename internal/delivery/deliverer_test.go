package delivery

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/event/eventtest"
)

// From the log to the endpoint: signed, each event once, in order for each
// credential, over all lanes and shards.
func TestDeliveries(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 3)
	require.NoError(t, h.log.Start(t.Context()))
	h.Start()
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for {
				select {
				case task := <-h.queue.tasks:
					if err := h.Advance(ctx, task.subscription, task.lane); err != nil && ctx.Err() == nil {
						t.Errorf("lane %d: %v", task.lane, err)
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	all := inLane(40, false)
	const each = 3
	for range each {
		h.Emit(all...)
	}
	next := map[string]uint64{}
	for range each * len(all) {
		e := eventtest.Soon(t, h.endpoint.came, "a delivery")
		require.Equal(t, next[e.Data.Credential]+1, e.Data.Version, e.Data.Credential)
		require.Equal(t, next[e.Data.Credential], e.Data.PreviousVersion)
		next[e.Data.Credential] = e.Data.Version
		require.Equal(t, "urn:refreshd:test", e.Source)
	}
	cancel()
	workers.Wait()
	assert.Empty(t, h.endpoint.came)
}

func TestOnlyWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.sub.Filter = event.Filter{Types: []string{"credential.reauthorized"}}
	h.sub.Carrier = h.webhook(h.sub.Filter)
	require.NoError(t, h.SetSubscriptions(t.Context(), []Subscription{h.sub}))
	h.Emit("alice", "alice", "alice")
	require.NoError(t, h.Advance(t.Context(), "ui", h.tell("alice")))
	got := h.endpoint.received()
	require.Len(t, got, 2)
	assert.Zero(t, got[0].Data.PreviousVersion, "the first of those asked for")
	assert.EqualValues(t, 2, got[1].Data.PreviousVersion)

	require.NoError(t, h.Advance(t.Context(), "nobody", 0), "a subscription that is gone")
}

func TestBadSubscriptions(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	_, err := NewWebhook(WebhookOptions{Secrets: []SigningSecret{{Secret: credential.NewSecret("whsec_!!s3cr3t")}}})
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "s3cr3t")
	bad := h.sub
	bad.Filter.Types = []string{"credential.refresh"}
	require.Error(t, h.SetSubscriptions(t.Context(), []Subscription{bad}))
}

// A failed delivery is repeated along the schedule; at its end the endpoint is
// disabled and nothing is skipped.
func TestSchedule(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d shards", shards), func(t *testing.T) {
			t.Parallel()
			h := setupHooks(t, shards)
			h.endpoint.refusing(http.StatusInternalServerError)
			h.Emit("alice")
			lane := h.tell("alice")
			schedule := RetrySchedule()
			for attempt, wait := range schedule {
				if wait > 0 {
					h.PassTime(wait - time.Millisecond)
					require.NoError(t, h.Advance(t.Context(), "ui", lane))
					require.Len(t, h.endpoint.received(), attempt, "too early")
					h.PassTime(time.Millisecond)
				}
				h.Emit(inLane(5, false)...) // what goes on in other lanes changes nothing
				require.NoError(t, h.Advance(t.Context(), "ui", lane))
				require.Len(t, h.endpoint.received(), attempt+1)
				require.Equal(t, attempt == len(schedule)-1, h.disabled().Disabled, "attempt %d", attempt+1)
			}
			assert.Equal(t, "the receiver answered 500", h.disabled().Why)
			assert.Equal(t, string(credential.ReasonUndeliverable), h.disabled().Reason)
			assert.Equal(t, h.endpoint.received()[0].ID, h.disabled().Event)
			h.PassTime(1000 * time.Hour)
			require.NoError(t, h.Advance(t.Context(), "ui", lane))
			assert.Len(t, h.endpoint.received(), len(schedule), "no more")

			h.endpoint.answering(nil)
			require.NoError(t, h.Store.Enable(t.Context(), "ui"))
			require.NoError(t, h.Advance(t.Context(), "ui", lane))
			got := h.endpoint.received()
			assert.Equal(t, got[0].ID, got[len(got)-1].ID, "it goes on with what was refused, under the same ID")
			assert.NotContains(t, h.logged.String(), "s3cr3t")
		})
	}
}

// A success begins the schedule anew.
func TestScheduleStartsAnewAfterASuccess(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	pair := inLane(2, true)
	h.Emit(pair...)
	lane := h.tell(pair[0])
	h.endpoint.refusing(http.StatusBadGateway)
	for _, wait := range []time.Duration{0, 5 * time.Second} {
		h.PassTime(wait)
		require.NoError(t, h.Advance(t.Context(), "ui", lane))
	}
	h.PassTime(5 * time.Minute)
	h.endpoint.answering(func(w http.ResponseWriter, e event.CloudEvent) {
		if e.Subject == string(pair[1]) {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	require.NoError(t, h.Advance(t.Context(), "ui", lane))
	require.Len(t, h.endpoint.received(), 4, "the first went through, the second was refused once")
	h.endpoint.answering(nil)
	h.PassTime(5 * time.Second)
	require.NoError(t, h.Advance(t.Context(), "ui", lane))
	assert.Len(t, h.endpoint.received(), 5)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status   int
		after    func(now time.Time) string // Retry-After
		wait     time.Duration
		disabled bool
	}{
		"204":              {status: 204},
		"redirect":         {status: 302, wait: 5 * time.Second},
		"gone":             {status: 410, disabled: true},
		"later":            {status: 429, after: func(time.Time) string { return "60" }, wait: time.Minute},
		"sooner":           {status: 503, after: func(time.Time) string { return "1" }, wait: 5 * time.Second},
		"at a date":        {status: 503, after: func(now time.Time) string { return now.Add(time.Hour).Format(http.TimeFormat) }, wait: time.Hour},
		"in the past":      {status: 503, after: func(now time.Time) string { return now.Add(-time.Hour).Format(http.TimeFormat) }, wait: 5 * time.Second},
		"negative":         {status: 503, after: func(time.Time) string { return "-1" }, wait: 5 * time.Second},
		"absurd":           {status: 503, after: func(time.Time) string { return strconv.Itoa(1_000_000_000) }, wait: maxRetryAfter},
		"not a number":     {status: 503, after: func(time.Time) string { return "soon" }, wait: 5 * time.Second},
		"client's mistake": {status: 400, wait: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setupHooks(t, 1)
			h.Emit("alice")
			lane := h.tell("alice")
			h.endpoint.answering(func(w http.ResponseWriter, _ event.CloudEvent) {
				if c.after != nil {
					w.Header().Set("Retry-After", c.after(h.Clock().Time()))
				}
				w.WriteHeader(c.status)
			})
			require.NoError(t, h.Advance(t.Context(), "ui", lane))
			require.Len(t, h.endpoint.received(), 1)
			assert.Equal(t, c.disabled, h.disabled().Disabled)
			h.endpoint.answering(nil)
			if c.wait > 0 {
				h.PassTime(c.wait - time.Millisecond)
				require.NoError(t, h.Advance(t.Context(), "ui", lane))
				require.Len(t, h.endpoint.received(), 1, "too early")
				h.PassTime(time.Millisecond)
			}
			require.NoError(t, h.Advance(t.Context(), "ui", lane))
			want := 2
			if c.disabled || c.wait == 0 {
				want = 1
			}
			assert.Len(t, h.endpoint.received(), want)
		})
	}
}

// A receiver's answer is not read beyond what keeps the connection usable.
func TestAnswerWithoutEnd(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.endpoint.answering(func(w http.ResponseWriter, _ event.CloudEvent) {
		line := make([]byte, 4<<10)
		for {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	})
	h.Emit("alice")
	require.NoError(t, h.Advance(t.Context(), "ui", h.tell("alice")))
	assert.Len(t, h.endpoint.received(), 1)
	assert.Empty(t, h.pending(), "delivered")
}

// Errors name neither the address's query nor what was answered.
func TestErrorsAreBare(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.endpoint.Close()
	h.Emit("alice")
	require.NoError(t, h.Advance(t.Context(), "ui", h.tell("alice")))
	assert.Contains(t, h.logged.String(), "refused")
	assert.NotContains(t, h.logged.String(), "s3cr3t")
	assert.NotContains(t, h.logged.String(), "hook?")

	h.endpoint.URL = "http://192.168.7.7"
	h.sub.Carrier = h.webhook(event.Filter{})
	require.NoError(t, h.SetSubscriptions(t.Context(), []Subscription{h.sub}))
	h.PassTime(5 * time.Second)
	require.NoError(t, h.Advance(t.Context(), "ui", laneOf("alice")))
	assert.Contains(t, h.logged.String(), "network.allow")
	assert.NotContains(t, h.logged.String(), "s3cr3t")
}

// One holder at a time; whoever lost the lane stops.
func TestLeaseLost(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.Emit("alice", "alice")
	lane := h.tell("alice")
	h.endpoint.answering(func(w http.ResponseWriter, e event.CloudEvent) {
		if e.Data.Version != 1 || len(h.endpoint.received()) > 1 {
			return
		}
		require.NoError(t, h.Advance(t.Context(), "ui", lane), "somebody else finds it held")
		h.PassTime(laneLease + time.Second)
		require.NoError(t, h.deliverer2().Advance(t.Context(), "ui", lane), "its lease has passed")
	})
	require.Error(t, h.Advance(t.Context(), "ui", lane))
	var versions []uint64
	for _, e := range h.endpoint.received() {
		versions = append(versions, e.Data.Version)
	}
	assert.Equal(t, []uint64{1, 1, 2}, versions, "delivered twice, and not out of order")
}

// deliverer2 is another process's.
func (h *hooks) deliverer2() *Deliverer {
	w := h.deliverer(h.newLog(), nil)
	w.subs.Store(h.subs.Load())
	return w
}

// News that come while a lane is drained are delivered by its holder.
func TestNotifiedWhileDraining(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.Emit("alice")
	lane := h.tell("alice")
	hooked := &doneHook{Lanes: testLanes{h.Store.Store}}
	hooked.before = func() {
		h.Emit("alice")
		assert.Empty(t, h.news(lane), "somebody works on it")
	}
	w := h.deliverer(h.log, hooked)
	w.subs.Store(h.subs.Load())
	require.NoError(t, w.Advance(t.Context(), "ui", lane))
	assert.Len(t, h.endpoint.received(), 2)
	assert.Empty(t, h.pending())
}

// doneHook calls before once, when a holder believes to be done.
type doneHook struct {
	Lanes

	before func()
}

func (d *doneHook) Done(ctx context.Context, subscription string, lane int, holder credential.Nonce, want uint64, last []string) (bool, error) {
	if hook := d.before; hook != nil {
		d.before = nil
		hook()
	}
	return d.Lanes.Done(ctx, subscription, lane, holder, want, last)
}

// What a killed holder left is found once its lease has passed.
func TestKilledHolderIsFound(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.Emit("alice")
	lane := h.tell("alice")
	_, taken, err := h.opts.Lanes.Take(t.Context(), "ui", lane, newHolder(), laneLease)
	require.NoError(t, err)
	require.True(t, taken)
	h.PassTime(laneLease + time.Millisecond)
	h.Start()
	assert.Equal(t, laneKey{"ui", lane}, eventtest.Soon(t, h.queue.tasks, "a task"))
	require.NoError(t, h.Advance(t.Context(), "ui", lane))
	assert.Len(t, h.endpoint.received(), 1)
}

// The task may reach a process that has not read the event yet.
func TestAProcessThatLagsBehind(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	lag := make(chan struct{})
	h.Store.Set(func(s *eventtest.FaultyStore) { s.Lag = lag })
	require.NoError(t, h.log.Start(t.Context()))
	h.Emit("alice")
	require.NoError(t, h.Advance(t.Context(), "ui", h.tell("alice")))
	assert.Len(t, h.endpoint.received(), 1)
	close(lag)
}

// A delivery that is cut off by a stop is no fault of the receiver's, and
// whoever comes next need not wait.
func TestStopDuringADelivery(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.Emit("alice")
	lane := h.tell("alice")
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	defer let() // the endpoint cannot close before
	h.endpoint.answering(func(http.ResponseWriter, event.CloudEvent) {
		cancel()
		<-release
	})
	require.ErrorIs(t, h.Advance(ctx, "ui", lane), context.Canceled)
	let()
	h.endpoint.answering(nil)
	state, taken, err := h.opts.Lanes.Take(t.Context(), "ui", lane, newHolder(), laneLease)
	require.NoError(t, err)
	assert.True(t, taken, "given back at once")
	assert.Zero(t, state.Attempt)
}

// A task that could not be enqueued is, later.
func TestNotifyingFails(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.queue.mu.Lock()
	h.queue.fail = 1
	h.queue.mu.Unlock()
	require.NoError(t, h.log.Start(t.Context()))
	h.Start()
	h.Emit("alice")
	assert.Equal(t, laneKey{"ui", laneOf("alice")}, eventtest.Soon(t, h.queue.tasks, "a task"))
}

// Events that were committed while nobody listened are found at the start.
func TestEventsBeforeTheStart(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.Emit("alice")
	require.NoError(t, h.log.Start(t.Context()))
	d := h.deliverer(h.log, nil)
	require.NoError(t, d.SetSubscriptions(t.Context(), []Subscription{h.sub}))
	d.Start()
	assert.Equal(t, laneKey{"ui", laneOf("alice")}, eventtest.Soon(t, h.queue.tasks, "a task"))
	require.NoError(t, d.Advance(t.Context(), "ui", laneOf("alice")))
	assert.Len(t, h.endpoint.received(), 1)
}

// An entry that this version cannot read is passed.
func TestUnreadableEntry(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	lane := laneOf("")
	stream := "rd:{refresh-00}:events"
	_, err := h.Mini.XAdd(stream, "*", []string{"e", "9 from the future"})
	require.NoError(t, err)
	h.news(lane)
	require.NoError(t, h.Advance(t.Context(), "ui", lane))
	assert.Empty(t, h.endpoint.received())
}
