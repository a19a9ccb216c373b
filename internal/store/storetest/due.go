package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

func all() *redis.ZRangeBy { return &redis.ZRangeBy{Min: "-inf", Max: "+inf"} }

func member(id credential.ID, at credential.Millis) redis.Z {
	return redis.Z{Member: string(id), Score: float64(at)}
}

// inShard returns n IDs of shard 0.
func (b *bundle) inShard(n int) []credential.ID {
	var list []credential.ID
	for _, id := range ids(64 * n) {
		if b.store.ShardOf(id) == 0 && len(list) < n {
			list = append(list, id)
		}
	}
	return list
}

func dueOverdue(b *bundle) {
	list := b.inShard(6)
	for i, id := range list {
		b.due(id)
		b.setScore(id, b.now.Add(-time.Duration(i)*time.Minute))
	}
	b.setScore(list[0], b.now.Add(time.Hour))
	want := slices.Clone(list[1:])
	slices.Reverse(want)
	found := b.overdue()
	assert.Equal(b, want, overdueIDs(found))
	for i, o := range found {
		assert.Equal(b, b.now.Add(time.Duration(i-5)*time.Minute), o.Due)
		assert.Equal(b, b.load(o.ID).Record.ExpiresAt, o.ExpiresAt)
	}

	// Page by page, also of those that are due at the same moment.
	for _, id := range list[1:] {
		b.setScore(id, b.now)
	}
	slices.Sort(want)
	for skip := range 6 {
		page, err := b.store.Overdue(b.ctx, 0, provider, b.now, b.now, skip, 2)
		require.NoError(b, err)
		assert.Equal(b, want[skip:min(skip+2, 5)], overdueIDs(page))
	}
	for _, never := range [][2]credential.Millis{{0, b.now - 1}, {b.now + 1, b.now.Add(time.Hour) - 1}, {b.now, b.now - 1}} {
		page, err := b.store.Overdue(b.ctx, 0, provider, never[0], never[1], 0, 10)
		require.NoError(b, err)
		assert.Empty(b, page)
	}
	page, err := b.store.Overdue(b.ctx, 0, "nobody", 0, b.now, 0, 3)
	require.NoError(b, err)
	assert.Empty(b, page)
	_, err = b.store.Overdue(b.ctx, b.store.Shards(), provider, 0, b.now, 0, 3)
	require.Error(b, err)
	require.Error(b, b.store.Expiries(b.ctx, b.store.Shards(), found))
	lost := []credential.Overdue{{ID: "nobody", Due: 1}}
	require.NoError(b, b.store.Expiries(b.ctx, b.store.ShardOf("nobody"), lost))
	assert.Equal(b, []credential.Overdue{{ID: "nobody", Due: 1}}, lost)
}

// overdue returns what is overdue in shard 0, with what the records say.
func (b *bundle) overdue() []credential.Overdue {
	b.Helper()
	now, err := b.store.Now(b.ctx)
	require.NoError(b, err)
	list, err := b.store.Overdue(b.ctx, 0, provider, 0, now, 0, 100)
	require.NoError(b, err)
	require.NoError(b, b.store.Expiries(b.ctx, 0, list))
	return list
}

// dueClocks: of each is told when time alone brings something, where anything
// can be.
func dueClocks(b *bundle) {
	list := b.inShard(3)
	over := list[0]
	for _, id := range list {
		b.due(id)
		b.setScore(id, b.now)
	}
	b.apply(credential.Logout(b.load(over), newNonce(), b.now))
	b.setScore(over, b.now)
	found := b.overdue()
	require.Len(b, found, len(list))
	for _, o := range found {
		r := b.load(o.ID).Record
		assert.Equal(b, r.Clock(), o.Clock)
		assert.False(b, o.Session)
		assert.Equal(b, o.ID == over, o.Clock == 0, "a record that is left over has none")
	}
}

func overdueIDs(list []credential.Overdue) []credential.ID {
	ids := make([]credential.ID, len(list))
	for i, o := range list {
		ids[i] = o.ID
	}
	return ids
}

func (b *bundle) claim(list []credential.ID, nonce credential.Nonce, hold time.Duration) []credential.ID {
	b.Helper()
	claimed, err := b.store.Claim(b.ctx, 0, provider, list, nonce, hold)
	require.NoError(b, err)
	return claimed
}

func dueClaim(b *bundle) {
	list := b.inShard(4)
	for _, id := range list[:3] {
		b.due(id)
	}
	b.setScore(list[2], b.now.Add(time.Hour))
	assert.Equal(b, list[:2], b.claim(list, newNonce(), time.Minute), "neither what is not due nor what is not there")
	score, _ := b.score(list[0])
	assert.GreaterOrEqual(b, score, b.now.Add(time.Minute))
	b.requireScore(b.now.Add(time.Hour), list[2])
	assert.Empty(b, b.claim(list, newNonce(), time.Minute))
	assert.Empty(b, b.claim(nil, newNonce(), time.Minute))
}

func dueClaimTwice(b *bundle) {
	list := b.inShard(3)
	for _, id := range list {
		b.due(id)
	}
	nonce := newNonce()
	first := b.claim(list, nonce, time.Minute)
	assert.Equal(b, list, first)
	score, _ := b.score(list[0])
	assert.Equal(b, first, b.claim(list, nonce, time.Minute), "the reply was lost, the claim was not")
	b.requireScore(score, list[0])
}

func dueClaimRace(b *bundle) {
	list := b.inShard(60)
	for _, id := range list {
		b.due(id)
	}
	var mu sync.Mutex
	times := map[credential.ID]int{}
	b.atOnce(12, func(i int) error {
		part := append(slices.Clone(list[5*i:]), list[:5*i]...)
		claimed, err := b.store.Claim(b.ctx, 0, provider, part[:30], newNonce(), time.Hour)
		mu.Lock()
		defer mu.Unlock()
		for _, id := range claimed {
			times[id]++
		}
		return err
	})
	assert.Len(b, times, len(list))
	for id, n := range times {
		assert.Equal(b, 1, n, "%s was handed out more than once", id)
	}
}

func dueClaimEnds(b *bundle) {
	list := b.inShard(1)
	b.due(list[0])
	assert.Equal(b, list, b.claim(list, newNonce(), 5*time.Millisecond))
	b.eventually(func() bool {
		return len(b.claim(list, newNonce(), time.Hour)) == 1
	}, "the claim of somebody who died")
}

func dueRelease(b *bundle) {
	list := b.inShard(6)
	claimed, open, fresh, out, moved, gone := list[0], list[1], list[2], list[3], list[4], list[5]
	for _, id := range []credential.ID{claimed, open, out} {
		b.due(id)
	}
	rested := b.fresh(fresh)
	attempt := b.begun(open).Attempt
	b.apply(credential.Logout(b.load(out), newNonce(), b.now))
	b.apply(credential.Connect(nil, credential.Login{ID: moved, Provider: "other", Token: token("x")}, b.policy, newNonce(), b.now))
	for _, id := range list {
		b.setScore(id, b.now.Add(5*time.Second))
	}
	at := b.now.Add(700 * time.Millisecond)
	require.NoError(b, b.store.Release(b.ctx, provider, list, at))
	b.requireScore(at, claimed)
	b.requireScore(attempt.Deadline, open)
	b.requireScore(rested.Record.RefreshAt, fresh)
	for _, id := range []credential.ID{out, moved, gone} {
		_, ok := b.score(id)
		assert.False(b, ok, id)
	}
	require.NoError(b, b.store.Release(b.ctx, provider, nil, at))

	// Without a moment each has its place again.
	require.NoError(b, b.store.Release(b.ctx, provider, list, 0))
	right := credential.NextDue(b.load(claimed).Record, nil)
	require.LessOrEqual(b, right, b.now)
	b.requireScore(right, claimed)
	b.requireScore(attempt.Deadline, open)
	b.requireScore(rested.Record.RefreshAt, fresh)
	_, ok := b.score(out)
	assert.False(b, ok)
}

// What rests has its place again, however many rest until the same moment.
func dueWake(b *bundle) {
	list := b.inShard(1100) // more than are put back at once
	resting, others := list[:1096], list[1096:]
	writes := make([]credential.Write, len(resting))
	scores := make([]redis.Z, len(resting))
	for i, id := range resting {
		writes[i] = b.login(id, 50*time.Minute)
		rest := b.now.Add(10 * time.Minute)
		if i%3 == 0 {
			rest = b.now.Add(6*time.Minute + time.Duration(i)*time.Millisecond)
		}
		scores[i] = member(id, rest)
	}
	b.apply(writes...)
	open, fresh, gone, beyond := others[0], others[1], others[2], others[3]
	b.due(open)
	attempt := b.begun(open).Attempt
	rested := b.fresh(fresh)
	b.due(beyond)
	for _, id := range others[:3] {
		scores = append(scores, member(id, b.now.Add(6*time.Minute)))
	}
	scores = append(scores, member(beyond, b.now.Add(time.Hour)))
	index := b.key(open, "due:"+provider)
	require.NoError(b, b.Client.ZAdd(b.ctx, index, scores...).Err())

	require.NoError(b, b.store.Wake(b.ctx, provider, 15*time.Minute))
	found, err := b.Client.ZRangeWithScores(b.ctx, index, 0, -1).Result()
	require.NoError(b, err)
	got := map[string]credential.Millis{}
	for _, z := range found {
		got[fmt.Sprint(z.Member)] = credential.Millis(z.Score)
	}
	want := map[string]credential.Millis{
		string(open): attempt.Deadline, string(fresh): rested.Record.RefreshAt, string(beyond): b.now.Add(time.Hour),
	}
	for i, id := range resting {
		want[string(id)] = writes[i].Due
		require.LessOrEqual(b, writes[i].Due, b.now)
	}
	assert.Equal(b, want, got, "and %s is taken out", gone)
	require.NoError(b, b.store.Wake(b.ctx, "nobody", 15*time.Minute))
}

func dueHeal(b *bundle) {
	h := b.fresh("alice")
	right := credential.NextDue(h.Record, nil)
	heal := func(h credential.Held, due credential.Millis) bool {
		suspects, err := b.store.Suspects(b.ctx, provider, []credential.Held{h}, []credential.Millis{due}, b.now)
		require.NoError(b, err)
		wrong, err := b.store.Heal(b.ctx, h, due)
		require.NoError(b, err)
		assert.Equal(b, []bool{wrong}, suspects, "what is suspected is what is healed")
		return wrong
	}
	assert.False(b, heal(h, right), "nothing is wrong")
	require.NoError(b, b.Client.Del(b.ctx, b.key("alice", "due:"+provider), b.key("alice", "ids")).Err())
	assert.True(b, heal(h, right))
	b.requireScore(right, "alice")
	assert.False(b, heal(h, right))
	b.setScore("alice", right+1000000)
	assert.True(b, heal(h, right))
	b.requireScore(right, "alice")
	listed, err := b.Client.ZRange(b.ctx, b.key("alice", "ids"), 0, -1).Result()
	require.NoError(b, err)
	assert.Equal(b, []string{"alice"}, listed)

	assert.True(b, heal(h, 0))
	_, ok := b.score("alice")
	assert.False(b, ok)
	assert.False(b, heal(h, 0))

	late := b.due("late")
	b.setScore("late", b.now.Add(5*time.Second))
	assert.False(b, heal(late, late.Record.RefreshAt), "a claim is left alone")
	b.setScore("late", b.now.Add(time.Hour))
	assert.True(b, heal(late, late.Record.RefreshAt))

	late = b.begun("late")
	deadline := credential.NextDue(late.Record, late.Attempt)
	b.setScore("late", b.now.Add(5*time.Second))
	assert.False(b, heal(late, deadline), "early enough for an open attempt")
	b.setScore("late", b.now.Add(time.Hour))
	assert.True(b, heal(late, deadline))
	b.requireScore(deadline, "late")
}

func dueHealMoved(b *bundle) {
	stale := b.fresh("alice")
	attempt := b.forceBegun("alice").Attempt
	wrong, err := b.store.Heal(b.ctx, stale, stale.Record.RefreshAt)
	require.NoError(b, err)
	assert.False(b, wrong, "an attempt was opened since")
	b.requireScore(attempt.Deadline, "alice")
	stale = b.load("alice")
	b.apply(credential.Abandon(stale, *stale.Attempt, credential.BySchedule, b.now))
	before, _ := b.score("alice")
	wrong, err = b.store.Heal(b.ctx, stale, 0)
	require.NoError(b, err)
	assert.False(b, wrong, "the record was written since")
	b.requireScore(before, "alice")
	wrong, err = b.store.Heal(b.ctx, credential.Held{Record: credential.Record{ID: "nobody", Provider: provider, Revision: 1}}, 5)
	require.NoError(b, err)
	assert.False(b, wrong)
}

func dueNext(b *bundle) {
	_, ok, err := b.store.NextDue(b.ctx, 0, provider)
	require.NoError(b, err)
	assert.False(b, ok)
	list := b.inShard(2)
	b.fresh(list[0])
	b.fresh(list[1])
	b.setScore(list[1], b.now+77)
	next, ok, err := b.store.NextDue(b.ctx, 0, provider)
	require.NoError(b, err)
	assert.True(b, ok)
	assert.Equal(b, b.now+77, next)
}

func dueProviders(b *bundle) {
	found, err := b.store.DueProviders(b.ctx)
	require.NoError(b, err)
	assert.Empty(b, found)
	list := ids(12) // over all shards
	for _, id := range list {
		b.fresh(id)
	}
	moved, out, gone := list[0], list[1], list[2]
	b.apply(credential.Connect(nil, credential.Login{ID: "elsewhere", Provider: "left", Token: token("x")}, b.policy, newNonce(), b.now))
	b.apply(credential.Connect(new(b.load(moved)), credential.Login{ID: moved, Provider: "other", Token: token("x")}, b.policy, newNonce(), b.now))
	b.apply(credential.Logout(b.load(out), newNonce(), b.now), credential.Delete(b.load(gone), newNonce(), b.now))
	refused := credential.Outcome{Class: credential.ClassOperator, Reason: credential.ReasonClientMisconfigured}
	for _, name := range []string{"left", "client-alone"} {
		b.apply(credential.Trip(nil, name, "elsewhere", refused, newNonce(), b.now))
	}
	require.NoError(b, b.Client.ZAdd(b.ctx, b.key(out, "due:of {another} program"), member("x", 1)).Err())

	found, err = b.store.DueProviders(b.ctx)
	require.NoError(b, err)
	assert.Equal(b, []string{provider, "left", "other"}, found)
	counts, err := b.store.DueCounts(b.ctx, "left", "nobody", provider, "other")
	require.NoError(b, err)
	assert.Equal(b, []int{1, 0, len(list) - 3, 1}, counts)
	counts, err = b.store.DueCounts(b.ctx)
	require.NoError(b, err)
	assert.Empty(b, counts)
	_, err = b.store.DueCounts(b.ctx, "no name")
	require.Error(b, err)
}

// More keys than are looked at at once hide no index, and whoever gives up waiting
// is let go.
func dueProvidersAmongMany(b *bundle) {
	pipe := b.Client.Pipeline()
	for i := range 3000 {
		pipe.Set(b.ctx, fmt.Sprintf("other:{%d}:due:x", i), "", 0)
	}
	_, err := pipe.Exec(b.ctx)
	require.NoError(b, err)
	for _, id := range ids(8) {
		b.apply(credential.Connect(nil, credential.Login{ID: id, Provider: "of-" + string(id), Token: token("x")}, b.policy, newNonce(), b.now))
	}
	found, err := b.store.DueProviders(b.ctx)
	require.NoError(b, err)
	assert.Len(b, found, 8)
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	_, err = b.store.DueProviders(ctx)
	require.ErrorIs(b, err, context.Canceled)
}

func openByOwner(b *bundle) {
	for i, id := range ids(10) {
		b.due(id)
		r := ask(id)
		if i%2 == 0 {
			r.Owner = "owner-2"
		}
		require.Equal(b, credential.RefusedNot, b.begin(r).Refusal)
	}
	owners, err := b.store.OpenOwners(b.ctx)
	require.NoError(b, err)
	require.Len(b, owners, 2)
	got := owners["owner-2"]
	slices.Sort(got)
	assert.Equal(b, []credential.ID{"user-0000", "user-0002", "user-0004", "user-0006", "user-0008"}, got)
	assert.Len(b, owners[owner], 5)
}

func ownersBeat(b *bundle) {
	for range 3 {
		require.NoError(b, b.store.Beat(b.ctx, "run-1 run-2", 4, "run-3"))
		require.NoError(b, b.store.NextRound(b.ctx))
	}
	roster, err := b.store.Roster(b.ctx)
	require.NoError(b, err)
	assert.Equal(b, credential.Roster{
		Members: map[string]credential.Member{b.Options.Owner: {Beat: 3, Ready: "run-1 run-2", Round: 4, Waiting: "run-3"}}, Round: 3,
		Inherited: map[string]string{},
	}, roster)
	require.NoError(b, b.store.Inherited(b.ctx, b.Options.Owner, "run-1"))
	roster, err = b.store.Roster(b.ctx)
	require.NoError(b, err)
	assert.Equal(b, credential.Roster{Members: map[string]credential.Member{}, Round: 3, Inherited: map[string]string{b.Options.Owner: "run-1"}}, roster)
	require.NoError(b, b.store.Settle(b.ctx, "run-1", 2))
	roster, err = b.store.Roster(b.ctx)
	require.NoError(b, err)
	assert.Empty(b, roster.Settled, "another round was counted since")
	require.NoError(b, b.store.Settle(b.ctx, "run-1", 3))
	require.NoError(b, b.store.Beat(b.ctx, "", 0, ""))
	require.NoError(b, b.store.Forget(b.ctx, b.Options.Owner))
	roster, err = b.store.Roster(b.ctx)
	require.NoError(b, err)
	assert.Equal(b, credential.Roster{Members: map[string]credential.Member{}, Settled: "run-1", Round: 3, Inherited: map[string]string{}}, roster)

	other := b.open(func(o *store.Options) { o.Owner, o.Place = "elsewhere", "place-9" })
	require.NoError(b, other.Beat(b.ctx, "", 0, ""))
	roster, err = b.store.Roster(b.ctx)
	require.NoError(b, err)
	assert.Equal(b, map[string]credential.Member{"elsewhere": {Beat: 1, Place: "place-9"}}, roster.Members)

	require.NoError(b, b.store.Introduce(b.ctx, "elsewhere", "another"))
	require.NoError(b, b.store.Introduce(b.ctx, "stopped", "place-9"))
	require.NoError(b, b.store.Introduce(b.ctx, "without", ""))
	roster, err = b.store.Roster(b.ctx)
	require.NoError(b, err)
	assert.Equal(b, map[string]credential.Member{"elsewhere": {Beat: 1, Place: "place-9"}, "stopped": {Place: "place-9"}, "without": {}}, roster.Members)

	require.NoError(b, other.StandIn(b.ctx, "run-4"))
	require.NoError(b, other.StandIn(b.ctx, "run-4", "stopped"))
	roster, err = b.store.Roster(b.ctx)
	require.NoError(b, err)
	assert.Equal(b, credential.Member{Place: "place-9", Waiting: "run-4"}, roster.Members["stopped"])
}
