package ssf

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/event/eventtest"
)

// polling is a receiver and what it polls.
type polling struct {
	*eventtest.Bundle
	*Poller

	ring   *Ring
	events *event.Log
	filter event.Filter
	log    *bytes.Buffer
	never  chan struct{}
}

func setupPoll(t *testing.T, shards int) *polling {
	t.Helper()
	p := &polling{
		Bundle: eventtest.Setup(t, shards), log: new(bytes.Buffer), never: make(chan struct{}),
		filter: event.Filter{Types: Select(nil)},
	}
	p.events = event.NewLog(p.Store, zerolog.Nop())
	t.Cleanup(p.events.Stop)
	p.ring = NewRing(p.Store, p.Clock)
	p.Poller = NewPoller(PollerOptions{
		Log: p.events, Places: storePlaces{p.Store.Store},
		Transmitter: transmitter(p.ring, newClock()), Logger: zerolog.New(zerolog.SyncWriter(p.log)), Registerer: prometheus.NewRegistry(),
	})
	return p
}

// ask polls without waiting.
func (p *polling) ask(ask Poll) Batch {
	p.T.Helper()
	ask.AtOnce = true
	batch, err := p.Poll(p.T.Context(), someStream(), p.filter, ask, p.never)
	if err != nil {
		p.T.Errorf("poll: %v", err) // from any goroutine
	}
	return batch
}

// ids are those of the tokens, sorted, each of which is checked.
func (p *polling) ids(b Batch) []string {
	p.T.Helper()
	set := published(p.T, p.ring)
	for id, token := range b.Sets {
		require.Equal(p.T, id, received(p.T, set, token)["jti"])
	}
	return slices.Sorted(maps.Keys(b.Sets))
}

// short leaves away what is drawn by chance.
func short(ids []string) []string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = id[:strings.LastIndexByte(id, '/')]
	}
	return list
}

// A token comes again until it is acknowledged, also after the receiver or the
// service died; of each credential one comes at a time.
func TestPoll(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 3} {
		t.Run(strconv.Itoa(shards)+" shards", func(t *testing.T) {
			t.Parallel()
			p := setupPoll(t, shards)
			assert.Equal(t, Batch{Sets: map[string]string{}}, p.ask(Poll{}))
			p.Emit("alice", "alice", "bob", "alice")
			first := p.ask(Poll{})
			ids := p.ids(first)
			require.Equal(t, []string{"alice/1", "bob/1"}, short(ids))
			assert.True(t, first.More)
			assert.Equal(t, ids, p.ids(p.ask(Poll{})), "nothing was acknowledged")

			one := p.ask(Poll{Max: new(1)})
			require.Len(t, one.Sets, 1)
			assert.True(t, one.More)
			none := p.ask(Poll{Max: new(0), Ack: ids[1:]})
			assert.Empty(t, none.Sets)
			assert.True(t, none.More)
			assert.Equal(t, []string{"alice/1"}, short(p.ids(p.ask(Poll{}))), "the later one was acknowledged")

			second := p.ids(p.ask(Poll{Ack: ids})) // bob's a second time
			require.Equal(t, []string{"alice/2"}, short(second))
			last := p.ask(Poll{Ack: []string{second[0], "nobody/1/00000000", ""}})
			require.Equal(t, []string{"alice/3"}, short(p.ids(last)))
			assert.False(t, last.More)
			assert.Empty(t, p.ask(Poll{Ack: p.ids(last)}).Sets)
			assert.InDelta(t, 4, testutil.ToFloat64(p.polls.WithLabelValues("signals", "acknowledged")), 0)
			place, err := p.Store.PollPlace(t.Context(), "signals")
			require.NoError(t, err)
			assert.Empty(t, place.Answered, "all is behind the cursors")
			for shard, last := range place.Cursors {
				end, err := p.Store.LastEvent(t.Context(), shard)
				require.NoError(t, err)
				assert.Equal(t, end, last)
			}
		})
	}
}

// A token that the receiver cannot take is told of, and not offered again.
func TestPollErrors(t *testing.T) {
	t.Parallel()
	p := setupPoll(t, 1)
	p.Emit("alice", "bob", "alice")
	ids := p.ids(p.ask(Poll{}))
	next := p.ids(p.ask(Poll{Errors: map[string]string{ids[0]: "invalid_key", ids[1]: "canary\n", "nobody/1/00000000": "invalid_issuer"}}))
	assert.Equal(t, []string{"alice/2"}, short(next))
	assert.InDelta(t, 2, testutil.ToFloat64(p.polls.WithLabelValues("signals", "refused")), 0)
	assert.Contains(t, p.log.String(), `"event":"`+ids[0]+`","err":"invalid_key"`)
	assert.Contains(t, p.log.String(), `"event":"`+ids[1]+`","err":"other"`)
	assert.NotContains(t, p.log.String(), "canary")
	assert.NotContains(t, p.log.String(), "nobody")
}

// What nobody asked for is passed, and where it was many, for good.
func TestPollPassesTheUnwanted(t *testing.T) {
	t.Parallel()
	p := setupPoll(t, 1)
	p.filter = event.Filter{Types: []string{"credential.logged_out"}}
	for range saveAfter + 1 {
		p.Emit("alice")
	}
	assert.Empty(t, p.ask(Poll{}).Sets)
	place, err := p.Store.PollPlace(t.Context(), "signals")
	require.NoError(t, err)
	end, err := p.Store.LastEvent(t.Context(), 0)
	require.NoError(t, err)
	assert.Equal(t, end, place.Cursors[0])
	p.Emit("alice")
	assert.Empty(t, p.ask(Poll{}).Sets)
	again, err := p.Store.PollPlace(t.Context(), "signals")
	require.NoError(t, err)
	assert.Equal(t, place, again, "one is not worth a write")
}

// A long poll ends with the first token, when the service stops, and when the
// caller goes.
func TestLongPoll(t *testing.T) {
	t.Parallel()
	p := setupPoll(t, 1)
	require.NoError(t, p.events.Start(t.Context()))
	p.Emit("alice")
	taken := p.ids(p.ask(Poll{}))
	type answer struct {
		batch Batch
		err   error
	}
	poll := func(ctx context.Context, ask Poll, until chan struct{}) <-chan answer {
		came := make(chan answer, 1)
		go func() {
			batch, err := p.Poll(ctx, someStream(), p.filter, ask, until)
			came <- answer{batch, err}
		}()
		return came
	}
	stop := make(chan struct{})
	came := poll(t.Context(), Poll{Ack: taken}, stop)
	require.Eventually(t, func() bool {
		place, err := p.Store.PollPlace(t.Context(), "signals")
		return err == nil && place.Revision == 1
	}, eventtest.Patience, time.Millisecond, "what it acknowledges is noted at once")
	assert.Empty(t, came)
	p.Emit("alice")
	got := eventtest.Soon(t, came, "the answer")
	require.NoError(t, got.err)
	ids := p.ids(got.batch)
	assert.Equal(t, []string{"alice/2"}, short(ids))
	_ = p.ask(Poll{Ack: ids})

	came = poll(t.Context(), Poll{}, stop)
	close(stop)
	got = eventtest.Soon(t, came, "the end")
	require.NoError(t, got.err)
	assert.Empty(t, got.batch.Sets)

	ctx, cancel := context.WithCancel(t.Context())
	came = poll(ctx, Poll{}, p.never)
	cancel()
	require.ErrorIs(t, eventtest.Soon(t, came, "the end").err, context.Canceled)
}

// A verification that was asked for comes with the next polls, until it is
// acknowledged.
func TestPollVerification(t *testing.T) {
	t.Parallel()
	p := setupPoll(t, 1)
	p.Emit("alice")
	require.NoError(t, p.Verify(t.Context(), someStream(), "an older one"))
	require.NoError(t, p.Verify(t.Context(), someStream(), "s-1"))
	assert.True(t, p.ask(Poll{Max: new(1)}).More)
	var ids []string
	for range 2 {
		batch := p.ask(Poll{})
		ids = p.ids(batch)
		require.Len(t, ids, 2)
		require.True(t, strings.HasPrefix(ids[1], "verification-"))
		got := received(t, published(t, p.ring), batch.Sets[ids[1]])
		assert.Equal(t, map[string]any{uriVerification: map[string]any{"state": "s-1"}}, got["events"])
	}
	assert.Equal(t, ids[:1], p.ids(p.ask(Poll{Ack: ids[1:]})))
	assert.Empty(t, p.ask(Poll{Ack: ids}).Sets)
}

// interrupted lets somebody else act before what is to be saved is.
type interrupted struct {
	Places

	meanwhile []func()
}

func (i *interrupted) SavePlace(ctx context.Context, subscription string, p Progress) (bool, error) {
	if len(i.meanwhile) > 0 {
		act := i.meanwhile[0]
		i.meanwhile = i.meanwhile[1:]
		act()
	}
	return i.Places.SavePlace(ctx, subscription, p)
}

// What two acknowledge at the same moment stays acknowledged, and a
// verification that is asked for then is not lost; who is outrun all the time
// is told to come back.
func TestPollTogether(t *testing.T) {
	t.Parallel()
	p := setupPoll(t, 1)
	places := &interrupted{Places: p.opts.Places}
	other := *p.Poller
	p.opts.Places = places
	p.Emit("alice", "bob", "carol")
	ids := p.ids(p.ask(Poll{}))
	require.Len(t, ids, 3)
	quick := func(ask Poll) {
		ask.AtOnce = true
		_, err := other.Poll(t.Context(), someStream(), p.filter, ask, p.never)
		require.NoError(t, err)
	}
	places.meanwhile = []func(){
		func() { quick(Poll{Ack: ids[1:2]}) },
		func() { require.NoError(t, other.Verify(t.Context(), someStream(), "s-1")) },
	}
	left := p.ids(p.ask(Poll{Ack: ids[:1]}))
	require.Len(t, left, 2)
	assert.Equal(t, "carol/1", short(left[:1])[0])
	assert.Empty(t, places.meanwhile)

	for range saveTimes {
		places.meanwhile = append(places.meanwhile, func() { require.NoError(t, other.Verify(t.Context(), someStream(), "")) })
	}
	_, err := p.Poll(t.Context(), someStream(), p.filter, Poll{AtOnce: true, Ack: left}, p.never)
	require.ErrorIs(t, err, ErrBusy)
	for range saveTimes {
		places.meanwhile = append(places.meanwhile, func() { require.NoError(t, other.Verify(t.Context(), someStream(), "")) })
	}
	require.ErrorIs(t, p.Verify(t.Context(), someStream(), "x"), ErrBusy)
	assert.Len(t, p.ask(Poll{Ack: left}).Sets, 1, "the last verification")
}

// What was trimmed before it was fetched is said once, and the rest comes.
func TestPollAfterTrim(t *testing.T) {
	t.Parallel()
	p := setupPoll(t, 1)
	_ = p.ask(Poll{})
	p.Emit("alice", "alice")
	p.PassTime(time.Hour)
	p.Emit("alice")
	_, err := p.Store.TrimEvents(t.Context(), p.Clock().Add(-time.Minute))
	require.NoError(t, err)
	for range 3 {
		assert.Equal(t, []string{"alice/3"}, short(p.ids(p.ask(Poll{}))))
	}
	assert.Equal(t, 1, strings.Count(p.log.String(), "trimmed before they were polled"), p.log.String())
}

// However receivers poll, answer late, twice, in part or with errors, and
// however many do so at once: each credential's versions come in order, and
// none is left out.
func TestPollProperty(t *testing.T) {
	t.Parallel()
	for seed := range 4 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p := setupPoll(t, 1+seed%3)
			rng := rand.New(rand.NewPCG(uint64(seed), 1)) //nolint:gosec // a small number
			versions := map[credential.ID]int{}
			var mu sync.Mutex
			taken := map[string][]int{} // by credential, in the order of the acknowledgements
			done := map[string]bool{}
			round := func(rng *rand.Rand, everything bool) int {
				n := 1 + rng.IntN(8)
				batch := p.ask(Poll{Max: &n})
				var acks []string
				errs := map[string]string{}
				for id := range batch.Sets {
					switch {
					case everything || rng.IntN(3) > 0:
						acks = append(acks, id)
					case rng.IntN(4) == 0:
						errs[id] = "invalid_request"
					default:
						continue
					}
					mu.Lock()
					if !done[id] { // another receiver may have had it too
						done[id] = true
						name, rest, _ := strings.Cut(id, "/")
						version, _, _ := strings.Cut(rest, "/")
						v, _ := strconv.Atoi(version) // 0 is none of the versions
						taken[name] = append(taken[name], v)
					}
					mu.Unlock()
				}
				if everything || rng.IntN(5) > 0 { // else it died before it said so
					_ = p.ask(Poll{Max: new(0), Ack: acks, Errors: errs})
				}
				return len(batch.Sets)
			}
			for range 20 {
				for range rng.IntN(6) {
					id := credential.ID(fmt.Sprintf("user-%d", rng.IntN(5)))
					versions[id]++
					p.Emit(id)
				}
				var receivers sync.WaitGroup
				for range 1 + rng.IntN(2) {
					own := rand.New(rand.NewPCG(rng.Uint64(), 2))
					receivers.Go(func() { round(own, false) })
				}
				receivers.Wait()
			}
			for more := 1; more > 0; {
				more = round(rng, true)
			}
			for id, n := range versions {
				want := make([]int, n)
				for i := range want {
					want[i] = i + 1
				}
				assert.Equal(t, want, taken[string(id)], id)
			}
		})
	}
}

// No token of a credential, no part of one, is in a security event token or a
// log.
func TestNoSecretsInTokens(t *testing.T) {
	t.Parallel()
	p := setupPoll(t, 1)
	p.Emit("alice", "bob") // their tokens begin with s3cr3t
	batch := p.ask(Poll{})
	require.Len(t, batch.Sets, 2)
	for _, token := range batch.Sets {
		c := received(t, published(t, p.ring), token)
		assert.NotContains(t, fmt.Sprint(c), "s3cr3t")
	}
	assert.NotContains(t, p.log.String(), "s3cr3t")
}
