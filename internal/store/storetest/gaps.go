package storetest

import (
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

// A gap is told by one, with one ID until that succeeds, and covers all that
// was committed before.
func gapsOnce(b *bundle) {
	first, other, id := newNonce(), newNonce(), newNonce()
	begin := func(holder, id credential.Nonce, newest credential.Millis) store.Gap {
		gap, err := b.store.BeginGap(b.ctx, sub, holder, newest, id, time.Hour)
		require.NoError(b, err)
		return gap
	}
	gap := begin(first, id, 1000)
	assert.True(b, gap.New)
	assert.Equal(b, store.Gap{Status: store.GapTell, ID: id, Since: gap.Since, New: true}, gap)
	assert.GreaterOrEqual(b, gap.Since, b.now)
	assert.Equal(b, store.GapTell, begin(first, newNonce(), 1000).Status, "it asked again")
	assert.Equal(b, store.Gap{Status: store.GapOther}, begin(other, newNonce(), 2000))
	require.NoError(b, b.store.EndGap(b.ctx, sub, other, true), "it was not at it")

	require.NoError(b, b.store.EndGap(b.ctx, sub, first, false))
	again := begin(other, newNonce(), 2000)
	assert.Equal(b, store.Gap{Status: store.GapTell, ID: id, Since: gap.Since}, again, "the same, and not new")
	require.NoError(b, b.store.EndGap(b.ctx, sub, other, true))
	assert.Equal(b, store.Gap{}, begin(first, newNonce(), gap.Since-1), "the receiver was told later than that was committed")

	next := newNonce()
	gap = begin(first, next, gap.Since.Add(time.Hour))
	assert.Equal(b, store.Gap{Status: store.GapTell, ID: next, Since: gap.Since, New: true}, gap)
}

// Whoever dies in the middle of telling keeps the others for as long as its
// lease says.
func gapsTaken(b *bundle) {
	id := newNonce()
	_, err := b.store.BeginGap(b.ctx, sub, newNonce(), 1000, id, time.Millisecond)
	require.NoError(b, err)
	b.eventually(func() bool {
		gap, err := b.store.BeginGap(b.ctx, sub, newNonce(), 1000, newNonce(), time.Hour)
		return err == nil && gap.Status == store.GapTell && gap.ID == id
	}, "the lease is over")
}
