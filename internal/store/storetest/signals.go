package storetest

import (
	"strconv"
	"sync/atomic"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/store"
)

const signingKeys = "rd:{ssf}:keys"

func signingLife(b *bundle) {
	keys, revision, err := b.store.SigningKeys(b.ctx)
	require.NoError(b, err)
	require.Nil(b, keys)
	require.Zero(b, revision)
	for i := range uint64(3) {
		text := []byte("private " + strconv.FormatUint(i, 10))
		saved, err := b.store.SaveSigningKeys(b.ctx, text, i)
		require.NoError(b, err)
		require.True(b, saved)
		keys, revision, err = b.store.SigningKeys(b.ctx)
		require.NoError(b, err)
		require.Equal(b, text, keys)
		require.Equal(b, i+1, revision)
	}
	for _, stale := range []uint64{0, 2, 4} {
		saved, err := b.store.SaveSigningKeys(b.ctx, []byte("late"), stale)
		require.NoError(b, err)
		require.False(b, saved, "revision %d is not the stored one", stale)
	}
	found, err := b.store.ResealSigningKeys(b.ctx)
	require.NoError(b, err)
	assert.False(b, found, "the primary key has sealed them")
	stored, err := b.Client.HGetAll(b.ctx, signingKeys).Result()
	require.NoError(b, err)
	assert.NotContains(b, stored["value"], "private")
}

// What was sealed as one revision is not taken for another.
func signingBound(b *bundle) {
	_, err := b.store.SaveSigningKeys(b.ctx, []byte("first"), 0)
	require.NoError(b, err)
	old, err := b.Client.HGet(b.ctx, signingKeys, "value").Result()
	require.NoError(b, err)
	_, err = b.store.SaveSigningKeys(b.ctx, []byte("second"), 1)
	require.NoError(b, err)
	require.NoError(b, b.Client.HSet(b.ctx, signingKeys, "value", old).Err())
	_, _, err = b.store.SigningKeys(b.ctx)
	require.ErrorAs(b, err, new(*store.CorruptError))
	require.NoError(b, b.Client.HSet(b.ctx, signingKeys, "revision", "many").Err())
	_, _, err = b.store.SigningKeys(b.ctx)
	require.ErrorAs(b, err, new(*store.CorruptError))
	require.NoError(b, b.Client.Del(b.ctx, signingKeys).Err())
	require.NoError(b, b.Client.Set(b.ctx, signingKeys, "x", 0).Err())
	_, _, err = b.store.SigningKeys(b.ctx)
	require.ErrorAs(b, err, new(*store.WrongTypeError))
}

// Of many that make the first keys, one does.
func signingRace(b *bundle) {
	var won atomic.Int32
	b.atOnce(20, func(i int) error {
		saved, err := b.store.SaveSigningKeys(b.ctx, []byte(strconv.Itoa(i)), 0)
		if saved {
			won.Add(1)
		}
		return err
	})
	assert.EqualValues(b, 1, won.Load())
}

func pollLife(b *bundle) {
	from := make([]string, b.store.Shards())
	for i := range from {
		from[i] = "7-" + strconv.Itoa(i)
	}
	_, err := b.store.StartSubscription(b.ctx, sub, from)
	require.NoError(b, err)
	place, err := b.store.PollPlace(b.ctx, sub)
	require.NoError(b, err)
	require.Equal(b, store.PollPlace{Cursors: from}, place)

	place.Cursors = append([]string(nil), from...)
	place.Cursors[0] = "9-1"
	place.Answered, place.VerifyID, place.VerifyState = []string{"alice/7/9f86d081"}, "v-1", "state"
	saved, err := b.store.SavePollPlace(b.ctx, sub, place)
	require.NoError(b, err)
	require.True(b, saved)
	got, err := b.store.PollPlace(b.ctx, sub)
	require.NoError(b, err)
	place.Revision = 1
	require.Equal(b, place, got)
	other := got
	other.Revision = 0
	saved, err = b.store.SavePollPlace(b.ctx, sub, other)
	require.NoError(b, err)
	require.False(b, saved, "somebody else has moved it")

	other.Cursors = append(other.Cursors, "0")
	_, err = b.store.SavePollPlace(b.ctx, sub, other)
	require.Error(b, err)
	_, err = b.store.SavePollPlace(b.ctx, "no{name", got)
	require.ErrorAs(b, err, new(*store.NameError))
	_, err = b.store.PollPlace(b.ctx, "no{name")
	require.ErrorAs(b, err, new(*store.NameError))
	require.NoError(b, b.Client.HSet(b.ctx, "rd:{sub:"+sub+"}:poll", "value", "{}").Err())
	_, err = b.store.PollPlace(b.ctx, sub)
	require.ErrorAs(b, err, new(*store.CorruptError))
}
