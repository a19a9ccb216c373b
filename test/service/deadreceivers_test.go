package service

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

// scaled are the waits that Standard Webhooks recommends, by one twenty
// thousandth: three days are 13 seconds, and the ninth wait of a day four.
func scaled() []string {
	var waits []string
	for _, wait := range []time.Duration{
		5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	} {
		waits = append(waits, max(wait/20_000, 10*time.Millisecond).String())
	}
	return waits
}

// toldSubscription is how a subscription does, as the API tells.
func (a *api) toldSubscription(t *testing.T, name string) shownSubscription {
	t.Helper()
	var s shownSubscription
	require.NoError(t, a.Call(t.Context(), http.MethodGet, "/v1/subscriptions/"+name, nil, &s))
	return s
}

// attempts is the highest attempt among a subscription's last deliveries.
func (a *api) attempts(t *testing.T, name string) int {
	t.Helper()
	var log struct {
		Deliveries []struct{ Attempt int }
	}
	require.NoError(t, a.Call(t.Context(), http.MethodGet, "/v1/subscriptions/"+name+"/deliveries?limit=100", nil, &log))
	most := 0
	for _, one := range log.Deliveries {
		most = max(most, one.Attempt)
	}
	return most
}

// A receiver that nobody answers for, for three of the schedule's shortened
// days, over a restart of the service: it is left alone and not given up, and
// gets everything afterwards.
func TestReceiverDownForThreeDays(t *testing.T) {
	t.Parallel()
	const count = 20
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := ln.Addr().String()
	require.NoError(t, ln.Close())
	secret, verify := newSecret(t)
	r := &receiver{history: newHistory("webhook"), secret: secret, verify: verify, known: map[string]bool{}}
	r.url = "http://" + address

	h := newHouse(t, newProvider(t, providerOptions{Options: practice.Options{AccessTTL: time.Hour}}),
		testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"}).URL())
	h.subscribe(r)
	h.config["subscriptions"].([]any)[0].(map[string]any)["retry"] = scaled() //nolint:errcheck,forcetypeassert // made by subscribe
	first := h.start()
	h.login(first.api, count)
	refreshAll(t, first.api, count)
	eventually(t, patience, func() (bool, string) {
		n := first.attempts(t, "ui")
		return n >= 6, fmt.Sprintf("%d deliveries", n)
	})
	_, err = first.Stop()
	require.NoError(t, err)
	second := h.start()
	refreshAll(t, second.api, count)

	// Between the last two deliveries that there would be.
	eventually(t, patience, func() (bool, string) {
		n := second.attempts(t, "ui")
		return n >= len(scaled()), fmt.Sprintf("%d deliveries", n)
	})
	told := second.toldSubscription(t, "ui")
	require.Equal(t, "waiting", told.State)
	assert.False(t, told.RetryAt.IsZero())
	assert.Zero(t, r.count())
	serveAt(t, address, r)
	r.awaitAll(t, patience, second.list(t))
	assert.Equal(t, 3*count, r.count())
	assert.Equal(t, "active", second.toldSubscription(t, "ui").State)
}

// serveAt serves on an address that was used before, until the end of the test.
func serveAt(t *testing.T, address string, handler http.Handler) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- serveHTTP(ctx, ln, handler) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
}

// A receiver that wants no more and one that never takes anything are given
// up. That is told to those who asked to hear of it, and shown; once they are
// enabled they get what they have missed.
func TestDeadReceivers(t *testing.T) {
	t.Parallel()
	const count = 4
	h := newHouse(t, newProvider(t, providerOptions{Options: practice.Options{AccessTTL: time.Hour}}), "")
	at := h.start()
	operator, gone, broken := newHook(t), newHook(t), newHook(t)
	gone.answers(http.StatusGone)
	broken.answers(http.StatusInternalServerError)
	for name, one := range map[string]struct {
		at    *hook
		types string
	}{"operator": {operator, "subscription.*"}, "gone": {gone, "credential.*"}, "broken": {broken, "credential.*"}} {
		require.NoError(t, at.Call(t.Context(), http.MethodPost, "/v1/subscriptions", map[string]any{
			"name": name, "url": one.at.url, "types": []string{one.types}, "retry": []string{"10ms", "20ms", "30ms"},
		}, nil))
	}
	h.login(at.api, count)
	for name, reason := range map[string]string{"gone": "gone", "broken": "undeliverable"} {
		eventually(t, patience, func() (bool, string) {
			s := at.toldSubscription(t, name)
			return s.State == "disabled", s.State
		})
		assert.Equal(t, reason, at.toldSubscription(t, name).Reason)
		operator.await(t, 1, func(p posted) bool {
			return p.event.Type == "subscription.disabled" && p.event.Data.Subscription == name && p.event.Data.Reason == reason
		})
		assert.Contains(t, h.command(t, at.api, "status"), fmt.Sprintf("subscription %s is disabled (%s)", name, reason))
	}
	refreshAll(t, at.api, count)

	for name, one := range map[string]*hook{"gone": gone, "broken": broken} {
		one.answers(http.StatusNoContent)
		refused := one.count()
		require.NoError(t, at.Call(t.Context(), http.MethodPost, "/v1/subscriptions/"+name+"/enable", nil, nil))
		taken := newHistory(name)
		eventually(t, patience, func() (bool, string) {
			n := one.count() - refused
			return n >= 2*count, fmt.Sprintf("%d of %d events", n, 2*count)
		})
		for _, e := range one.since(refused) {
			taken.add(e)
		}
		taken.awaitAll(t, patience, at.list(t))
		assert.Equal(t, "active", at.toldSubscription(t, name).State)
	}
	assert.NotContains(t, h.command(t, at.api, "status"), "is disabled")
}

func (h *hook) count() int { return len(h.since(0)) }

// since are the events that came behind the first n.
func (h *hook) since(n int) (list []cloudEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, one := range h.got[n:] {
		list = append(list, one.event)
	}
	return list
}

// command runs the program at the house's service, and returns what it says.
func (h *house) command(t *testing.T, at *api, args ...string) string {
	t.Helper()
	p := testproc.Start(t, testproc.Options{
		Path: program(t), Args: args, Dir: h.dir, Env: []string{"REFRESHD_URL=" + at.Base, "REFRESHD_KEY=" + at.Key},
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	state, err := p.Wait(ctx)
	require.NoError(t, err)
	assert.Zero(t, state.ExitCode(), p.String())
	return p.String()
}
