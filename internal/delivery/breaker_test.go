package delivery

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
)

// lanesOf tells the lanes of credentials of news.
func (h *hooks) lanesOf(ids ...credential.ID) []int {
	h.T.Helper()
	var lanes []int
	for _, id := range ids {
		if lane := laneOf(id); !slices.Contains(lanes, lane) {
			lanes = append(lanes, lane)
		}
	}
	slices.Sort(lanes)
	h.news(lanes...)
	return lanes
}

// round has every lane that may be delivered worked on, as audits and workers
// do, and returns how many deliveries came of it.
func (h *hooks) round() int {
	h.T.Helper()
	before := len(h.endpoint.received())
	for _, lane := range h.pending() {
		require.NoError(h.T, h.Advance(h.T.Context(), "ui", lane))
	}
	return len(h.endpoint.received()) - before
}

// notices are the events about subscriptions in the log.
func (h *hooks) notices() (list []credential.Event) {
	h.T.Helper()
	entries, err := h.Store.Events(h.T.Context(), 0, event.Start, 10_000, 0)
	require.NoError(h.T, err)
	for _, entry := range entries {
		if entry.Event.Version == 0 {
			list = append(list, entry.Event)
		}
	}
	return list
}

// An endpoint that is dead goes through the schedule once and is disabled with
// its cursors kept; all of it is delivered when it is enabled again.
func TestDeadEndpoint(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.sub.Filter = event.Filter{Types: []string{"credential.*"}}
	require.NoError(t, h.SetSubscriptions(t.Context(), []Subscription{h.sub}))
	h.endpoint.refusing(http.StatusBadGateway)
	all := inLane(100, false)
	h.Emit(all...)
	lanes := h.lanesOf(all...)
	require.Greater(t, len(lanes), 20)
	began := h.Clock()
	assert.Equal(t, lanes, h.pending())
	for _, lane := range lanes {
		require.NoError(t, h.Advance(t.Context(), "ui", lane))
	}
	first := len(h.endpoint.received())
	assert.Equal(t, 5, first, "the others need not find out for themselves")
	h.audit(t.Context(), "ui")
	assert.InDelta(t, 1, testutil.ToFloat64(h.metrics.breaker.WithLabelValues("ui")), 0)
	schedule := RetrySchedule()
	for probe, wait := range schedule[1:] {
		require.False(t, h.disabled().Disabled)
		h.PassTime(wait - time.Millisecond)
		require.Zero(t, h.round(), "too early")
		h.PassTime(time.Millisecond)
		require.Len(t, h.pending(), 1)
		require.Equal(t, 1, h.round(), "probe %d", probe+1)
	}
	state := h.disabled()
	assert.True(t, state.Disabled)
	assert.Equal(t, string(credential.ReasonUndeliverable), state.Reason)
	var total time.Duration
	for _, wait := range schedule {
		total += wait
	}
	assert.Equal(t, total, h.Clock().Sub(began))
	notices := h.notices()
	require.Len(t, notices, 1, "told at once")
	assert.Equal(t, "ui", notices[0].Notice.Subscription)
	assert.Equal(t, state.Event, notices[0].Notice.Event)

	// The log of deliveries has what happened.
	list, err := h.Store.Deliveries(t.Context(), "ui", 100)
	require.NoError(t, err)
	require.Len(t, list, first+len(schedule)-1)
	assert.Equal(t, http.StatusBadGateway, list[0].Status)
	assert.Equal(t, string(Refused), list[0].Result)
	assert.Equal(t, "the receiver answered 502", list[0].Error)
	assert.Equal(t, len(schedule), list[0].Attempt)
	assert.NotEmpty(t, list[0].Credential)

	h.endpoint.answering(nil)
	refused := len(h.endpoint.received())
	require.NoError(t, h.Store.Enable(t.Context(), "ui"))
	assert.Equal(t, len(all), h.round())
	seen := map[string]bool{}
	for _, e := range h.endpoint.received()[refused:] {
		seen[e.Subject] = true
	}
	assert.Len(t, seen, len(all), "none was skipped")
}

// Time in which nothing of ours ran does not count against an endpoint: it is
// asked as often afterwards as if there had been none.
func TestDowntimeOfOursDisablesNothing(t *testing.T) {
	t.Parallel()
	const away = 30 * 24 * time.Hour
	for name, failed := range map[string]int{"after the breaker opened": 5, "before it opened": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setupHooks(t, 1)
			h.endpoint.refusing(http.StatusBadGateway)
			all := inLane(10, false)
			h.Emit(all...)
			lanes := h.lanesOf(all...)
			for _, lane := range lanes[:failed] {
				require.NoError(t, h.Advance(t.Context(), "ui", lane))
			}
			h.PassTime(away) // and Redis kept it all
			schedule := RetrySchedule()
			if failed < 5 {
				require.NoError(t, h.Advance(t.Context(), "ui", lanes[failed]))
				h.PassTime(schedule[1])
			}
			for probe, wait := range schedule[2:] {
				require.Equal(t, 1, h.round(), "probe %d", probe+1)
				require.False(t, h.disabled().Disabled, "after probe %d", probe+1)
				h.PassTime(wait)
			}
			require.Equal(t, 1, h.round())
			assert.True(t, h.disabled().Disabled, "the whole schedule is over")
		})
	}
}

// The first delivery that succeeds lets all lanes go on at once, not when the
// next audit comes.
func TestEndpointThatComesBack(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.endpoint.refusing(http.StatusBadGateway)
	all := inLane(100, false)
	h.Emit(all...)
	lanes := h.lanesOf(all...)
	for _, lane := range lanes {
		require.NoError(t, h.Advance(t.Context(), "ui", lane))
	}
	h.PassTime(5 * time.Second)
	h.endpoint.answering(nil)
	probes := h.pending()
	require.Len(t, probes, 1)
	require.NoError(t, h.Advance(t.Context(), "ui", probes[0]))
	var tasks []int
	for len(h.queue.tasks) > 0 {
		tasks = append(tasks, (<-h.queue.tasks).lane)
	}
	assert.Len(t, tasks, len(lanes)-1)
	assert.NotContains(t, tasks, probes[0])
	assert.Contains(t, h.logged.String(), "takes deliveries again")
}

// What a receiver asks for is obeyed by all lanes, those under way too.
func TestRetryAfterHoldsTheEndpoint(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.endpoint.answering(func(w http.ResponseWriter, _ event.CloudEvent) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	all := inLane(10, false)
	h.Emit(all...)
	for _, lane := range h.lanesOf(all...) {
		require.NoError(t, h.Advance(t.Context(), "ui", lane))
	}
	assert.Len(t, h.endpoint.received(), 1)
	h.PassTime(time.Minute - time.Millisecond)
	assert.Zero(t, h.round())
	h.PassTime(time.Millisecond)
	h.endpoint.answering(nil)
	assert.Equal(t, len(all), h.round())
}

// An event that the receiver never takes holds nobody else up, is repeated by
// the schedule, and at its end the operator is told which it is.
func TestOneEventThatIsNeverTaken(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	all := inLane(30, false)
	poison := all[0]
	h.endpoint.answering(func(w http.ResponseWriter, e event.CloudEvent) {
		if e.Subject == string(poison) {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	others := slices.DeleteFunc(slices.Clone(all), func(id credential.ID) bool { return laneOf(id) == laneOf(poison) })
	h.Emit(poison)
	h.lanesOf(poison)
	for attempt, wait := range RetrySchedule() {
		require.False(t, h.disabled().Disabled)
		h.PassTime(wait)
		if attempt > 6 { // also after a long time in which nothing else was to be delivered
			h.Emit(others...)
			h.lanesOf(others...)
		}
		switch came := h.round(); {
		case attempt == len(RetrySchedule())-1:
			require.Positive(t, came)
		case attempt > 6:
			require.Equal(t, len(others)+1, came)
		default:
			require.Equal(t, 1, came)
		}
	}
	state := h.disabled()
	assert.True(t, state.Disabled)
	assert.Equal(t, string(poison), strings.Split(state.Event, "/")[0])
	notices := h.notices()
	require.NotEmpty(t, notices)
	assert.Equal(t, state.Event, notices[0].Notice.Event)
}

// A subscription whose events are about to be trimmed is announced once, also
// one that is disabled; another subscriber gets to know.
func TestLaggingIsAnnounced(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.endpoint.refusing(http.StatusGone)
	h.Emit("alice")
	require.NoError(t, h.Advance(t.Context(), "ui", h.tell("alice")))
	require.True(t, h.disabled().Disabled)
	h.PassTime(72 * time.Hour)
	h.audit(t.Context(), "ui")
	assert.Len(t, h.notices(), 1, "disabled")
	assert.InDelta(t, 72*3600, testutil.ToFloat64(h.metrics.lag.WithLabelValues("ui")), 1)
	assert.InDelta(t, 1, testutil.ToFloat64(h.metrics.disabled.WithLabelValues("ui")), 0)
	h.PassTime(time.Minute)
	for range 3 {
		h.audit(t.Context(), "ui")
	}
	notices := h.notices()
	require.Len(t, notices, 2)
	assert.Equal(t, credential.EventSubscriptionLagging, notices[1].Type)
	assert.Contains(t, h.logged.String(), "about to be trimmed")

	h.endpoint.answering(nil)
	require.NoError(t, h.Store.Enable(t.Context(), "ui"))
	assert.Equal(t, 1+2, h.round()+h.tellOperators())
	h.audit(t.Context(), "ui")
	assert.InDelta(t, 0, testutil.ToFloat64(h.metrics.lag.WithLabelValues("ui")), 0)
	found, err := h.opts.Subscriptions.Audit(t.Context(), "ui")
	require.NoError(t, err)
	assert.False(t, found.Lagging)
	got := h.endpoint.received()
	assert.Equal(t, "subscription.lagging", got[len(got)-1].Type)
	assert.Equal(t, "ui", got[len(got)-1].Data.Subscription)

	require.NoError(t, h.SetSubscriptions(t.Context(), nil))
	assert.Zero(t, testutil.CollectAndCount(h.metrics.lag), "one that is gone is not told of")
}

// tellOperators delivers the events about subscriptions.
func (h *hooks) tellOperators() int {
	h.T.Helper()
	before := len(h.endpoint.received())
	h.news(laneOf(""))
	require.NoError(h.T, h.Advance(h.T.Context(), "ui", laneOf("")))
	return len(h.endpoint.received()) - before
}

// A replay delivers everything again from its place, and what a holder of
// before delivers meanwhile moves nothing.
func TestReplay(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.Emit("alice", "alice", "alice")
	lane := h.tell("alice")
	replayed := make(chan error, 1)
	h.endpoint.answering(func(_ http.ResponseWriter, e event.CloudEvent) {
		if e.Data.Version == 3 && len(h.endpoint.received()) == 3 {
			reset, err := h.Store.Replay(context.WithoutCancel(t.Context()), "ui", []string{event.Start})
			if err == nil && reset {
				err = errors.New("nothing was trimmed, and yet it was reset")
			}
			replayed <- err
		}
	})
	require.Error(t, h.Advance(t.Context(), "ui", lane), "its lane was taken from it")
	require.NoError(t, <-replayed)
	assert.Equal(t, 3, h.round())
	var versions []uint64
	for _, e := range h.endpoint.received() {
		versions = append(versions, e.Data.Version)
	}
	assert.Equal(t, []uint64{1, 2, 3, 1, 2, 3}, versions)
	assert.Empty(t, h.pending())
}

// A lane that wakes up after a long time does not read the whole log, and knows
// how far its news reach.
func TestLanesReadNoMoreThanTheyMust(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	pair := inLane(2, false)
	for range 30 {
		h.Emit(pair[0])
	}
	require.NoError(t, h.notify(h.find("ui")))
	require.NoError(t, h.Advance(t.Context(), "ui", laneOf(pair[0])))
	h.Emit(pair[1])
	require.NoError(t, h.notify(h.find("ui")))
	state, taken, err := h.opts.Lanes.Take(t.Context(), "ui", laneOf(pair[1]), newHolder(), laneLease)
	require.NoError(t, err)
	require.True(t, taken)
	entries, _, err := h.log.ReadStored(t.Context(), event.Cursor{Epoch: h.log.Epoch(), Last: state.Last})
	require.NoError(t, err)
	assert.Len(t, entries, 1, "it begins where its news are")
	assert.True(t, event.Cursor{Last: []string{entries[0].Position}}.Covers(state.Notified))
}
