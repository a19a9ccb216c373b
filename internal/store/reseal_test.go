package store_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
)

// rotating is a store whose keyset rotates.
type rotating struct {
	*fixture

	path string
	keys *seal.Keyset
}

func newRotating(t *testing.T, client *redis.Client, memory bool) *rotating {
	t.Helper()
	r := &rotating{path: filepath.Join(t.TempDir(), "keyset.json")}
	r.keys = r.load(t)
	s, err := store.New(t.Context(), r.options(client, r.keys, memory))
	require.NoError(t, err)
	now, err := s.Now(t.Context())
	require.NoError(t, err)
	r.fixture = &fixture{
		store: s, client: client, now: now, nonce: nonces(),
		policy: credential.Policy{RefreshAt: 0.66, Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0)},
	}
	return r
}

func (r *rotating) options(client *redis.Client, keys store.Keyset, memory bool) store.Options {
	return store.Options{
		Client: client, Keyset: keys, Owner: "self", Shards: 3, Memory: memory,
		RunID: func(context.Context) (string, error) { return "this-process", nil },
	}
}

func (r *rotating) load(t *testing.T) *seal.Keyset {
	t.Helper()
	k, _, err := seal.Open(r.path, seal.Options{})
	require.NoError(t, err)
	return k
}

func (r *rotating) rotate(t *testing.T, opts seal.RotateOptions) {
	t.Helper()
	opts.At = time.Now()
	_, _, err := seal.Rotate(r.path, opts)
	require.NoError(t, err)
}

func (r *rotating) reload(t *testing.T) {
	t.Helper()
	changed, err := r.keys.Reload(r.path, func(next *seal.Keyset) error { return r.store.Rotated(t.Context(), next) })
	require.NoError(t, err)
	require.True(t, changed)
}

func (r *rotating) apply(t *testing.T, writes ...credential.Write) {
	t.Helper()
	statuses, err := r.store.Apply(t.Context(), writes)
	require.NoError(t, err)
	for _, status := range statuses {
		require.Equal(t, credential.StatusWritten, status)
	}
}

// everything reads what Redis holds besides the sealed fields.
func (r *rotating) everything(t *testing.T, ids ...credential.ID) (held []*credential.Held, events []credential.LogEntry) {
	t.Helper()
	held, err := r.store.Load(t.Context(), ids...)
	require.NoError(t, err)
	for shard := range r.store.Shards() {
		list, err := r.store.Events(t.Context(), shard, "0", 100, 0)
		require.NoError(t, err)
		events = append(events, list...)
	}
	return held, events
}

func TestReseal(t *testing.T) {
	t.Parallel()
	for name, memory := range map[string]bool{"redis-server": false, "in the process": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resealing(t, memory)
		})
	}
}

func resealing(t *testing.T, inProcess bool) {
	t.Helper()
	open := memory
	if !inProcess {
		fresh := server(t)
		open = fresh
	}
	r, ctx := newRotating(t, open(t), inProcess), t.Context()
	ids := []credential.ID{"alice", "bob", "carol", "dave"}
	writes := make([]credential.Write, len(ids))
	for i, id := range ids {
		writes[i] = r.login(id)
	}
	data := credential.UserData(`{"name":"canary"}`)
	writes[1].SignIn, writes[1].UserData = &credential.SignIn{Username: credential.NewSecret("u"), Password: credential.NewSecret("p")}, &data
	writes[3].SignIn, writes[3].UserData = writes[1].SignIn, &data
	writes[2].Alternates = &[]credential.Alternate{
		{Nonce: r.nonce(), Generation: 1, Token: credential.Token{Access: credential.NewSecret("x"), Refresh: credential.NewSecret("y")}, IssuedAt: r.now},
	}
	r.apply(t, writes...)
	begun, err := r.store.Begin(ctx, []credential.Begin{{ID: "alice", Nonce: r.nonce(), Owner: "self", Lasts: time.Minute}})
	require.NoError(t, err)
	require.Equal(t, credential.RefusedNot, begun[0].Refusal)
	logout, err := r.store.Load(ctx, "dave")
	require.NoError(t, err)
	r.apply(t, credential.Logout(*logout[0], r.nonce(), r.now))

	found, err := r.store.Reseal(ctx, append(ids, "nobody")...)
	require.NoError(t, err)
	assert.Zero(t, found, "nothing was rotated")
	_, err = r.store.SaveSigningKeys(ctx, []byte("signing"), 0)
	require.NoError(t, err)
	r.rotate(t, seal.RotateOptions{Now: true})
	r.reload(t)
	for _, want := range []bool{true, false} {
		signing, err := r.store.ResealSigningKeys(ctx)
		require.NoError(t, err)
		assert.Equal(t, want, signing, "what is done is done")
	}
	signing, _, err := r.store.SigningKeys(ctx)
	require.NoError(t, err)
	assert.Equal(t, "signing", string(signing))
	before, events := r.everything(t, ids...)
	found, err = r.store.Reseal(ctx, append(ids, "nobody")...)
	require.NoError(t, err)
	assert.Equal(t, 3, found, "one has logged out and holds nothing")
	after, eventsAfter := r.everything(t, ids...)
	assert.Equal(t, before, after, "nothing but the seal has changed")
	assert.Equal(t, data, after[1].UserData)
	assert.Equal(t, "p", after[1].SignIn.Password.Reveal())
	assert.Equal(t, events, eventsAfter)
	found, err = r.store.Reseal(ctx, ids...)
	require.NoError(t, err)
	assert.Zero(t, found, "what is done is done")

	// What was begun before goes on.
	r.apply(t, r.install(begun[0].Held))
	held, err := r.store.Load(ctx, "alice")
	require.NoError(t, err)
	assert.Equal(t, uint64(2), held[0].Record.Generation)
	assert.True(t, r.store.SpentBefore(*held[0], credential.NewSecret("r")))

	// A rotation later, that token is still recognised as spent. A record that
	// cannot be opened keeps nobody else from being done.
	r.rotate(t, seal.RotateOptions{Now: true})
	r.reload(t)
	assert.True(t, r.store.SpentBefore(*held[0], credential.NewSecret("r")))
	for shard := range r.store.Shards() { // wherever it lies
		key := "rd:{refresh-0" + string(rune('0'+shard)) + "}:cred:bob"
		if r.client.Exists(ctx, key).Val() == 1 {
			require.NoError(t, r.client.HSet(ctx, key, "s", "canary of garbage").Err())
		}
	}
	found, err = r.store.Reseal(ctx, ids...)
	items, ok := errors.AsType[*store.ItemsError](err)
	require.True(t, ok, err)
	assert.Equal(t, []credential.ID{"bob"}, items.Failed())
	require.ErrorIs(t, err, seal.ErrCannotOpen)
	assert.NotContains(t, err.Error(), "canary")
	assert.Equal(t, 2, found)
}

// meddling seals as its keyset does, but first somebody writes the record.
type meddling struct {
	store.Keyset

	meanwhile func()
}

func (m *meddling) Seal(plain, ad []byte) ([]byte, error) {
	if meanwhile := m.meanwhile; meanwhile != nil {
		m.meanwhile = nil
		meanwhile()
	}
	return m.Keyset.Seal(plain, ad)
}

// TestResealLeavesWhatWasWrittenMeanwhile: a newer token is never replaced by
// an older one.
func TestResealLeavesWhatWasWrittenMeanwhile(t *testing.T) {
	t.Parallel()
	client := server(t)(t)
	r, ctx := newRotating(t, client, false), t.Context()
	r.apply(t, r.login("alice"))
	begun, err := r.store.Begin(ctx, []credential.Begin{{ID: "alice", Nonce: r.nonce(), Owner: "self", Lasts: time.Minute}})
	require.NoError(t, err)
	r.rotate(t, seal.RotateOptions{Now: true})
	keys := &meddling{Keyset: r.load(t)}
	other, err := store.New(ctx, r.options(client, keys, false))
	require.NoError(t, err)
	keys.meanwhile = func() { r.apply(t, r.install(begun[0].Held)) } // still with the key of before
	found, err := other.Reseal(ctx, "alice")
	require.NoError(t, err)
	assert.Equal(t, 1, found)
	held, err := other.Load(ctx, "alice")
	require.NoError(t, err)
	assert.Equal(t, "s", held[0].Token.Refresh.Reveal(), "the newer token")
	found, err = other.Reseal(ctx, "alice")
	require.NoError(t, err)
	assert.Equal(t, 1, found, "the next call finds it")
	found, err = other.Reseal(ctx, "alice")
	require.NoError(t, err)
	assert.Zero(t, found)
}

// TestCanaryFollowsTheRotation: who lacks the new primary key is refused, who
// only has not come to use it yet is not, and does not turn it back.
func TestCanaryFollowsTheRotation(t *testing.T) {
	t.Parallel()
	client := memory(t)
	r, ctx := newRotating(t, client, true), t.Context()
	described, err := store.Described(ctx, client)
	require.NoError(t, err)
	assert.True(t, described)
	start := func(keys *seal.Keyset) error {
		_, err := store.New(ctx, r.options(client, keys, true))
		return err
	}
	old := r.load(t)
	r.rotate(t, seal.RotateOptions{Stage: true})
	staged := r.load(t)
	r.reload(t)
	require.NoError(t, start(staged))
	require.NoError(t, start(old), "nothing is sealed with the staged key")

	r.rotate(t, seal.RotateOptions{Now: true})
	r.reload(t)
	for range 2 {
		require.NoError(t, start(staged)) // and changes nothing
		assert.Equal(t, r.keys.Fingerprint(), client.HGet(ctx, "rd:meta", "keyset").Val())
		err = start(old)
		refused, ok := errors.AsType[*store.KeysetError](err)
		require.True(t, ok, err)
		assert.Equal(t, r.keys.Fingerprint(), refused.Stored)
		require.NoError(t, start(r.load(t)))
	}
	err = r.store.Rotated(ctx, old)
	_, ok := errors.AsType[*store.KeysetError](err)
	require.True(t, ok, err)

	require.NoError(t, client.Del(ctx, "rd:meta").Err())
	require.NoError(t, r.store.Rotated(ctx, r.keys), "an empty Redis needs no key")
	described, err = store.Described(ctx, client)
	require.NoError(t, err)
	assert.False(t, described)
}

// TestResealOfWhatOutlivesGenerations: logins and user data are sealed anew by
// themselves, and left where a login replaced them meanwhile.
func TestResealOfWhatOutlivesGenerations(t *testing.T) {
	t.Parallel()
	client := memory(t)
	r, ctx := newRotating(t, client, true), t.Context()
	login := func(name string) credential.Login {
		return credential.Login{
			ID: "alice", Provider: "acme", Token: credential.Token{Access: credential.NewSecret("a-" + name)}, ExpiresIn: time.Hour,
			SignIn:   credential.SignIn{Username: credential.NewSecret("u-" + name), Password: credential.NewSecret("p-" + name)},
			UserData: credential.UserData(`{"name":"` + name + `"}`),
		}
	}
	r.apply(t, credential.Connect(nil, login("first"), r.policy, r.nonce(), r.now))
	loaded := func() credential.Held {
		list, err := r.store.Load(ctx, "alice")
		require.NoError(t, err)
		return *list[0]
	}
	r.rotate(t, seal.RotateOptions{Now: true})
	keys := &meddling{Keyset: r.load(t)}
	other, err := store.New(ctx, r.options(client, keys, true))
	require.NoError(t, err)
	keys.meanwhile = func() {
		first := loaded()
		r.apply(t, credential.Connect(&first, login("second"), r.policy, r.nonce(), r.now))
	}
	found, err := other.Reseal(ctx, "alice")
	require.NoError(t, err)
	assert.Equal(t, 1, found)
	h := loaded()
	assert.Equal(t, "p-second", h.SignIn.Password.Reveal())
	assert.JSONEq(t, `{"name":"second"}`, string(h.UserData))

	found, err = other.Reseal(ctx, "alice")
	require.NoError(t, err)
	assert.Equal(t, 1, found)
	key := fmt.Sprintf("rd:{refresh-%02d}:cred:alice", r.store.ShardOf("alice"))
	for _, field := range []string{"s", "l", "u"} {
		sealed, err := client.HGet(ctx, key, field).Result()
		require.NoError(t, err)
		assert.True(t, keys.Current([]byte(sealed)), field)
	}
	list, err := other.Load(ctx, "alice")
	require.NoError(t, err)
	assert.Equal(t, h.SignIn, list[0].SignIn)
	assert.Equal(t, h.UserData, list[0].UserData)
	found, err = other.Reseal(ctx, "alice")
	require.NoError(t, err)
	assert.Zero(t, found)
}

// TestResealSubscriptions: what an old key has sealed is sealed again, and is
// the same otherwise.
func TestResealSubscriptions(t *testing.T) {
	t.Parallel()
	r, ctx := newRotating(t, memory(t), true), t.Context()
	before, ok, err := r.store.SaveSubscription(ctx, store.SubscriptionRecord{Name: "ui", Content: credential.NewSecret("canary")})
	require.NoError(t, err)
	require.True(t, ok)
	found, failed, err := r.store.ResealSubscriptions(ctx)
	require.NoError(t, err)
	assert.Zero(t, found)
	assert.Empty(t, failed)
	r.rotate(t, seal.RotateOptions{Now: true})
	rotated, err := store.New(ctx, r.options(r.client, r.load(t), true))
	require.NoError(t, err)
	for _, want := range []int{1, 0} {
		found, failed, err = rotated.ResealSubscriptions(ctx)
		require.NoError(t, err)
		assert.Equal(t, want, found)
		assert.Empty(t, failed)
	}
	stored, err := rotated.SubscriptionRecords(ctx)
	require.NoError(t, err)
	assert.Equal(t, []store.SubscriptionRecord{before}, stored.Records)
}
