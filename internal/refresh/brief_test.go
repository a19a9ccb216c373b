package refresh

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

// A provider whose tokens are read to live for a moment is called that seldom,
// which is said once, and shown until one lives longer.
func TestTokensThatLiveForAMoment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy.MinInterval = 10 * time.Second
	n := b.node("one")
	b.put(n, "alice")
	life := 3600 * time.Millisecond
	b.provider.set(func(p *fakeProvider) {
		p.answer = func(_ string, rotate func() credential.Token) reply {
			r := whole(rotate())
			r.outcome.ExpiresIn, r.found.ExpiresIn = life, ""
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
	assert.Equal(t, life, n.Brief(acme))
	assert.Equal(t, 1, strings.Count(b.log.String(), `"life":"3.6s"`))
	b.provider.ordinary()
	b.clock.advance(time.Minute)
	b.batch(n, "alice")
	assert.Zero(t, n.Brief(acme))
}
