package refresh

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is no credential is changed once more where the store may have lost that,
// each thing as it was changed last, before anything is written there, and no
// longer than it can be lost.
func TestWhatIsNoCredentialIsPutBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", lossy)
	b.settle(n)
	var made []string
	var away error
	change := func(what, how string) {
		n.Acknowledged(what, func(context.Context) error {
			assert.Equal(t, passNothing, n.barrier.passes(), "nobody builds on what is not there yet")
			if away == nil {
				made = append(made, how)
			}
			return away
		})
	}
	change("an old key", "made")
	b.clock.advance(11 * time.Second)
	change("a key", "made")
	change("a key", "revoked")
	b.settle(n)
	assert.Empty(t, made, "it is there")

	b.fallBack(b.snapshot())
	away = errors.New("it says no")
	require.ErrorIs(t, n.tick(t.Context()), away)
	require.Equal(t, passNothing, n.barrier.passes())
	away = nil
	b.settle(n)
	require.Equal(t, passAll, n.barrier.passes())
	assert.Equal(t, []string{"revoked"}, made)

	// It can be lost once more, as anything that is put back.
	b.run.Store("third run")
	b.settle(n)
	assert.Equal(t, []string{"revoked", "revoked"}, made)
	b.clock.advance(11 * time.Second)
	b.settle(n)
	b.run.Store("fourth run")
	b.settle(n)
	assert.Len(t, made, 2, "by now it is safe")
}
