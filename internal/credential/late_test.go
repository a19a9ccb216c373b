package credential_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// late returns the token that the fixture's attempt brought.
func late() credential.Late {
	return credential.Late{Nonce: nonceOf(7), Generation: 4, Grant: 2, Received: credential.Received{
		Token: token("at-5", "rt-5"), SentAt: sent, ExpiresIn: time.Hour,
	}}
}

func (b *bundle) takeLate(l credential.Late, known bool) (credential.Write, credential.LateVerdict) {
	return credential.TakeLate(b.held, l, known, b.policy, b.nonce, credential.BySchedule, noon)
}

func TestTakeLateOfTheOpenAttempt(t *testing.T) {
	t.Parallel()
	for _, doubt := range []bool{false, true} {
		b := setup(t)
		if doubt {
			b.inDoubt(noon + hour)
		}
		w, verdict := b.takeLate(late(), true)
		assert.Equal(t, credential.LateInstalled, verdict)
		assert.Empty(t, cmp.Diff(credential.Install(b.held, *b.held.Attempt, late().Received, b.policy, credential.BySchedule, noon), w))
	}
}

// What was readable of a reply without its refresh token is installed once,
// however often it comes.
func TestTakeLatePartial(t *testing.T) {
	t.Parallel()
	b := setup(t)
	l := late()
	l.Received.Token.Refresh, l.Received.Partial = credential.Secret{}, true
	w, verdict := b.takeLate(l, false)
	require.Equal(t, credential.LateInstalled, verdict)
	b.held = w.Result(b.held)
	require.True(t, b.held.Attempt.Doubt)
	for range 2 {
		_, verdict = b.takeLate(l, false)
		assert.Equal(t, credential.LateKnown, verdict)
		b.held.Record.LastWrite = nonceOf(30) // something else was written since
	}
	b.held.Attempt = nil
	_, verdict = b.takeLate(l, false)
	assert.Equal(t, credential.LateKnown, verdict, "an access token alone is not worth keeping")
}

// A refresh token alone makes the access token that is kept no newer, whichever
// generations the store has lost before it.
func TestTakeLateRefreshTokenAlone(t *testing.T) {
	t.Parallel()
	for _, lost := range []uint64{0, 1, 2} {
		b := setup(t)
		b.held.Attempt = nil
		before := b.held.Record
		l := late()
		l.Generation = before.Generation + lost
		l.Received.Token.Access = credential.Secret{}
		w, verdict := b.takeLate(l, false)
		require.Equal(t, credential.LateInstalled, verdict)
		assert.Equal(t, l.Generation+1, w.Record.Generation)
		assert.Equal(t, before.AccessGeneration(), w.Record.AccessGeneration(), "%d lost", lost)
		assert.Equal(t, b.held.Token.Access, w.Token.Access)

		b.held = w.Result(b.held)
		l = late()
		l.Nonce, l.Generation = nonceOf(31), b.held.Record.Generation+lost
		l.Received.Token = token("at-9", "rt-9")
		w, verdict = b.takeLate(l, false)
		require.Equal(t, credential.LateInstalled, verdict)
		assert.Equal(t, l.Generation+1, w.Record.AccessGeneration(), "a new one is of its own generation")
	}
}

func TestTakeLateWritesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*bundle, *credential.Late)
		known  bool
		want   credential.LateVerdict
	}{
		"its login is over":      {func(b *bundle, _ *credential.Late) { b.held.Record.Grant = 3 }, false, credential.LateRevoke},
		"its login is lost":      {func(b *bundle, _ *credential.Late) { b.held.Record.Grant = 1 }, false, credential.LateAwaits},
		"everything is lost":     {func(b *bundle, _ *credential.Late) { b.held = credential.Held{} }, false, credential.LateAwaits},
		"written last":           {func(b *bundle, _ *credential.Late) { b.held.Record.LastWrite = nonceOf(7) }, false, credential.LateKnown},
		"known":                  {nil, true, credential.LateKnown},
		"without refresh token":  {func(_ *bundle, l *credential.Late) { l.Received.Token.Refresh = credential.Secret{} }, false, credential.LateKnown},
		"long outlived":          {func(b *bundle, l *credential.Late) { l.Generation, b.held.Record.Generation = 3, 6 }, false, credential.LateKnown},
		"of an older generation": {func(_ *bundle, l *credential.Late) { l.Generation = 3 }, true, credential.LateKnown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, l := setup(t), late()
			b.held.Attempt = nil
			if c.change != nil {
				c.change(b, &l)
			}
			w, verdict := b.takeLate(l, c.known)
			assert.Equal(t, c.want, verdict)
			assert.Empty(t, cmp.Diff(credential.Write{}, w))
		})
	}
}

// The store fell back behind an attempt and what it brought: nothing is open,
// and the generation that was presented is the current one again.
func TestTakeLateAfterALoss(t *testing.T) {
	t.Parallel()
	b := setup(t)
	installed := credential.Install(b.held, b.attempt, late().Received, b.policy, credential.BySchedule, noon)
	b.held.Attempt = nil
	w, verdict := b.takeLate(late(), false)
	require.Equal(t, credential.LateInstalled, verdict)
	installed.Attempt, installed.Alone = credential.Nonce{}, true
	assert.Empty(t, cmp.Diff(installed, w), "the same write, with the same events, while no attempt is open")
	b.held = w.Result(b.held)
	_, verdict = b.takeLate(late(), true)
	assert.Equal(t, credential.LateKnown, verdict)
}

// The store fell back behind two generations, and the newer one is put back
// first: the older one must not replace it.
func TestTakeLateInAnyOrder(t *testing.T) {
	t.Parallel()
	older := late()
	newer := credential.Late{Nonce: nonceOf(40), Generation: 5, Grant: 2, Received: credential.Received{
		Token: token("at-6", "rt-6"), SentAt: sent + 1, ExpiresIn: time.Hour,
	}}
	for _, order := range [][]credential.Late{{older, newer}, {newer, older}} {
		b := setup(t)
		b.held.Attempt = nil
		for _, l := range order {
			w, verdict := b.takeLate(l, false)
			require.Contains(t, []credential.LateVerdict{credential.LateInstalled, credential.LateKept}, verdict)
			b.held = w.Result(b.held)
		}
		assert.Equal(t, "rt-6", b.held.Token.Refresh.Reveal())
		assert.Equal(t, uint64(6), b.held.Record.Generation)
	}
}

// Somebody else's doubt about the same generation is over with the token.
func TestTakeLateBesideADoubt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.attempt.Nonce = nonceOf(9)
	b.inDoubt(noon + hour)
	w, verdict := b.takeLate(late(), false)
	assert.Equal(t, credential.LateInstalled, verdict)
	assert.Equal(t, nonceOf(7), w.Nonce)
	assert.Equal(t, nonceOf(9), w.Attempt)
	assert.True(t, w.Close)
	checkUnshared(t, b.held, w)
	after := w.Result(b.held)
	assert.Nil(t, after.Attempt)
	assert.Equal(t, "rt-5", after.Token.Refresh.Reveal())
	assert.Equal(t, uint64(5), after.Record.Generation)
}

func TestTakeLateKeeps(t *testing.T) {
	t.Parallel()
	want := credential.Alternate{Nonce: nonceOf(7), Generation: 4, Token: token("at-5", "rt-5"), IssuedAt: sent, Lifetime: time.Hour}
	for name, change := range map[string]func(*bundle){
		"another attempt is under way": func(b *bundle) { b.attempt.Nonce = nonceOf(9); b.open(b.attempt) },
		"the generation moved on":      func(b *bundle) { b.held.Attempt, b.held.Record.Generation = nil, 5 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			change(b)
			w, verdict := b.takeLate(late(), false)
			assert.Equal(t, credential.LateKept, verdict)
			assert.Empty(t, cmp.Diff(credential.KeepAlternate(b.held, want, b.nonce, noon), w))
		})
	}
}
