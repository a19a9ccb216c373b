package storetest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

func keysLife(b *bundle) {
	spec := store.KeySpec{Name: "the UI", Scopes: []string{"token:read", "event:read"}, Prefix: "ui-"}
	hash := sha256.Sum256([]byte("one"))
	key, err := b.store.AddKey(b.ctx, hash, spec)
	require.NoError(b, err)
	assert.Equal(b, spec, key.KeySpec)
	assert.Equal(b, hex.EncodeToString(hash[:8]), key.ID)
	assert.GreaterOrEqual(b, key.CreatedAt, b.now)
	found, err := b.store.KeyByHash(b.ctx, hash)
	require.NoError(b, err)
	assert.Equal(b, key, found)
	second, err := b.store.AddKey(b.ctx, sha256.Sum256([]byte("two")), store.KeySpec{Name: "another", Scopes: []string{"admin"}})
	require.NoError(b, err)
	list, err := b.store.ListKeys(b.ctx)
	require.NoError(b, err)
	require.Len(b, list, 2)
	assert.Contains(b, list, key)
	assert.Contains(b, list, second)

	require.NoError(b, b.store.RevokeKey(b.ctx, key.ID))
	_, err = b.store.KeyByHash(b.ctx, hash)
	require.ErrorIs(b, err, store.ErrKeyNotFound)
	require.ErrorIs(b, b.store.RevokeKey(b.ctx, key.ID), store.ErrKeyNotFound)
	for _, id := range []string{"", second.ID[:15], "*"} {
		require.ErrorIs(b, b.store.RevokeKey(b.ctx, id), store.ErrKeyNotFound)
	}
	_, err = b.store.AddKey(b.ctx, hash, store.KeySpec{Name: "does nothing"})
	require.Error(b, err)
	_, err = b.store.AddKey(b.ctx, hash, store.KeySpec{Scopes: []string{"admin"}})
	require.Error(b, err)
}

// keysRestored: what was done with a key comes back, and a revoked one does not,
// whoever looks first.
func keysRestored(b *bundle) {
	hash := sha256.Sum256([]byte("one"))
	key, err := b.store.AddKey(b.ctx, hash, store.KeySpec{Name: "phone", Scopes: []string{"token:read"}, Subject: "u1"})
	require.NoError(b, err)
	restored := func(want bool) {
		b.Helper()
		lost, err := b.store.RestoreKey(b.ctx, hash, key)
		require.NoError(b, err)
		assert.Equal(b, want, lost)
	}
	revoked := func(want bool) {
		b.Helper()
		lost, err := b.store.RevokeKeyAgain(b.ctx, key.ID)
		require.NoError(b, err)
		assert.Equal(b, want, lost)
		_, err = b.store.KeyByHash(b.ctx, hash)
		require.ErrorIs(b, err, store.ErrKeyNotFound)
	}
	lost := func() { require.NoError(b, b.Client.Del(b.ctx, "rd:{keys}:all", "rd:{keys}:revoked:"+key.ID).Err()) }
	restored(false)
	lost()
	restored(true)
	found, err := b.store.KeyByHash(b.ctx, hash)
	require.NoError(b, err)
	assert.Equal(b, key, found)

	require.NoError(b, b.store.RevokeKey(b.ctx, key.ID))
	restored(false)
	lost()
	restored(true)
	revoked(true)
	restored(false)
	lost()
	revoked(false)
	restored(false)
	revoked(false)
}

func keysUnreadable(b *bundle) {
	hash := sha256.Sum256([]byte("one"))
	_, err := b.store.AddKey(b.ctx, hash, store.KeySpec{Name: "x", Scopes: []string{"admin"}})
	require.NoError(b, err)
	field := hex.EncodeToString(hash[:])
	require.NoError(b, b.Client.HSet(b.ctx, "rd:{keys}:all", field, "garbage").Err())
	corrupt := new(store.CorruptError)
	_, err = b.store.KeyByHash(b.ctx, hash)
	require.ErrorAs(b, err, &corrupt)
	assert.Equal(b, field[:16], corrupt.Field, "the key's ID, not its hash")
	_, err = b.store.ListKeys(b.ctx)
	require.ErrorAs(b, err, &corrupt)
}

// noSecrets: whatever is done, no token can be read in Redis or in an error.
func noSecrets(b *bundle) {
	const needle = "s3cr3t"
	secret := credential.Token{Access: credential.NewSecret("access-" + needle), Refresh: credential.NewSecret("refresh-" + needle), Scope: "a"}
	login := credential.Login{
		ID: "alice", Provider: provider, Token: secret, ExpiresIn: time.Hour,
		SignIn:   credential.SignIn{Username: credential.NewSecret("user-" + needle), Password: credential.NewSecret("password-" + needle)},
		UserData: credential.UserData(`{"mail":"` + needle + `"}`),
	}
	b.apply(credential.Connect(nil, login, b.policy, newNonce(), b.now.Add(-50*time.Minute)))
	h := b.begun("alice")
	b.apply(credential.KeepAlternate(h, credential.Alternate{Nonce: newNonce(), Generation: 1, Token: secret}, newNonce(), b.now))
	b.apply(b.install(b.load("alice"), token("next-"+needle)))
	keys, err := b.Client.Keys(b.ctx, "*").Result()
	require.NoError(b, err)
	require.NotEmpty(b, keys)
	for _, key := range keys {
		var content any
		switch kind := b.Client.Type(b.ctx, key).Val(); kind {
		case "hash":
			content = b.Client.HGetAll(b.ctx, key).Val()
		case "zset":
			content = b.Client.ZRange(b.ctx, key, 0, -1).Val()
		case "stream":
			content = b.Client.XRange(b.ctx, key, "-", "+").Val()
		default:
			content = b.Client.Get(b.ctx, key).Val()
		}
		assert.NotContains(b, fmt.Sprint(content), needle, key)
	}
	for _, field := range []string{"u", "l", "s"} {
		require.NoError(b, b.Client.HSet(b.ctx, b.credKey("alice"), field, "not "+needle).Err())
		_, err = b.store.Load(b.ctx, "alice")
		require.Error(b, err)
		assert.NotContains(b, err.Error(), needle)
	}
	require.NoError(b, b.Client.HSet(b.ctx, b.credKey("alice"), "h", needle, "o", needle).Err())
	_, err = b.store.Load(b.ctx, "alice")
	require.Error(b, err)
	assert.NotContains(b, err.Error(), needle)
}
