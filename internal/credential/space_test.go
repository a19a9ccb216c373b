package credential_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

// installed is a record after a token that was told to live that long.
func (b *bundle) installed(life time.Duration, access string) credential.Record {
	got := credential.Received{Token: credential.Token{
		Access: credential.NewSecret(access), Refresh: credential.NewSecret("another refresh token"),
	}, SentAt: noon, ExpiresIn: life}
	return credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon.Add(time.Second)).Record
}

// A token that is told to live for a moment is not replaced every moment.
func TestMinInterval(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name              string
		life, idle        time.Duration
		soonest, furthest time.Duration // from its issue to its planned refresh
	}{
		{"read in the wrong unit", 3600 * time.Millisecond, 0, 10 * time.Second, 10 * time.Second},
		{"dead when it came", 10 * time.Millisecond, 0, 10 * time.Second, 10 * time.Second},
		{"short", 20 * time.Second, 0, 10 * time.Second, 18 * time.Second},
		{"hardly longer than that", 10500 * time.Millisecond, 0, 9 * time.Second, 9450 * time.Millisecond},
		{"ordinary", time.Hour, 0, 30 * time.Minute, 54 * time.Minute},
		{"its refresh token dies of rest sooner", 4 * time.Second, 12 * time.Second, time.Second, 6 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.policy.MinInterval, b.policy.RefreshIdle = 10*time.Second, row.idle
			after := b.installed(row.life, "another access token").RefreshAt.Sub(noon)
			assert.GreaterOrEqual(t, after, row.soonest)
			assert.LessOrEqual(t, after, row.furthest)
		})
	}
	b := setup(t)
	b.policy.MinInterval = 10 * time.Second
	r := b.installed(4*time.Second, b.held.Token.Access.Reveal())
	assert.Less(t, r.RefreshAt, noon.Add(4*time.Second), "what is left of the same token's life may be short")
	assert.GreaterOrEqual(t, b.policy.Backoff("acct", 9, 3*time.Second), 2*time.Second, "failures of it are not met each second either")
}

// Nor is it because its refresh token is told to live for a moment: that is read
// in the same wrong unit. One that lives for longer than refreshes are apart is
// still used before its end, and the first after a login of its owner is early.
func TestMinIntervalOfARefreshToken(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name              string
		told              time.Duration
		again             bool // the access token came once more
		soonest, furthest time.Duration
	}{
		{"read in the wrong unit", 1800 * time.Millisecond, false, 10 * time.Second, 10 * time.Second},
		{"and the access token is the same", 1800 * time.Millisecond, true, 10 * time.Second, 10 * time.Second},
		{"hardly longer than that", 10500 * time.Millisecond, false, 9 * time.Second, 9450 * time.Millisecond},
		{"short", 20 * time.Second, false, 10 * time.Second, 10 * time.Second},
		{"ordinary", time.Minute, false, 24 * time.Second, 24 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.policy.MinInterval = 10 * time.Second
			got := credential.Received{
				Method: credential.MethodRefresh, Token: token("at-5", "rt-5"), SentAt: noon, ExpiresIn: time.Hour, RefreshExpiresIn: row.told,
			}
			if row.again {
				got.Token.Access = b.held.Token.Access
			}
			r := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon+second/10).Record
			assert.GreaterOrEqual(t, r.RefreshAt.Sub(noon), row.soonest)
			assert.LessOrEqual(t, r.RefreshAt.Sub(noon), row.furthest)
			in := login()
			in.RefreshExpiresIn = row.told
			r = credential.Connect(&b.held, in, b.policy, b.nonce, noon).Record
			assert.LessOrEqual(t, r.RefreshAt, noon.Add(row.told/5*2))
		})
	}
}
