package oauth2_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/oauth2"
	"github.com/refreshd/refreshd/internal/provider/providertest"
)

func TestRevoke(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, say(200, ""))
	p := newProvider(t, oauth2.Options{
		TokenURL: s.URL + "/token", RevokeURL: s.URL + "/revoke", ClientAuth: oauth2.AuthPost, ClientSecret: credential.NewSecret("s"),
	})
	require.NoError(t, p.Revoke(t.Context(), credential.NewSecret("R+T"), "refresh_token"))
	require.NoError(t, p.Revoke(t.Context(), credential.NewSecret("AT"), ""))
	got := s.Received()
	require.Len(t, got, 2)
	assert.Equal(t, "/revoke", got[0].URI)
	assert.Equal(t, "token=R%2BT&client_id=client&client_secret=s&token_type_hint=refresh_token", got[0].Body)
	assert.Equal(t, "token=AT&client_id=client&client_secret=s", got[1].Body)
}

func TestRevokeFails(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		body   string
		class  credential.Class
		detail string
	}{
		"unsupported":  {400, `{"error":"unsupported_token_type"}`, credential.ClassRefused, "HTTP 400 unsupported_token_type"},
		"client":       {401, `{"error":"invalid_client"}`, credential.ClassOperator, "HTTP 401 invalid_client"},
		"unavailable":  {503, "", credential.ClassTransient, "HTTP 503"},
		"redirect":     {307, "", credential.ClassOperator, "HTTP 307"},
		"token inside": {500, `{"access_token":"AT-leaked"}`, credential.ClassTransient, "HTTP 500"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", "7")
				say(test.status, test.body)(w, r)
			})
			p := newProvider(t, oauth2.Options{TokenURL: s.URL, RevokeURL: s.URL})
			err := p.Revoke(t.Context(), credential.NewSecret("RT"), "")
			var failed *provider.CallError
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, test.class, failed.Outcome.Class)
			assert.Equal(t, test.detail, failed.Outcome.Detail)
			assert.Equal(t, 7*time.Second, failed.Outcome.RetryAfter)
			assert.Equal(t, credential.Token{}, failed.Outcome.Token)
			assert.Equal(t, "provider acme: revocation: "+string(test.class)+": "+test.detail, err.Error())
			assert.Len(t, s.Received(), 1)
		})
	}
}

func TestRevokeNowhere(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, say(200, ""))
	p := newProvider(t, oauth2.Options{TokenURL: s.URL})
	require.ErrorIs(t, p.Revoke(t.Context(), credential.NewSecret("RT"), ""), provider.ErrNoRevocation)
	s.Close()
	p = newProvider(t, oauth2.Options{TokenURL: s.URL, RevokeURL: s.URL})
	var failed *provider.CallError
	require.ErrorAs(t, p.Revoke(t.Context(), credential.NewSecret("RT"), ""), &failed)
	assert.Equal(t, credential.ClassNotSent, failed.Outcome.Class)
}
