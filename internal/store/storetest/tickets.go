package storetest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/store"
)

// keysSubject: the limit to a subject comes back, and a version that does not
// know of it finds a key that may do nothing.
func keysSubject(b *bundle) {
	spec := store.KeySpec{Name: "a phone", Scopes: []string{"token:read", "event:read"}, Prefix: "app:", Subject: `u-42 "Ä"`}
	hash := sha256.Sum256([]byte("one"))
	key, err := b.store.AddKey(b.ctx, hash, spec)
	require.NoError(b, err)
	assert.Equal(b, spec, key.KeySpec)
	found, err := b.store.KeyByHash(b.ctx, hash)
	require.NoError(b, err)
	assert.Equal(b, key, found)
	list, err := b.store.ListKeys(b.ctx)
	require.NoError(b, err)
	assert.Equal(b, []store.Key{key}, list)

	stored, err := b.Client.HGet(b.ctx, "rd:{keys}:all", hex.EncodeToString(hash[:])).Result()
	require.NoError(b, err)
	assert.Contains(b, stored, `"scopes":[],`)
}

func aTicket(text string) (hash [sha256.Size]byte, ticket store.Ticket) {
	return sha256.Sum256([]byte(text)), store.Ticket{
		Key: sha256.Sum256([]byte("key of " + text)), Types: []string{"credential.*"}, Provider: provider, Prefix: "app:",
		Labels: map[string]string{"team": "blue"},
	}
}

func ticketsOnce(b *bundle) {
	hash, ticket := aTicket("one")
	_, err := b.store.TakeTicket(b.ctx, hash)
	require.ErrorIs(b, err, store.ErrTicketNotFound)
	again, err := b.store.AddTicket(b.ctx, hash, ticket, time.Minute, 5)
	require.NoError(b, err)
	assert.Zero(b, again)
	left, err := b.Client.PTTL(b.ctx, "rd:{tickets}:"+hex.EncodeToString(hash[:])).Result()
	require.NoError(b, err)
	assert.Greater(b, left, 30*time.Second)
	assert.LessOrEqual(b, left, time.Minute)

	other := b.open(func(o *store.Options) { o.Owner = "owner-2" })
	got, err := other.TakeTicket(b.ctx, hash)
	require.NoError(b, err, "any replica takes it")
	assert.Equal(b, ticket, got)
	for _, s := range []*store.Store{b.store, other} {
		_, err = s.TakeTicket(b.ctx, hash)
		require.ErrorIs(b, err, store.ErrTicketNotFound)
	}

	bare := store.Ticket{Key: ticket.Key}
	_, err = b.store.AddTicket(b.ctx, hash, bare, time.Minute, 5)
	require.NoError(b, err)
	got, err = b.store.TakeTicket(b.ctx, hash)
	require.NoError(b, err)
	assert.Equal(b, bare, got)
}

func ticketsEnd(b *bundle) {
	hash, ticket := aTicket("one")
	_, err := b.store.AddTicket(b.ctx, hash, ticket, 20*time.Millisecond, 5)
	require.NoError(b, err)
	if b.Options.Memory { // whoever runs it drives its clock
		for _, key := range b.Client.Keys(b.ctx, "rd:{tickets}:*").Val() {
			assert.Positive(b, b.Client.PTTL(b.ctx, key).Val(), key)
		}
		return
	}
	b.eventually(func() bool {
		keys, err := b.Client.Keys(b.ctx, "rd:{tickets}:*").Result()
		return err == nil && len(keys) == 0
	}, "nothing is left of a ticket that nobody took")
	_, err = b.store.TakeTicket(b.ctx, hash)
	require.ErrorIs(b, err, store.ErrTicketNotFound)
}

func ticketsRace(b *bundle) {
	hash, ticket := aTicket("one")
	_, err := b.store.AddTicket(b.ctx, hash, ticket, time.Minute, 5)
	require.NoError(b, err)
	var taken atomic.Int32
	b.atOnce(20, func(int) error {
		_, err := b.store.TakeTicket(b.ctx, hash)
		if err == nil {
			taken.Add(1)
		}
		if errors.Is(err, store.ErrTicketNotFound) {
			return nil
		}
		return err
	})
	assert.Equal(b, int32(1), taken.Load())
}

func ticketsMost(b *bundle) {
	_, ticket := aTicket("one")
	add := func(i int, t store.Ticket) time.Duration {
		again, err := b.store.AddTicket(b.ctx, sha256.Sum256(fmt.Append(nil, i)), t, time.Minute, 3)
		require.NoError(b, err)
		return again
	}
	for i := range 3 {
		assert.Zero(b, add(i, ticket))
	}
	for i := range 3 {
		again := add(10+i, ticket)
		assert.Positive(b, again)
		assert.LessOrEqual(b, again, time.Minute)
		_, err := b.store.TakeTicket(b.ctx, sha256.Sum256(fmt.Append(nil, 10+i)))
		require.ErrorIs(b, err, store.ErrTicketNotFound, "it was not stored")
	}
	_, other := aTicket("another key's")
	assert.Zero(b, add(20, other), "each key has its own")
}

func ticketsUnreadable(b *bundle) {
	hash, _ := aTicket("one")
	name := "rd:{tickets}:" + hex.EncodeToString(hash[:])
	for _, value := range []string{"garbage", "{}", `{"key":"abc"}`, `{"key":"` + fmt.Sprintf("%064s", "x") + `"}`} {
		require.NoError(b, b.Client.Set(b.ctx, name, value, time.Minute).Err())
		corrupt := new(store.CorruptError)
		_, err := b.store.TakeTicket(b.ctx, hash)
		require.ErrorAs(b, err, &corrupt, value)
		assert.NotContains(b, err.Error(), hex.EncodeToString(hash[:]))
	}
	require.NoError(b, b.Client.LPush(b.ctx, name, "somebody else's").Err())
	wrong := new(store.WrongTypeError)
	_, err := b.store.TakeTicket(b.ctx, hash)
	if b.Options.Memory && errors.Is(err, store.ErrTicketNotFound) {
		return // its GETDEL takes a key of another type for a missing one
	}
	require.ErrorAs(b, err, &wrong)
}
