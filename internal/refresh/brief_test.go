package refresh

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// A provider whose tokens are read to live for a moment is called that seldom,
// which is said once, and shown until one lives longer.
func TestTokensThatLiveForAMoment(t *testing.T) {
	t.Parallel()
	for name, told := range map[string]credential.Outcome{
		"access tokens":      {ExpiresIn: 3600 * time.Millisecond},
		"refresh tokens":     {ExpiresIn: life, RefreshExpiresIn: 3600 * time.Millisecond},
		"refresh tokens too": {ExpiresIn: 7200 * time.Millisecond, RefreshExpiresIn: 3600 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.policy.MinInterval = 10 * time.Second
			n := b.node("one")
			b.put(n, "alice")
			b.provider.set(func(p *fakeProvider) {
				p.answer = func(_ string, rotate func() credential.Token) reply {
					r := whole(rotate())
					r.outcome.ExpiresIn, r.outcome.RefreshExpiresIn, r.found.ExpiresIn = told.ExpiresIn, told.RefreshExpiresIn, ""
					return r
				}
			})
			assert.Zero(t, n.Brief(acme))
			b.due()
			for range 60 {
				b.batch(n, "alice")
				b.clock.advance(time.Second)
			}
			assert.LessOrEqual(t, b.provider.calls(), 7, "in a minute")
			assert.Equal(t, 3600*time.Millisecond, n.Brief(acme))
			assert.Equal(t, 1, strings.Count(b.log.String(), `"life":"3.6s"`))
			b.provider.ordinary()
			b.clock.advance(life)
			b.batch(n, "alice")
			assert.Zero(t, n.Brief(acme))
		})
	}
}

// A refresh token that is told to live for a moment because its login is almost
// over is no sign of settings that are wrong.
func TestTheEndOfALoginIsNotBrief(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy.MinInterval = 10 * time.Second
	n := b.node("one")
	login := b.login("alice")
	login.RefreshExpiresIn = 2 * life
	_, err := n.Put(t.Context(), login, Expect{})
	require.NoError(t, err)
	end := b.clock.Now().Add(2 * life)
	b.provider.set(func(p *fakeProvider) {
		p.answer = func(_ string, rotate func() credential.Token) reply {
			r := whole(rotate())
			r.outcome.RefreshExpiresIn = end.Sub(b.clock.Now())
			return r
		}
	})
	b.clock.advance(2*life - 5*time.Second)
	_, err = n.Refresh(t.Context(), "alice", 0)
	require.NoError(t, err)
	assert.Equal(t, end, b.held(n, "alice").Record.LimitAt)
	assert.Zero(t, n.Brief(acme))
}
