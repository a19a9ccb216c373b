package service

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/test/harness"
)

// toldWithin is how old a process's knowledge of a pause may be, with what was on its
// way to the backend when the pause came.
const toldWithin = 2 * time.Second

// What is paused gets no call, over a restart, whether that is a credential, its
// provider or the whole service; expiries are told all the same, and a request
// for a token says why there is none. After the resumption it goes on at once.
func TestWhatIsPausedGetsNoCall(t *testing.T) {
	t.Parallel()
	const life = 4 * time.Second
	e := newEstate(t)
	one := e.backend("one", backends.Options{Kind: backends.KindBearer, Life: life, Refreshes: true}, nil)
	all := e.backend("all", backends.Options{Kind: backends.KindBearer, Life: life}, nil)
	at := e.open()
	held, free := e.signUp("one", "held"), e.signUp("one", "free")
	whole := e.signUp("all", "ann")

	at.post(t, held, "pause", nil, nil)
	require.NoError(t, at.Call(t.Context(), http.MethodPost, "/v1/providers/all/pause", nil, nil))
	acked := time.Now()
	at = e.restart()
	assert.True(t, at.get(t, held).Paused)
	assert.True(t, e.providerState(at, "all").Paused)
	for _, id := range []string{held, whole} {
		at.awaitRecord(t, id, func(r harness.Record) bool { return r.State == "expired" })
		e.stream.awaitEvents(t, "credential.expired", id, 1)
		_, err := at.Token(t.Context(), id, 0)
		refused := refusedWith(t, err)
		assert.Equal(t, http.StatusServiceUnavailable, refused.Status, id)
		assert.Equal(t, "paused", refused.Reason, id)
	}
	e.stream.awaitEvents(t, "credential.refreshed", free, 2) // its neighbour goes on meanwhile
	assert.Empty(t, after(one.Calls("", "held"), acked.Add(toldWithin)))
	assert.Empty(t, after(all.Ledger(), acked.Add(toldWithin)))

	at.post(t, held, "resume", nil, nil)
	require.NoError(t, at.Call(t.Context(), http.MethodPost, "/v1/providers/all/resume", nil, nil))
	for _, id := range []string{held, whole} {
		at.awaitRecord(t, id, func(r harness.Record) bool { return r.State == "active" && !r.Paused })
	}

	require.NoError(t, at.Call(t.Context(), http.MethodPost, "/v1/pause", nil, nil))
	acked = time.Now()
	at = e.restart()
	for _, id := range []string{held, free, whole} {
		at.awaitRecord(t, id, func(r harness.Record) bool { return r.State == "expired" })
	}
	refused := refusedWith(t, at.Refresh(t.Context(), free))
	assert.Equal(t, "paused", refused.Reason)
	for name, b := range e.backends {
		assert.Empty(t, after(b.Ledger(), acked.Add(toldWithin)), name)
	}
	require.NoError(t, at.Call(t.Context(), http.MethodPost, "/v1/resume", nil, nil))
	// The other provider was resumed a moment ago: what is asked for twice within
	// ten seconds is looked at once, and then when it has rested.
	for _, id := range []string{held, free} {
		at.awaitRecord(t, id, func(r harness.Record) bool { return r.State == "active" })
	}
	presentedOnceEach(t, e.backends)
	oneEventPerVersion(t, at.api, e.heardAll(), e.stream)
}

// after leaves the calls that came later than a moment.
func after(calls []backends.Entry, moment time.Time) []backends.Entry {
	return slices.DeleteFunc(calls, func(c backends.Entry) bool { return !c.Received.After(moment) })
}

// providerState is how a provider is shown.
type providerState struct {
	Name    string `json:"name"`
	Paused  bool   `json:"paused"`
	Breaker struct {
		Open    bool      `json:"open"`
		Reason  string    `json:"reason"`
		ProbeAt time.Time `json:"probe_at"`
	} `json:"breaker"`
	Hold struct {
		Until time.Time `json:"until"`
	} `json:"hold"`
}

func (e *estate) providerState(at *instance, name string) providerState {
	e.t.Helper()
	var answer struct {
		Providers []providerState `json:"providers"`
	}
	require.NoError(e.t, at.Call(e.t.Context(), http.MethodGet, "/v1/providers", nil, &answer))
	i := slices.IndexFunc(answer.Providers, func(p providerState) bool { return p.Name == name })
	require.GreaterOrEqual(e.t, i, 0, name)
	return answer.Providers[i]
}

// A refresh that was asked for at a moment comes then, once, over a restart; one
// that was taken back does not.
func TestARefreshComesOnceAtItsTime(t *testing.T) {
	t.Parallel()
	const wait = 6 * time.Second
	e := newEstate(t)
	b := e.backend("shop", backends.Options{Kind: backends.KindBearer, Life: time.Hour, Refreshes: true}, nil)
	at := e.open()
	later, never, now := e.signUp("shop", "later"), e.signUp("shop", "never"), e.signUp("shop", "now")
	asked := time.Now()
	var answer struct {
		DueAt     time.Time `json:"due_at"`
		Cancelled bool      `json:"cancelled"`
	}
	for _, id := range []string{later, never} {
		at.post(t, id, "refresh", map[string]any{"after": wait.String()}, &answer)
		// By the store's clock, which the service knows as well as the way there lets it.
		assert.WithinRange(t, answer.DueAt, asked.Add(wait-time.Second), time.Now().Add(wait+time.Second))
	}
	due := at.get(t, later).OnceAt
	at.post(t, never, "refresh", map[string]any{"cancel": true}, &answer)
	assert.True(t, answer.Cancelled)
	at.post(t, now, "refresh", map[string]any{"after": "0s"}, nil)
	at.awaitRecord(t, now, func(r harness.Record) bool { return r.Generation == 2 && r.OnceAt.IsZero() })

	at = e.restart()
	r := at.awaitRecord(t, later, func(r harness.Record) bool { return r.Generation == 2 })
	assert.True(t, r.OnceAt.IsZero(), "it is over")
	calls := b.Calls(backends.CallRefresh, "later")
	require.Len(t, calls, 1)
	assert.False(t, calls[0].Received.Before(due), "not before its time: %s, %s", calls[0].Received, due)
	pass(t.Context(), 2*time.Second)
	assert.Len(t, b.Calls(backends.CallRefresh, "later"), 1)
	assert.Empty(t, b.Calls(backends.CallRefresh, "never"))
	assert.Len(t, b.Calls(backends.CallRefresh, "now"), 1)
	assert.Len(t, e.stream.awaitEvents(t, "credential.refreshed", later, 1), 1)
	presentedOnceEach(t, e.backends)
	t.Log(fmt.Sprint("due at ", due.Format(clockTime), ", came at ", calls[0].Received.Format(clockTime)))
}
