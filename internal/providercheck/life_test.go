package providercheck

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

// A life that was read in another unit than it was told in stands out.
func TestLife(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		life time.Duration
		want []string
	}{
		"seconds read as milliseconds": {3600 * time.Millisecond, []string{
			"ok the expiry is in its place: the token lives 3.6s —",
			"warn the token lives 3.6s, as it is read: looks like seconds read as milliseconds (1h0m0s is likelier) — set unit: s for login.response.expires_in if the provider tells seconds; else it is called every few moments",
		}},
		"milliseconds read as seconds": {3_600_000 * time.Second, []string{
			"ok the expiry is in its place: the token lives 41 days —",
			"warn the token lives 41 days, as it is read: looks like milliseconds read as seconds (1h0m0s is likelier) — set unit: ms for login.response.expires_in if the provider tells milliseconds; else the token is taken to live when it is long dead",
		}},
		"minutes": {5 * time.Minute, []string{"ok the expiry is in its place: the token lives 5m0s —"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := setup(t, &fakeProvider{replies: replies{login: credential.Outcome{Class: credential.ClassOK, Token: token("a", ""), ExpiresIn: row.life}}})
			o.Calls, o.Places = Calls{Login: true}, Places{Expiry: true}
			o.SignIn = credential.SignIn{Username: credential.NewSecret("user"), Password: credential.NewSecret("password")}
			assert.Equal(t, row.want, find(Run(t.Context(), o), CheckReply))
		})
	}
}
