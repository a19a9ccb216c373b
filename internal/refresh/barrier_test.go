package refresh

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// snapshot is what a store held at some moment.
type snapshot struct {
	hashes  map[string]map[string]string
	sets    map[string][]redis.Z
	streams map[string][]redis.XMessage
	strings map[string]string
}

// snapshot remembers what the store holds.
func (b *bundle) snapshot() snapshot {
	b.t.Helper()
	ctx := b.t.Context()
	s := snapshot{
		hashes: map[string]map[string]string{}, sets: map[string][]redis.Z{},
		streams: map[string][]redis.XMessage{}, strings: map[string]string{},
	}
	keys, err := b.client.Keys(ctx, "*").Result()
	require.NoError(b.t, err)
	for _, key := range keys {
		switch b.client.Type(ctx, key).Val() {
		case "hash":
			s.hashes[key] = b.client.HGetAll(ctx, key).Val()
		case "zset":
			s.sets[key] = b.client.ZRangeWithScores(ctx, key, 0, -1).Val()
		case "stream":
			s.streams[key] = b.client.XRange(ctx, key, "-", "+").Val()
		default:
			s.strings[key] = b.client.Get(ctx, key).Val()
		}
	}
	return s
}

// fallBack makes the store what it was, as a restart without its last writes
// does, and gives it another run.
func (b *bundle) fallBack(s snapshot) {
	b.t.Helper()
	ctx := b.t.Context()
	b.mini.FlushAll()
	for key, fields := range s.hashes {
		require.NoError(b.t, b.client.HSet(ctx, key, fields).Err())
	}
	for key, members := range s.sets {
		require.NoError(b.t, b.client.ZAdd(ctx, key, members...).Err())
	}
	for key, entries := range s.streams {
		for _, e := range entries {
			require.NoError(b.t, b.client.XAdd(ctx, &redis.XAddArgs{Stream: key, ID: e.ID, Values: e.Values}).Err())
		}
	}
	for key, text := range s.strings {
		require.NoError(b.t, b.client.Set(ctx, key, text, 0).Err())
	}
	b.run.Store("second run")
}

// lossy is a store that may lose the last ten seconds.
func lossy(o *Options) { o.Loss = func() time.Duration { return 10 * time.Second } }

// pair returns two nodes that know each other, on a store that may lose something,
// and that has alice's login.
func (b *bundle) pair() (one, two *node) {
	b.t.Helper()
	one, two = b.node("one", lossy), b.node("two", lossy)
	b.settle(one, two)
	b.put(one, "alice")
	b.settle(one, two)
	return one, two
}

// settle lets the waits of a barrier pass for all of them.
func (b *bundle) settle(nodes ...*node) {
	b.t.Helper()
	for range 3 {
		b.clock.advance(rejoinWait / 2)
		for _, n := range nodes {
			require.NoError(b.t, n.tick(b.t.Context()))
		}
	}
}

func TestWhatTheStoreLostIsPutBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", lossy)
	b.put(n, "alice")
	b.put(n, "bob")
	b.settle(n)
	before := b.snapshot()

	b.due()
	require.NoError(t, n.tick(t.Context()))
	b.batch(n, "alice")
	_, err := n.Logout(t.Context(), "bob", Expect{})
	require.NoError(t, err)
	b.put(n, "carol")
	kept := map[credential.ID]credential.Held{}
	events := map[credential.ID][]credential.EventType{}
	for _, id := range []credential.ID{"alice", "bob", "carol"} {
		kept[id], events[id] = b.held(n, id), b.events(n, id)
	}
	b.fallBack(before)
	require.EqualValues(t, 1, b.held(n, "alice").Record.Generation, "the store really lost it")

	// Before anything is put back, nothing passes, and reads are not stale.
	_, err = n.Put(t.Context(), b.login("dave"), Expect{})
	unavailable := new(UnavailableError)
	require.ErrorAs(t, err, &unavailable)
	_, err = n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	require.Error(t, err)
	served, err := n.Token(t.Context(), "alice", 0)
	require.NoError(t, err)
	assert.EqualValues(t, 2, served.Record.Generation, "never older than what was served")

	b.settle(n)
	require.Equal(t, passAll, n.barrier.passes())
	for id, want := range kept {
		assert.Equal(t, want, b.held(n, id), id)
		assert.Equal(t, events[id], b.events(n, id), id)
	}
	assert.Equal(t, 1, b.provider.most(), "nothing was presented twice")
	_, err = n.Put(t.Context(), b.login("dave"), Expect{})
	require.NoError(t, err)
}

// A refresh that is in the air while the store falls back keeps its right: no
// other process begins, and the reply is stored.
func TestAnExchangeInTheAirOutlivesTheLoss(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.pair()
	b.due()
	require.NoError(t, one.tick(t.Context()))
	require.NoError(t, two.tick(t.Context()))
	before := b.snapshot()
	done, let := b.inTheAir(one)
	b.fallBack(before)
	require.Nil(t, b.held(two, "alice").Attempt, "the store lost the attempt")

	// Two is ready first, and waits for one.
	for range 5 {
		b.clock.advance(time.Second)
		require.NoError(t, two.tick(t.Context()))
		require.NotEqual(t, passAll, two.barrier.passes(), "one has not put back what it knows")
	}
	b.settle(one, two)
	require.Equal(t, passAll, two.barrier.passes())
	require.NotNil(t, b.held(two, "alice").Attempt, "the attempt is back")
	report, err := two.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	require.NoError(t, err)
	assert.Zero(t, report.Refreshed)
	let()
	require.Equal(t, 1, soon(t, done, "the batch").value.Refreshed)
	assert.EqualValues(t, 2, b.held(two, "alice").Record.Generation)
	assert.Equal(t, 1, b.provider.most())
}

// The provider has called a grant dead, and the store falls back behind the
// attempt that heard so before that is stored, and before anybody knows of it. That
// the attempt is missing there says nothing about it.
func TestADeathThatIsHeardAsTheStoreFallsBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.pair()
	b.due()
	require.NoError(t, one.tick(t.Context()))
	require.NoError(t, two.tick(t.Context()))
	before := b.snapshot()
	b.provider.failing(credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonInvalidGrant})
	done, let := b.inTheAir(one)
	b.fallBack(before)
	require.Equal(t, passAll, one.barrier.passes(), "nobody has noticed")
	loaded := make(chan struct{})
	one.store.set(func(s *faultyStore) { s.loaded = loaded })
	let()
	soon(t, loaded, "a look at the record")
	b.settle(one, two)
	require.NoError(t, soon(t, done, "the end of the batch").err)

	_, err := two.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	require.NoError(t, err)
	assert.Equal(t, 1, b.provider.calls(), "nobody asks again")
	assert.Equal(t, credential.StateReauthRequired, b.held(two, "alice").Record.State)
	assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventReauthRequired}, b.events(two, "alice"))
}

// A process that was killed after its token was presented, and whose attempt
// the store has lost, leaves a doubt: its journal tells.
func TestADeadPresentationIsRecalled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy), b.node("two", lossy)
	b.put(one, "alice")
	b.settle(one, two)
	b.due()
	require.NoError(t, one.tick(t.Context()))
	require.NoError(t, two.tick(t.Context()))
	before := b.snapshot()
	done, let := b.inTheAir(one)
	one.die(let)
	soon(t, done, "the end of the dead process's batch")
	b.fallBack(before)
	b.settle(two)
	b.settle(two)
	require.Equal(t, passAll, two.barrier.passes())
	h := b.held(two, "alice")
	if h.Record.Generation == 1 { // the reply had not been read
		require.NotNil(t, h.Attempt)
		assert.True(t, h.Attempt.Doubt)
	}
	assert.Equal(t, 1, b.provider.most())
}

// While the store is away, nothing that it may have lost is forgotten.
func TestNothingIsForgottenDuringAnOutage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", lossy)
	b.settle(n)
	before := b.snapshot()
	b.put(n, "alice")
	n.store.set(func(s *faultyStore) { s.away = true })
	for range 60 {
		b.clock.advance(time.Second)
		require.Error(t, n.tick(t.Context()))
	}
	b.fallBack(before)
	n.store.heal()
	b.settle(n)
	assert.EqualValues(t, 1, b.held(n, "alice").Record.Version)
	b.clock.advance(11 * time.Second)
	require.NoError(t, n.tick(t.Context()))
	assert.Empty(t, n.ledger.lately(), "forgotten once it cannot be lost any more")
	assert.Empty(t, n.inJournal().Changes)
}

// A process of another machine that is silent is waited for as long as its
// journal may come back; one of this machine that was killed is not.
func TestWhoIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	elsewhere := func(o *Options) { lossy(o); o.Quarantine = time.Minute }
	one := b.node("one", elsewhere)
	require.NoError(t, b.client.HSet(t.Context(), "rd:owners", "far", 7).Err())
	require.NoError(t, b.client.HSet(t.Context(), "rd:members", "far", "another-place ").Err())
	before := b.snapshot()
	b.fallBack(before)
	for range 20 {
		b.clock.advance(time.Second)
		require.NoError(t, one.tick(t.Context()))
	}
	require.Equal(t, passWrites, one.barrier.passes(), "owners are answered, nothing is begun")
	for range 60 {
		b.clock.advance(time.Second)
		require.NoError(t, one.tick(t.Context()))
	}
	require.Equal(t, passAll, one.barrier.passes(), "the quarantine is over")
}

// Who is dead and has left no journal is taken off the roster by whoever can see
// that, so that those elsewhere need not wait through its quarantine.
func TestWhoLeftNothingIsTakenOffTheRoster(t *testing.T) {
	t.Parallel()
	b := setup(t)
	elsewhere := func(o *Options) { lossy(o); o.Quarantine = time.Hour }
	far, near := b.node("far", b.elsewhere(), elsewhere), b.node("near", elsewhere)
	place := near.opts.Folder.Place()
	require.NotEmpty(t, place)
	require.NoError(t, b.client.HSet(t.Context(), "rd:owners", "dead", 7).Err())
	require.NoError(t, b.client.HSet(t.Context(), "rd:members", "dead", place+" /").Err())
	b.fallBack(b.snapshot())
	for range 20 {
		b.clock.advance(time.Second)
		require.NoError(t, far.tick(t.Context()))
	}
	require.NotEqual(t, passAll, far.barrier.passes(), "it cannot know")
	for range 10 {
		b.clock.advance(time.Second)
		require.NoError(t, near.tick(t.Context()))
		require.NoError(t, far.tick(t.Context()))
	}
	assert.Equal(t, passAll, far.barrier.passes())
	assert.Equal(t, passAll, near.barrier.passes())
	assert.False(t, b.client.HExists(t.Context(), "rd:members", "dead").Val())
	assert.True(t, b.client.HExists(t.Context(), "rd:members", "far").Val(), "of another folder nobody here can tell")
}

// The writer dies together with the store's last writes: the heir of its journal
// makes the same writes, with the same versions and nonces, in their order.
func TestTheHeirMakesTheSameWrites(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy), b.node("two", lossy)
	for _, id := range []credential.ID{"alice", "bob", "carol"} {
		b.put(one, id)
	}
	b.settle(one, two)
	b.due()
	require.NoError(t, one.tick(t.Context()))
	require.NoError(t, two.tick(t.Context()))
	before := b.snapshot()
	b.batch(one, "alice", "bob")
	b.provider.failing(credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable})
	_, err := one.RefreshBatch(t.Context(), acme, []credential.ID{"carol"}, "")
	require.NoError(t, err)
	_, err = one.Logout(t.Context(), "bob", Expect{})
	require.NoError(t, err)
	kept := map[credential.ID]credential.Held{}
	events := map[credential.ID][]credential.EventType{}
	for _, id := range []credential.ID{"alice", "bob", "carol"} {
		kept[id], events[id] = b.held(one, id), b.events(one, id)
	}
	require.Equal(t, credential.StateLoggedOut, kept["bob"].Record.State)
	require.NotNil(t, kept["carol"].Attempt, "in doubt")
	one.die()
	b.fallBack(before)
	b.settle(two)
	b.settle(two)
	require.Equal(t, passAll, two.barrier.passes())
	for id, want := range kept {
		got := b.held(two, id)
		assert.Equal(t, want.Record, got.Record, id)
		assert.Equal(t, want.Attempt, got.Attempt, id)
		assert.True(t, want.Token.Refresh.Equal(got.Token.Refresh), id)
		assert.Equal(t, events[id], b.events(two, id), id)
	}
	assert.Equal(t, 1, b.provider.most())
}

// What an operator holds back stays so, though the process that was told has died
// together with the store's last writes.
func TestTheHeirHoldsBackTheSameClients(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy), b.node("two", lossy)
	b.put(one, "alice")
	b.settle(one, two)
	before := b.snapshot()
	for _, client := range []string{acme, credential.AllClients} {
		changed, err := one.PauseProvider(t.Context(), client, true)
		require.NoError(t, err)
		require.True(t, changed)
	}
	one.die()
	b.fallBack(before)
	b.settle(two)
	b.settle(two)
	require.Equal(t, passAll, two.barrier.passes())
	for _, client := range []string{acme, credential.AllClients} {
		assert.True(t, credential.BreakerOf(b.held(two, credential.ClientID(client)).Record).Paused, client)
	}
	b.due()
	b.batch(two, "alice")
	assert.Zero(t, b.provider.most(), "nothing is presented")
}

// The record of an exchange in the air comes out of a dead process's journal, for
// the store has lost it altogether: the attempt is put back behind it.
func TestAnExchangeInTheAirOfARecordThatOthersPutBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy), b.node("two", lossy)
	b.settle(one, two)
	empty := b.snapshot()
	b.clock.advance(life)
	ten := b.login("alice")
	ten.ExpiresIn = 10 * time.Second // due before its writer forgets it
	_, err := two.Put(t.Context(), ten, Expect{})
	require.NoError(t, err)
	b.clock.advance(8 * time.Second)
	require.NoError(t, one.tick(t.Context()))
	require.NoError(t, two.tick(t.Context()))
	done, let := b.inTheAir(one)
	two.die()
	b.fallBack(empty)
	for range 20 {
		b.clock.advance(time.Second)
		require.NoError(t, one.tick(t.Context()))
		if one.barrier.passes() == passAll {
			break
		}
	}
	opened, attempt := one.barrier.passes(), b.held(one, "alice").Attempt
	let()
	require.Equal(t, 1, soon(t, done, "the batch").value.Refreshed)
	require.Equal(t, passAll, opened)
	require.NotNil(t, attempt, "it was back before anything was begun")
	assert.EqualValues(t, 2, b.held(one, "alice").Record.Generation)
	assert.Equal(t, 1, b.provider.most())
}

// Who stands still while the others put back what they know, and then dies, is
// inherited as well: nobody else will ever put back what he had.
func TestWhoDiesWhileOthersWaitForHimIsInherited(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy), b.node("two", lossy)
	b.put(one, "alice")
	b.settle(one, two)
	before := b.snapshot()
	_, err := one.Logout(t.Context(), "alice", Expect{})
	require.NoError(t, err)
	want := b.held(one, "alice")
	b.fallBack(before)
	for range 4 {
		b.settle(two) // one stands still
	}
	require.Equal(t, passWrites, two.barrier.passes(), "one may hold what nobody else knows")
	require.Equal(t, credential.StateActive, b.held(two, "alice").Record.State)
	one.die()
	b.settle(two)
	require.Equal(t, passAll, two.barrier.passes())
	assert.Equal(t, want.Record, b.held(two, "alice").Record)
}

// What a dead process left of one credential may be out of reach for good: its
// provider is not configured any more, or its record cannot be read. The others go
// on all the same.
func TestALeftoverHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy), b.node("two", lossy)
	b.put(one, "alice")
	b.put(two, "bob")
	b.settle(one, two)
	b.due()
	require.NoError(t, one.tick(t.Context()))
	require.NoError(t, two.tick(t.Context()))
	b.diesAfterReply(one)
	two.store.set(func(s *faultyStore) { s.spoilt = map[credential.ID]bool{"alice": true} })
	b.fallBack(b.snapshot())
	for range 4 {
		b.settle(two)
	}
	require.Equal(t, passAll, two.barrier.passes(), b.log)
	b.batch(two, "bob")
	assert.EqualValues(t, 2, b.held(two, "bob").Record.Generation)

	two.store.heal()
	b.settle(two)
	assert.EqualValues(t, 3, b.held(two, "alice").Record.Generation, "its journal has stayed")
}

// What is kept of a write, for the case that the store loses it, has the secrets
// also where the write came of an answer without them.
func TestAKeptWriteHasItsSecrets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy), b.node("two", lossy)
	b.put(one, "alice")
	b.settle(one, two)
	let := b.provider.holding()
	b.clock.advance(2 * life)
	require.NoError(t, one.tick(t.Context()))
	require.NoError(t, two.tick(t.Context()))
	done := start(func() (credential.BatchReport, error) {
		return one.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	})
	soon(t, b.provider.entered, "the exchange")
	report, err := two.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	require.NoError(t, err)
	require.Equal(t, 1, report.Advanced, "its expiry is told although its attempt is another's")
	kept := two.ledger.lately()["alice"]
	require.Len(t, kept, 1)
	assert.False(t, kept[0].After.Token.Refresh.IsZero())
	assert.NotNil(t, kept[0].After.Attempt)
	let()
	soon(t, done, "the batch")
}

// A batch that comes to a process that has just started is no failure: what is in it
// is given back once the others know of the process. Who asks is told of the start,
// and of no trouble with the store.
func TestAnOrdinaryStartIsNoTrouble(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one := b.node("one", lossy)
	b.settle(one)
	b.put(one, "alice")
	b.due()
	b.settle(one)
	claimed, err := one.store.Claim(t.Context(), 0, acme, []credential.ID{"alice"}, newNonce(), time.Minute)
	require.NoError(t, err)
	require.Len(t, claimed, 1)
	two := b.node("two", lossy)
	require.NotEqual(t, passAll, two.barrier.passes())

	report, err := two.RefreshBatch(t.Context(), acme, claimed, "")
	require.NoError(t, err)
	assert.Equal(t, credential.BatchReport{Returned: 1}, report)
	_, err = two.Refresh(t.Context(), "alice", 0)
	require.ErrorIs(t, err, errStarting)
	assert.NotContains(t, err.Error(), "cannot be reached")
	assert.Zero(t, b.provider.calls())

	b.settle(one, two)
	due, some, err := two.store.NextDue(t.Context(), 0, acme)
	require.NoError(t, err)
	assert.True(t, some)
	assert.LessOrEqual(t, due, b.clock.Now(), "it waits for no claim to run out")
	assert.Equal(t, 1, b.batch(two, "alice").Refreshed)
}
