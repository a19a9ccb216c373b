package refresh

import (
	"context"
	"encoding/base64"
	"fmt"
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

// readAlone refreshes alice with a reply that only its reader saw.
func readAlone(t *testing.T, rotates credential.Rotates, answer func(rotate func() credential.Token) credential.Found) (*bundle, *node) {
	t.Helper()
	b := setup(t)
	b.policy.Rotates = rotates
	n := b.node("one")
	b.put(n, "alice")
	b.due()
	target := b.target()
	target.Exchanger = givenUp{b.provider}
	n.SetTargets(t.Context(), []Target{target})
	b.provider.set(func(p *fakeProvider) {
		p.answer = func(_ string, rotate func() credential.Token) reply { return reply{found: answer(rotate)} }
	})
	b.batch(n, "alice")
	return b, n
}

// A token that was read and handed to the journal is installed, also where
// whoever made the call has not seen the reply.
func TestAReplyThatOnlyTheReaderSaw(t *testing.T) {
	t.Parallel()
	b, n := readAlone(t, credential.RotatesYes, func(rotate func() credential.Token) credential.Found {
		return whole(rotate()).found
	})
	h := b.held(n, "alice")
	assert.EqualValues(t, 2, h.Record.Generation)
	assert.Nil(t, h.Attempt, "nothing is in doubt")
}

// All that such a reply tells of its token's life counts.
func TestLivesThatOnlyTheReaderSaw(t *testing.T) {
	t.Parallel()
	const claims = `{"exp":%d}`
	var exp credential.Millis
	b, n := readAlone(t, credential.RotatesYes, func(rotate func() credential.Token) credential.Found {
		token := rotate()
		exp = credential.Millis(1_800_000_000_000).Add(life*3/4 + 5*time.Minute)
		payload := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, claims, int64(exp)/1000))
		token.Access = credential.NewSecret("e30." + payload + "." + mark)
		return credential.Found{Token: token, RefreshExpiresIn: "7200", Complete: true}
	})
	h := b.held(n, "alice")
	assert.EqualValues(t, 2, h.Record.Generation)
	assert.Equal(t, exp, h.Record.ExpiresAt)
	assert.Equal(t, b.clock.Now().Add(2*time.Hour), h.Record.LimitAt)
}

// One that ended where it should, and brought no refresh token, is not one that
// was cut off: the provider does not rotate.
func TestNothingIsMissingWhatTheReaderSawWhole(t *testing.T) {
	t.Parallel()
	for name, complete := range map[string]bool{"whole": true, "cut off": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, n := readAlone(t, credential.RotatesAuto, func(func() credential.Token) credential.Found {
				return credential.Found{Token: credential.Token{Access: credential.NewSecret(mark + "at")}, ExpiresIn: "1800", Complete: complete}
			})
			h := b.held(n, "alice")
			assert.Equal(t, mark+"at", h.Token.Access.Reveal())
			assert.Equal(t, b.clock.Now().Add(30*time.Minute), h.Record.ExpiresAt)
			assert.Equal(t, complete, h.Attempt == nil, "the refresh token is in doubt only where the rest is missing")
		})
	}
}
