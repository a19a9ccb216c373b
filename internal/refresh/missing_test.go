package refresh

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// withoutRefresh rotates, and has the new refresh token overlooked.
func withoutRefresh(found ...credential.Absence) func(string, func() credential.Token) reply {
	return func(_ string, rotate func() credential.Token) reply {
		token := rotate()
		token.Refresh = credential.Secret{}
		r := whole(token)
		r.outcome.Detail, r.outcome.Missing = "HTTP 200", found
		return r
	}
}

// A refresh token that stands where nobody looks for it is lost: the access
// token is served, the old one is presented once more, late, and all of it is
// said.
func TestMissingRefreshToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	old := b.put(n, "acct").Token.Refresh.Reveal()
	b.provider.set(func(p *fakeProvider) { p.answer = withoutRefresh() })
	b.due()
	b.batch(n, "acct")
	held := b.held(n, "acct")
	assert.Equal(t, credential.StateActive, held.Record.State)
	assert.True(t, held.Attempt != nil && held.Attempt.Doubt, "it is in doubt")
	assert.Equal(t, "HTTP 200, refresh_token was not found", held.Record.LastAttempt.Detail)
	assert.Contains(t, b.log.String(), `"missing":"refresh_token was not found","message":"the provider's settings say that every refresh`)
	assert.InEpsilon(t, 1.0, testutil.ToFloat64(n.metrics.missing.WithLabelValues(acme, "refresh_token")), 1e-9)

	b.provider.set(func(p *fakeProvider) { p.answer = nil })
	b.due()
	b.batch(n, "acct")
	assert.Equal(t, 1, b.provider.presented[old], "not while the access token lives")

	b.clock.advance(life/4 - 30*time.Second)
	b.batch(n, "acct")
	assert.Equal(t, 2, b.provider.presented[old], "as the last resort, once")
	held = b.held(n, "acct")
	assert.Equal(t, credential.StateReauthRequired, held.Record.State)
	assert.Equal(t, credential.ReasonLostRotation, held.Record.Reason)
}

// What an owner brings is told to him where its expiry cannot be read, and counted
// and logged as a reply's is.
func TestMissingExpiryOfWhatAnOwnerBrings(t *testing.T) {
	t.Parallel()
	jwt := func(payload string) credential.Secret {
		return credential.NewSecret("e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln")
	}
	odd := credential.Absence{Name: "exp", Place: "access_token", Why: "tells no time to come"}
	soon := credential.Absence{Name: "expires_in", Place: "json ttl", Why: "tells no time to come"}
	none := credential.Absence{Name: "user_data", Place: "json user", Why: "was not found"}
	uid := credential.Absence{Name: "subject", Place: "json uid", Why: "was not found"}
	for name, row := range map[string]struct {
		access credential.Secret
		life   time.Duration
		reply  []credential.Absence // to a login in place of the token
		exp    credential.Millis    // of its token, that says so itself
		want   []credential.Absence
	}{
		"a login's claim that is past": {access: jwt(`{"exp":3600}`), exp: 3_600_000, reply: []credential.Absence{}, want: []credential.Absence{odd}},
		"a claim that is no time":      {access: jwt(`{"exp":"soon"}`), want: []credential.Absence{odd}},
		"one, and an expiry is told":   {access: jwt(`{"exp":"soon"}`), life: life},
		"no claim":                     {access: jwt(`{"sub":"u"}`)},
		"a claim":                      {access: jwt(`{"exp":32503680000}`)},
		"no JWT":                       {access: credential.NewSecret("opaque")},
		"a login":                      {reply: []credential.Absence{uid, soon}, want: []credential.Absence{soon}},
		"a login that tells it":        {reply: []credential.Absence{uid}},
		"a login without user data":    {reply: []credential.Absence{none}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.backend()
			n := b.node("one")
			login := signIn(password)
			told := credential.Outcome{Class: credential.ClassOK, Token: b.provider.grant("alice"), Missing: row.reply}
			b.provider.set(func(p *fakeProvider) { p.login = func(credential.SignIn) *credential.Outcome { return &told } })
			if row.exp != 0 {
				told.Token.Access, told.ExpiresAt = row.access, row.exp
			}
			if row.reply == nil {
				login = b.login("alice")
				login.Token.Access, login.ExpiresIn = row.access, row.life
			}
			put, err := n.Put(t.Context(), login, Expect{})
			require.NoError(t, err)
			assert.Empty(t, cmp.Diff(row.want, put.Missing, cmpopts.EquateEmpty()))
			for _, absent := range append(row.reply, row.want...) {
				assert.InEpsilon(t, 1.0, testutil.ToFloat64(n.metrics.missing.WithLabelValues(acme, absent.Name)), 1e-9, absent.Name)
			}
			for _, absent := range row.want {
				assert.Contains(t, b.log.String(), `"missing":["`+absent.String()+`"]`)
			}
			if row.want == nil {
				assert.NotContains(t, b.log.String(), "the settings decide")
			}
		})
	}
}

// User data that is too long to be kept is told to whoever signs in, and logged,
// by its size alone.
func TestUserDataThatIsNotKept(t *testing.T) {
	t.Parallel()
	long := credential.Absence{Name: "user_data", Place: "json user", Why: "has 66002 bytes and is not kept, for at most 65536 are"}
	const logged = `"missing":"user_data (json user) has 66002 bytes and is not kept, for at most 65536 are","message":"user data is not kept`
	b := setup(t)
	b.backend()
	n := b.node("one")
	told := credential.Outcome{Class: credential.ClassOK, Token: b.provider.grant("alice"), Missing: []credential.Absence{long}}
	b.provider.set(func(p *fakeProvider) { p.login = func(credential.SignIn) *credential.Outcome { return &told } })
	put, err := n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	assert.Equal(t, []credential.Absence{long}, put.Missing)
	assert.Equal(t, 1, strings.Count(b.log.String(), logged))
	assert.Contains(t, b.log.String(), `"level":"warn"`)
}

// So is it where a refresh brings a JWT that says it has ended long ago.
func TestAClaimThatIsPast(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	past := credential.NewSecret("e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":3600}`)) + ".c2ln")
	b.provider.set(func(p *fakeProvider) {
		p.answer = func(_ string, rotate func() credential.Token) reply {
			token := rotate()
			token.Access = past
			r := whole(token)
			r.outcome.ExpiresIn, r.outcome.ExpiresAt = 0, 3_600_000
			return r
		}
	})
	b.due()
	b.batch(n, "alice")
	assert.Contains(t, b.log.String(), `"missing":["exp (access_token) tells no time to come"]`)
	assert.InEpsilon(t, 1.0, testutil.ToFloat64(n.metrics.missing.WithLabelValues(acme, "exp")), 1e-9)
}

// A settings' place that never has an expiry is told of once an hour, and
// counted each time.
func TestMissingExpiry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	ids := []credential.ID{"a", "b"}
	for _, id := range ids {
		b.put(n, id)
	}
	absent := credential.Absence{Name: "expires_in", Place: "json ttl", Why: "was not found", Beside: []string{"expires"}}
	b.provider.set(func(p *fakeProvider) {
		p.answer = func(_ string, rotate func() credential.Token) reply {
			r := whole(rotate())
			r.outcome.Missing = []credential.Absence{absent}
			return r
		}
	})
	said := func() int { return strings.Count(b.log.String(), `"missing":["expires_in (json ttl) was not found"]`) }
	b.due()
	b.batch(n, ids...)
	assert.Equal(t, 1, said())
	assert.InEpsilon(t, 2.0, testutil.ToFloat64(n.metrics.missing.WithLabelValues(acme, "expires_in")), 1e-9)
	b.clock.advance(time.Hour)
	b.batch(n, ids...)
	assert.Equal(t, 2, said())
	assert.NotContains(t, b.log.String(), "old one may be spent")
}
