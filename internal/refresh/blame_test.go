package refresh

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// notFound is how a backend answers tokens that it does not know, in words that
// mean wrong settings.
func notFound() credential.Outcome {
	o := refusedClient()
	o.Detail = "HTTP 404"
	return o
}

func (b *bundle) breaker(n *node) credential.Breaker {
	b.t.Helper()
	return credential.BreakerOf(b.held(n, credential.ClientID(acme)).Record)
}

// Some tokens that the provider answers as it would wrong settings are the trouble
// of those credentials: the others stay fresh, although these are due for longest
// and come first each time, to one replica or the other.
func TestAFewRefusedHoldUpNobody(t *testing.T) {
	t.Parallel()
	for _, few := range []int{1, 3} {
		t.Run(fmt.Sprint(few), func(t *testing.T) {
			t.Parallel()
			const lives = 5
			b := setup(t)
			nodes := []*node{b.node("one"), b.node("two")}
			var dead, rest []credential.ID
			var names []string
			for i := range 20 {
				id := credential.ID(fmt.Sprintf("user-%d", i))
				b.put(nodes[0], id)
				if i < few {
					dead, names = append(dead, id), append(names, string(id))
				} else {
					rest = append(rest, id)
				}
			}
			b.provider.refusing(notFound(), names...)
			var degraded bool
			ends := b.clock.Now().Add(lives * life)
			for minute := 0; b.clock.Now() < ends; minute++ {
				b.clock.advance(time.Minute)
				for i, id := range dead {
					b.batch(nodes[(minute+i)%2], id)
				}
				b.batch(nodes[minute%2], append(append([]credential.ID(nil), dead...), rest...)...)
				for _, id := range rest {
					require.True(t, b.held(nodes[0], id).Record.ValidAt(b.clock.Now(), 0), "minute %d: %s", minute, id)
				}
				r := b.held(nodes[0], dead[0]).Record
				degraded = degraded || r.State == credential.StateDegraded && r.Reason == credential.ReasonClientMisconfigured && r.LastAttempt.Detail == "HTTP 404"
			}
			assert.True(t, degraded, "it can be seen on it")
			assert.False(t, b.breaker(nodes[0]).Open)
			var pairs []credential.EventType
			for range few {
				pairs = append(pairs, credential.EventClientMisconfigured, credential.EventClientRecovered)
			}
			told := b.events(nodes[0], credential.ClientID(acme))
			assert.LessOrEqual(t, len(told), len(pairs))
			assert.Equal(t, pairs[:len(told)], told)
			calls := 0
			for _, id := range dead {
				h := b.held(nodes[0], id)
				assert.Equal(t, credential.StateExpired, h.Record.State)
				assert.EqualValues(t, 1, h.Record.Generation)
				assert.Greater(t, h.Record.Failures, 10)
				assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventDegraded, credential.EventExpired}, b.events(nodes[0], id))
				calls += b.provider.shown(h.Token.Refresh)
			}
			assert.LessOrEqual(t, calls, few*int(lives*life/(4*time.Minute)), "in five minutes one")
		})
	}
}

// While one is known to be in trouble of its own, a client that is refused for
// everybody is found out by the next one that is not.
func TestARealRefusalStillOpens(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one"), b.node("two")
	b.blamed(one, "alice", "bob")
	b.due()
	b.provider.failing(refusedClient())
	assert.Equal(t, credential.BatchReport{Failed: 1}, b.batch(two, "alice"))
	assert.False(t, b.breaker(one).Open)
	assert.Equal(t, credential.BatchReport{Failed: 1}, b.batch(two, "bob"))
	assert.True(t, b.breaker(one).Open)
	assert.Equal(t, credential.StateActive, b.held(one, "bob").Record.State, "it is not to blame")
	calls := b.provider.calls()
	b.batch(one, "alice", "bob")
	assert.Equal(t, calls, b.provider.calls())
	assert.Equal(t, []credential.EventType{
		credential.EventClientMisconfigured, credential.EventClientRecovered, credential.EventClientMisconfigured,
	}, b.events(one, credential.ClientID(acme)))
}

// blamed puts two credentials, has the client refused with the first one, and
// accepted with the other.
func (b *bundle) blamed(n *node, first, other credential.ID) {
	b.t.Helper()
	b.put(n, first)
	b.put(n, other)
	b.due()
	b.provider.refusing(notFound(), string(first))
	assert.Equal(b.t, credential.BatchReport{Failed: 1}, b.batch(n, first))
	require.True(b.t, b.breaker(n).Open)
	b.clock.advance(credential.ProbeEvery)
	assert.Equal(b.t, credential.BatchReport{Skipped: 1}, b.batch(n, first), "it lets others go first")
	assert.Equal(b.t, credential.BatchReport{Refreshed: 1}, b.batch(n, other))
	require.False(b.t, b.breaker(n).Open)
	require.True(b.t, b.breaker(n).Blames(first))
}

// Once the provider has taken it again, or the client's settings have changed, a
// refusal of the same credential opens the breaker as any other does.
func TestBlameEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(b *bundle, n *node){
		"accepted": func(b *bundle, n *node) {
			b.provider.ordinary()
			assert.Equal(b.t, credential.BatchReport{Refreshed: 1}, b.batch(n, "alice"))
		},
		"other settings": func(b *bundle, n *node) {
			mended := b.target()
			mended.Settings = "second"
			n.SetTargets(b.t.Context(), []Target{mended})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.node("one")
			b.blamed(n, "alice", "bob")
			end(b, n)
			assert.Empty(t, b.breaker(n).Refused)
			assert.Zero(t, b.breaker(n).ProbeAt)
			b.due()
			b.provider.failing(refusedClient())
			b.batch(n, "alice")
			assert.True(t, b.breaker(n).Open)
		})
	}
}

// Whoever asks for the credential that the client was refused with stands back like
// a batch does, by hand as well; the probe is another's while there is one, and its
// own a little later where there is none.
func TestWhoeverWasRefusedStandsBackOnDemand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one"), b.node("two")
	b.put(one, "alice")
	b.clock.advance(life)
	b.provider.failing(notFound())
	b.batch(one, "alice")
	require.Equal(t, 1, b.provider.calls())
	b.clock.advance(credential.ProbeEvery)
	for name, ask := range map[string]func() error{
		"token":   func() error { _, err := two.Token(t.Context(), "alice", 0); return err },
		"by hand": func() error { _, err := two.Refresh(t.Context(), "alice", 0); return err },
	} {
		unavailable := new(UnavailableError)
		require.ErrorAs(t, ask(), &unavailable, name)
		assert.Equal(t, credential.ReasonClientMisconfigured, unavailable.Reason, name)
	}
	b.batch(one, "alice")
	assert.Equal(t, 1, b.provider.calls())
	next, ok, err := one.store.NextDue(t.Context(), 0, acme)
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, b.clock.Now().Add(credential.StandBack), next, "it comes to the probe when its time is")
	b.clock.advance(credential.StandBack)
	_, err = two.Refresh(t.Context(), "alice", 0)
	require.Error(t, err)
	assert.Equal(t, 2, b.provider.calls(), "there is nobody else")
	assert.Len(t, b.events(one, credential.ClientID(acme)), 1)
	assert.Equal(t, b.clock.Now().Add(credential.ProbeEvery), b.breaker(two).ProbeAt)

	// In trouble of its own it is asked for with what is known of it.
	b.put(one, "bob")
	_, err = two.Refresh(t.Context(), "bob", 1)
	require.Error(t, err)
	b.clock.advance(credential.ProbeEvery)
	b.provider.refusing(notFound(), "alice")
	_, err = two.Refresh(t.Context(), "bob", 1)
	require.NoError(t, err)
	unavailable := new(UnavailableError)
	_, err = two.Token(t.Context(), "alice", 0)
	require.ErrorAs(t, err, &unavailable)
	assert.Equal(t, credential.ReasonClientMisconfigured, unavailable.Reason)
	assert.Less(t, unavailable.RetryAfter, 5*time.Second, "by its own waits")
	assert.False(t, b.breaker(two).Open)
	assert.Equal(t, credential.StateExpired, b.held(two, "alice").Record.State)
}

// Who was refused with the probe stands back as well, so that two of them do not
// take turns before the others.
func TestTheNextProbeIsAnothers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	for _, id := range []credential.ID{"alice", "bob", "carol"} {
		b.put(n, id)
	}
	b.due()
	b.provider.refusing(notFound(), "alice", "bob")
	assert.Equal(t, credential.BatchReport{Failed: 1}, b.batch(n, "alice"))
	b.clock.advance(credential.ProbeEvery)
	assert.Equal(t, credential.BatchReport{Failed: 1, Skipped: 1}, b.batch(n, "alice", "bob"))
	b.clock.advance(credential.ProbeEvery)
	assert.Equal(t, credential.BatchReport{Skipped: 2}, b.batch(n, "alice", "bob"))
	assert.Equal(t, credential.BatchReport{Refreshed: 1, Failed: 2}, b.batch(n, "alice", "bob", "carol"))
	assert.False(t, b.breaker(n).Open)
	assert.Equal(t, []credential.ID{"bob", "alice"}, b.breaker(n).Refused)
	for _, id := range []credential.ID{"alice", "bob"} {
		assert.Equal(t, credential.StateDegraded, b.held(n, id).Record.State)
	}
}
