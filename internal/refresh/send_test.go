package refresh

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

// heldUp is a provider on the way to which the process stands still: after
// everything that the engine looks at itself, right before the request would be
// written.
type heldUp struct {
	*fakeProvider

	standStill func()
}

func (p heldUp) Exchange(ctx context.Context, in credential.Presentation) credential.Outcome {
	p.standStill()
	return p.fakeProvider.Exchange(ctx, in)
}

// heldUp has the node's next exchange stand still for d, once.
func (n *node) heldUp(b *bundle, d time.Duration) {
	n.t.Helper()
	target := b.target()
	target.Exchanger = heldUp{b.provider, func() {
		b.clock.advance(d)
		d = 0
	}}
	n.SetTargets(n.t.Context(), []Target{target})
}

// An attempt whose process stood still at the last moment is given up: others
// may have taken it over. The credential is due as before.
func TestStandingStillBeforeSending(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.due()
	n.heldUp(b, b.policy.Times.Send+time.Millisecond)
	b.batch(n, "alice")
	assert.Zero(t, b.provider.calls())
	h := b.held(n, "alice")
	assert.Nil(t, h.Attempt)
	assert.EqualValues(t, 1, h.Record.Generation)
	assert.Equal(t, credential.StateActive, h.Record.State)
	b.batch(n, "alice")
	assert.EqualValues(t, 2, b.held(n, "alice").Record.Generation)

	b.due()
	n.heldUp(b, b.policy.Times.Send)
	b.batch(n, "alice")
	assert.EqualValues(t, 3, b.held(n, "alice").Record.Generation, "just in time")
	assert.Equal(t, 1, b.provider.most())
}

// A recovery that got out of the provider's grace at the last moment is put off
// until the access token is about to die.
func TestStandingStillBeforeRecovering(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy.Grace = 10 * time.Minute
	b.killed("one")
	sent := b.clock.Now()
	heir := b.node("two")
	end := sent.Add(b.policy.Grace - b.policy.Times.Exchange - b.policy.Times.Margin) // of the grace, as far as it can be used
	b.clock.advance(end.Sub(b.clock.Now()))
	heir.heldUp(b, time.Millisecond)
	b.batch(heir, "alice")
	assert.Equal(t, 1, b.provider.calls(), "the dead one's")
	h := b.held(heir, "alice")
	if assert.NotNil(t, h.Attempt) {
		assert.True(t, h.Attempt.Doubt)
		assert.Equal(t, sent, h.Attempt.FirstSent)
		assert.Equal(t, sent.Add(life/4-time.Minute), h.Attempt.RecoverAt)
	}
	b.clock.advance(h.Attempt.RecoverAt.Sub(b.clock.Now()))
	b.batch(heir, "alice")
	assert.Equal(t, 2, b.provider.calls(), "once, as the last resort")
}

// givenUp is a provider whose reply is read by another goroutine just as the
// call is given up.
type givenUp struct{ *fakeProvider }

func (p givenUp) Exchange(ctx context.Context, in credential.Presentation) credential.Outcome {
	in.Keep = func(found credential.Found) error {
		in.Hand(found)
		return nil
	}
	_ = p.fakeProvider.Exchange(ctx, in)
	return credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout}
}

// A token that was read and handed to the journal is installed, also where
// whoever made the call has not seen the reply.
func TestAReplyThatOnlyTheReaderSaw(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.due()
	target := b.target()
	target.Exchanger = givenUp{b.provider}
	n.SetTargets(t.Context(), []Target{target})
	b.batch(n, "alice")
	h := b.held(n, "alice")
	assert.EqualValues(t, 2, h.Record.Generation)
	assert.Nil(t, h.Attempt, "nothing is in doubt")
}
