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

	done := func(id string, n int) { require.NoError(b, b.store.ClaimsDone(b.ctx, provider, id, n)) }
	done(first, 2)
	done(first, 0)
	done("", 4)
	done(third, 4) // it is gone
	n, fourth := reserve(10, 9)
	assert.Equal(b, 5, n, "of the first, 4 still wait")
	require.NoError(b, b.store.SettleClaims(b.ctx, provider, fourth, 5))
	done(fourth, 99) // there are fewer, and the others still wait
	done(first, 3)
	n, fifth := reserve(10, 9)
	assert.Equal(b, 8, n, "of the first and the second, one each still waits")
	for _, id := range []string{first, second} {
		done(id, 1)
	}
	done(fifth, 8)
	require.NoError(b, b.store.SettleClaims(b.ctx, provider, first, 6), "it is gone")
	n, _ = reserve(10, 10)
	assert.Equal(b, 10, n)
}
