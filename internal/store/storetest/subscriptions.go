package storetest

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

const subsKey = "rd:{subs}:all"

// subscribe saves a new one and returns it.
func (b *bundle) subscribe(name, content string) store.SubscriptionRecord {
	b.Helper()
	saved, ok, err := b.store.SaveSubscription(b.ctx, store.SubscriptionRecord{Name: name, Content: credential.NewSecret(content)})
	require.NoError(b, err)
	require.True(b, ok)
	return saved
}

func (b *bundle) subscribed() store.SubscriptionRecords {
	b.Helper()
	found, err := b.store.SubscriptionRecords(b.ctx)
	require.NoError(b, err)
	revision, err := b.store.SubscriptionsRevision(b.ctx)
	require.NoError(b, err)
	require.Equal(b, found.Revision, revision)
	return found
}

// Every change is seen by its revision, and nothing of the content is readable
// past the store.
func subsStored(b *bundle) {
	assert.Empty(b, b.subscribed().Records)
	first := b.subscribe("ui", "whsec-canary one")
	assert.Equal(b, uint64(1), first.Version)
	assert.InDelta(b, float64(b.clock()), float64(first.CreatedAt), float64(time.Minute.Milliseconds()))
	b.subscribe("audit", "another")
	before := b.subscribed().Revision

	_, ok, err := b.store.SaveSubscription(b.ctx, store.SubscriptionRecord{Name: "ui", Content: credential.NewSecret("a second")})
	require.NoError(b, err)
	assert.False(b, ok, "there is one")
	assert.Equal(b, before, b.subscribed().Revision, "nothing has changed")

	second, ok, err := b.store.SaveSubscription(b.ctx, store.SubscriptionRecord{Name: "ui", Version: 1, CreatedAt: first.CreatedAt, Content: credential.NewSecret("whsec-canary two")})
	require.NoError(b, err)
	require.True(b, ok)
	found := b.subscribed()
	assert.Greater(b, found.Revision, before)
	require.Len(b, found.Records, 2)
	assert.Equal(b, second, found.Records[1])
	assert.Equal(b, "whsec-canary two", found.Records[1].Content.Reveal())
	raw, err := b.Client.HGet(b.ctx, subsKey, "ui").Result()
	require.NoError(b, err)
	assert.NotContains(b, raw, "canary")

	made, err := b.store.RemoveSubscription(b.ctx, "ui", 1)
	require.NoError(b, err)
	assert.Zero(b, made, "it is of version 2")
	for range 2 { // the second time is a call whose reply was lost
		made, err = b.store.RemoveSubscription(b.ctx, "ui", 2)
		require.NoError(b, err)
		assert.Equal(b, first.CreatedAt, made)
	}
	found = b.subscribed()
	assert.Len(b, found.Records, 1)
	assert.Contains(b, found.Deleted, "ui")
	require.NoError(b, b.store.ForgetSubscription(b.ctx, "ui"))
	assert.Empty(b, b.subscribed().Deleted)
	assert.Greater(b, b.subscribed().Revision, found.Revision)

	_, _, err = b.store.SaveSubscription(b.ctx, store.SubscriptionRecord{Name: "#revision"})
	require.ErrorAs(b, err, new(*store.NameError))
	_, _, err = b.store.SaveSubscription(b.ctx, store.SubscriptionRecord{Name: "a{b}"})
	require.ErrorAs(b, err, new(*store.NameError))
}

// subsRestored: what was done with a subscription comes back, unless somebody has
// done something else since, whoever looks first.
func subsRestored(b *bundle) {
	first := b.subscribe("ui", "first")
	second, ok, err := b.store.SaveSubscription(b.ctx, store.SubscriptionRecord{Name: "ui", Version: 1, CreatedAt: first.CreatedAt, Content: credential.NewSecret("second")})
	require.NoError(b, err)
	require.True(b, ok)
	restored := func(want bool, r store.SubscriptionRecord) {
		b.Helper()
		before := b.subscribed().Revision
		lost, err := b.store.RestoreSubscription(b.ctx, r)
		require.NoError(b, err)
		assert.Equal(b, want, lost)
		assert.Equal(b, want, b.subscribed().Revision > before+100, "no number that was seen before")
	}
	removed := func(want bool) {
		b.Helper()
		lost, err := b.store.RemoveSubscriptionAgain(b.ctx, "ui", first.CreatedAt)
		require.NoError(b, err)
		assert.Equal(b, want, lost)
	}
	lost := func() { require.NoError(b, b.Client.Del(b.ctx, subsKey, "rd:{subs}:removed:ui").Err()) }
	stored := func(want ...store.SubscriptionRecord) {
		b.Helper()
		assert.Equal(b, want, b.subscribed().Records)
	}
	restored(false, first)
	restored(false, second)
	lost()
	restored(true, first)
	restored(true, second)
	restored(false, first)
	stored(second)

	made, err := b.store.RemoveSubscription(b.ctx, "ui", second.Version)
	require.NoError(b, err)
	require.Equal(b, first.CreatedAt, made)
	restored(false, second)
	lost()
	restored(true, first)
	removed(true)
	restored(false, second)
	assert.Contains(b, b.subscribed().Deleted, "ui", "what its lanes hold is removed after a while")
	lost()
	removed(false)
	restored(false, second)

	later := store.SubscriptionRecord{
		Name: "ui", Version: 1, CreatedAt: first.CreatedAt + 1, UpdatedAt: first.CreatedAt + 1, Content: credential.NewSecret("another of that name"),
	}
	restored(true, later)
	removed(false)
	restored(false, second)
	stored(later)
	lost()
	restored(true, second)
	restored(true, later)
	stored(later)
}

func subsRace(b *bundle) {
	b.subscribe("ui", "first")
	var won atomic.Int32
	b.atOnce(10, func(int) error {
		_, ok, err := b.store.SaveSubscription(b.ctx, store.SubscriptionRecord{Name: "ui", Version: 1, Content: credential.NewSecret("next")})
		if ok {
			won.Add(1)
		}
		return err
	})
	assert.Equal(b, int32(1), won.Load())
	assert.Equal(b, uint64(2), b.subscribed().Records[0].Version)
}

// A record that cannot be read hides no other one.
func subsUnreadable(b *bundle) {
	b.subscribe("ui", "readable")
	b.subscribe("other", "moved")
	moved, err := b.Client.HGet(b.ctx, subsKey, "other").Result()
	require.NoError(b, err)
	for _, bad := range []string{"", "1 2 3", "x 2 3 sealed", "1 2 3 sealed", "2" + moved[1:], moved} { // the last is another one's
		require.NoError(b, b.Client.HSet(b.ctx, subsKey, "bad", bad).Err())
		found, err := b.store.SubscriptionRecords(b.ctx)
		corrupt := &store.CorruptError{}
		require.ErrorAs(b, err, &corrupt, bad)
		assert.Equal(b, "bad", corrupt.Field)
		assert.Len(b, found.Records, 2)
	}
	require.NoError(b, b.Client.HSet(b.ctx, subsKey, "bad", "1 2 3 sealed by nobody").Err())
	resealed, failed, err := b.store.ResealSubscriptions(b.ctx)
	require.NoError(b, err)
	assert.Zero(b, resealed)
	assert.Equal(b, []string{"bad"}, failed)
	require.NoError(b, b.Client.Del(b.ctx, subsKey).Err())
	require.NoError(b, b.Client.Set(b.ctx, subsKey, "somebody else's", 0).Err())
	_, err = b.store.SubscriptionRecords(b.ctx)
	require.ErrorAs(b, err, new(*store.WrongTypeError))
	_, err = b.store.SubscriptionsRevision(b.ctx)
	require.ErrorAs(b, err, new(*store.WrongTypeError))
}

// Whoever holds a lane of a subscription that is stopped has lost it; what is
// turned off can be enabled, what is deleted can be forgotten.
func subsStopped(b *bundle) {
	require.NoError(b, b.store.TurnOff(b.ctx, sub), "never started")
	from := slices.Repeat([]string{"0"}, b.store.Shards())
	_, err := b.store.StartSubscription(b.ctx, sub, from)
	require.NoError(b, err)
	holder := newNonce()
	_, taken := b.take(holder, time.Minute)
	require.True(b, taken)
	require.NoError(b, b.store.TurnOff(b.ctx, sub))
	_, taken = b.take(holder, time.Minute)
	assert.False(b, taken, "also not for its holder")
	state, err := b.store.Subscription(b.ctx, sub)
	require.NoError(b, err)
	assert.True(b, state.Disabled)
	assert.Equal(b, store.ReasonOff, state.Reason)
	assert.Positive(b, state.Since)
	require.NoError(b, b.store.ForgetSubscription(b.ctx, sub))
	require.NoError(b, b.store.Enable(b.ctx, sub))
	state, err = b.store.Subscription(b.ctx, sub)
	require.NoError(b, err)
	assert.False(b, state.Disabled)
	_, taken = b.take(newNonce(), time.Minute)
	require.True(b, taken, "nobody holds it")

	b.subscribe(sub, "it")
	made, err := b.store.RemoveSubscription(b.ctx, sub, 1)
	require.NoError(b, err)
	require.NotZero(b, made)
	require.NoError(b, b.store.TurnOff(b.ctx, sub))
	state, err = b.store.Subscription(b.ctx, sub)
	require.NoError(b, err)
	assert.Equal(b, store.ReasonDeleted, state.Reason, "it stays so")
	require.NoError(b, b.store.ForgetSubscription(b.ctx, sub))
	keys, err := b.Client.Keys(b.ctx, "rd:{sub:"+sub+"}:*").Result()
	require.NoError(b, err)
	assert.Empty(b, keys)
}
