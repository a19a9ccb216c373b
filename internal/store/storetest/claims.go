package storetest

import (
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func claimsReserved(b *bundle) {
	reserve := func(room, want int) (int, string) {
		n, id, err := b.store.ReserveClaims(b.ctx, provider, room, want)
		require.NoError(b, err)
		return n, id
	}
	n, first := reserve(10, 6)
	assert.Equal(b, 6, n)
	n, second := reserve(10, 9)
	assert.Equal(b, 4, n, "what is left of the room")
	n, none := reserve(10, 1)
	assert.Zero(b, n)
	assert.Empty(b, none)
	n, _ = reserve(5, 1)
	assert.Zero(b, n, "there is less room than before")
	other, _, err := b.store.ReserveClaims(b.ctx, "another", 10, 10)
	require.NoError(b, err)
	assert.Equal(b, 10, other, "each provider has its own")

	require.NoError(b, b.store.SettleClaims(b.ctx, provider, second, 1))
	n, third := reserve(10, 9)
	assert.Equal(b, 3, n, "what was not claimed")
	require.NoError(b, b.store.SettleClaims(b.ctx, provider, third, 0))
	require.NoError(b, b.store.SettleClaims(b.ctx, provider, third, 3), "it is gone")
	require.NoError(b, b.store.SettleClaims(b.ctx, provider, "", 3))

	require.NoError(b, b.store.ClaimsDone(b.ctx, provider, 2))
	require.NoError(b, b.store.ClaimsDone(b.ctx, provider, 0))
	n, fourth := reserve(10, 9)
	assert.Equal(b, 5, n, "of the first, 4 still wait")
	require.NoError(b, b.store.SettleClaims(b.ctx, provider, fourth, 5))
	require.NoError(b, b.store.ClaimsDone(b.ctx, provider, 9))
	n, _ = reserve(10, 9)
	assert.Equal(b, 9, n, "of all, one still waits")
	require.NoError(b, b.store.ClaimsDone(b.ctx, provider, 99), "there are fewer")
	require.NoError(b, b.store.SettleClaims(b.ctx, provider, first, 6), "it is gone")
	n, _ = reserve(10, 10)
	assert.Equal(b, 10, n)
}
