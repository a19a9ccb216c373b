package storetest

import (
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

func foreignTypes(b *bundle) {
	b.due("alice")
	h := b.load("alice")
	plant := func(key string) func() {
		dump := key + ":moved"
		exists, err := b.Client.Exists(b.ctx, key).Result()
		require.NoError(b, err)
		if exists == 1 {
			require.NoError(b, b.Client.Rename(b.ctx, key, dump).Err())
		}
		require.NoError(b, b.Client.LPush(b.ctx, key, "somebody else's").Err())
		return func() {
			require.NoError(b, b.Client.Del(b.ctx, key).Err())
			if exists == 1 {
				require.NoError(b, b.Client.Rename(b.ctx, dump, key).Err())
			}
		}
	}
	shard := b.store.ShardOf("alice")
	dueKey := b.key("alice", "due:"+provider)
	apply := func() error {
		_, err := b.store.Apply(b.ctx, []credential.Write{credential.Logout(h, newNonce(), b.now)})
		return err
	}
	begin := func() error {
		_, err := b.store.Begin(b.ctx, []credential.Begin{ask("alice")})
		return err
	}
	for _, tt := range []struct {
		key string
		do  func() error
	}{
		{b.key("alice", "open"), begin},
		{dueKey, begin},
		{b.key("alice", "open"), apply},
		{b.key("alice", "ids"), apply},
		{b.key("alice", "events"), apply},
		{dueKey, apply},
		{dueKey, func() error { _, err := b.store.Overdue(b.ctx, shard, provider, 0, b.now, 0, 5); return err }},
		{dueKey, func() error { _, _, err := b.store.NextDue(b.ctx, shard, provider); return err }},
		{dueKey, func() error { return b.store.Release(b.ctx, provider, []credential.ID{"alice"}, b.now) }},
		{dueKey, func() error { return b.store.Wake(b.ctx, provider, time.Minute) }},
		{dueKey, func() error { _, err := b.store.Heal(b.ctx, h, 5); return err }},
		{dueKey, func() error {
			_, err := b.store.Claim(b.ctx, shard, provider, []credential.ID{"alice"}, newNonce(), time.Hour)
			return err
		}},
		{b.key("alice", "open"), func() error { _, err := b.store.OpenOwners(b.ctx); return err }},
		{b.key("alice", "events"), func() error {
			if b.Options.Memory { // its XREAD takes a key of another type for a missing one
				_, err := b.store.LastEvent(b.ctx, shard)
				return err
			}
			_, err := b.store.Events(b.ctx, shard, "0", 5, 0)
			return err
		}},
		{b.key("alice", "events"), func() error { _, err := b.store.LastEvent(b.ctx, shard); return err }},
		{b.key("alice", "events"), func() error { _, err := b.store.TrimEvents(b.ctx, b.now); return err }},
		{b.key("alice", "trimmed"), func() error { _, err := b.store.TrimmedTo(b.ctx, shard); return err }},
		{b.key("alice", "ids"), func() error { _, _, err := b.store.List(b.ctx, store.Filter{}, "", 5); return err }},
		{b.credKey("alice"), func() error { _, err := b.store.Load(b.ctx, "alice"); return err }},
		{b.credKey("alice"), apply},
		{"rd:owners", func() error { return b.store.Beat(b.ctx, "", 0, "") }},
		{"rd:owners", func() error { _, err := b.store.Roster(b.ctx); return err }},
		{"rd:{keys}:all", func() error { _, err := b.store.ListKeys(b.ctx); return err }},
		{"rd:{permit:acme}:leases", func() error {
			_, _, _, err := b.store.Permits(b.ctx, provider, store.Limits{Concurrency: 1}, 1, time.Hour)
			return err
		}},
		{"rd:{permit:acme}:claims", func() error {
			_, _, err := b.store.ReserveClaims(b.ctx, provider, 1, 1)
			return err
		}},
		{"rd:{sub:ui}:lane:7", func() error { _, _, err := b.store.LaneTake(b.ctx, sub, lane, newNonce(), time.Second); return err }},
		{"rd:{sub:ui}:state", func() error { _, err := b.store.Subscription(b.ctx, sub); return err }},
		{"rd:{slots}:fetch:acme", func() error { _, _, err := b.store.StartSlot(b.ctx, task, 1, owner, time.Hour); return err }},
	} {
		restore := plant(tt.key)
		err := tt.do()
		wrong := new(store.WrongTypeError)
		if assert.ErrorAs(b, err, &wrong, "%s: %v", tt.key, err) {
			assert.Equal(b, tt.key, wrong.Key)
			assert.Equal(b, "list", wrong.Got)
			assert.NotContains(b, err.Error(), "somebody")
		}
		restore()
	}
	assert.Equal(b, h, b.load("alice"), "nothing was half done")
	open, err := b.store.OpenOwners(b.ctx)
	require.NoError(b, err)
	assert.Empty(b, open)

	restore := plant(b.credKey("alice"))
	defer restore()
	answer := b.begin(ask("alice"))
	require.ErrorAs(b, answer.Err, new(*store.WrongTypeError), "one of many is that one's own trouble")
}

func foreignHash(b *bundle) {
	require.NoError(b, b.Client.HSet(b.ctx, b.credKey("alice"), "mine", "hands off").Err())
	_, err := b.store.Apply(b.ctx, []credential.Write{b.login("alice", 0)})
	foreign := new(store.ForeignKeyError)
	require.ErrorAs(b, err, &foreign)
	assert.Equal(b, b.credKey("alice"), foreign.Key)
	fields, err := b.Client.HGetAll(b.ctx, b.credKey("alice")).Result()
	require.NoError(b, err)
	assert.Equal(b, map[string]string{"mine": "hands off"}, fields)
	assert.Equal(b, credential.RefusedUnknown, b.begin(ask("alice")).Refusal)
	assert.Empty(b, b.walk(""))
}

func foreignNames(b *bundle) {
	for _, name := range []string{"", "a}b", "{x", "a b", "a\n", "ü", strings.Repeat("x", 129)} {
		named := new(store.NameError)
		_, err := b.store.Overdue(b.ctx, 0, name, 0, 1, 0, 1)
		require.ErrorAs(b, err, &named, name)
		require.ErrorAs(b, b.store.Release(b.ctx, name, []credential.ID{"x"}, 1), &named, name)
		require.ErrorAs(b, b.store.Wake(b.ctx, name, time.Second), &named, name)
		_, _, err = b.store.LaneTake(b.ctx, name, 0, newNonce(), time.Second)
		require.ErrorAs(b, err, &named, name)
		_, _, _, err = b.store.Permits(b.ctx, name, store.Limits{Concurrency: 1}, 1, time.Second)
		require.ErrorAs(b, err, &named, name)
		_, _, err = b.store.ReserveClaims(b.ctx, name, 1, 1)
		require.ErrorAs(b, err, &named, name)
		require.ErrorAs(b, b.store.SettleClaims(b.ctx, name, "x", 1), &named, name)
		require.ErrorAs(b, b.store.ClaimsDone(b.ctx, name, "x", 1), &named, name)
		_, _, err = b.store.StartSlot(b.ctx, name, 1, owner, time.Second)
		require.ErrorAs(b, err, &named, name)
		r := ask("alice")
		r.Owner = name
		_, err = b.store.Begin(b.ctx, []credential.Begin{r})
		require.ErrorAs(b, err, &named, name)
	}
}
