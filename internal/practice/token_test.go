package practice

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTokenReply(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts      Options
		expiresIn string
		rotates   bool
	}{
		"rotating":           {Options{AccessTTL: time.Hour}, "3600", true},
		"not rotating":       {Options{NoRotate: true}, "20", false},
		"expires_in missing": {Options{ExpiresIn: ExpiresInMissing}, "", true},
		"expires_in string":  {Options{ExpiresIn: ExpiresInString}, `"20"`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := New(tc.opts)
			m := mintOne(t, s)
			a := direct(t, s, refreshForm(m.RefreshToken))
			require.Equal(t, http.StatusOK, a.Status)
			assert.Equal(t, "Bearer", a.TokenType)
			assert.Equal(t, tc.expiresIn, string(a.ExpiresIn))
			assert.Equal(t, "read write", a.Scope)
			assert.Equal(t, "no-store", a.Header.Get("Cache-Control"))
			assert.Equal(t, "no-cache", a.Header.Get("Pragma"))
			assert.Equal(t, "application/json", a.Header.Get("Content-Type"))
			assert.Regexp(t, `^at_[0-9A-Za-z]{32}$`, a.AccessToken)
			assert.NotEqual(t, m.AccessToken, a.AccessToken)
			e := last(t, s)
			assert.True(t, e.Delivered)
			assert.NotZero(t, e.RepliedAt)
			if tc.rotates {
				assert.Regexp(t, `^rt_[0-9A-Za-z]{32}$`, a.RefreshToken)
				assert.NotEqual(t, m.RefreshToken, a.RefreshToken)
				assert.Equal(t, OutcomeRotated, e.Outcome)
				assert.Equal(t, uint32(2), e.NewGeneration)
				assert.NotZero(t, e.RotatedAt)
				assert.True(t, e.TokenSent)
			} else {
				assert.Empty(t, a.RefreshToken)
				assert.Equal(t, OutcomeRefreshed, e.Outcome)
				assert.Zero(t, e.NewGeneration)
				assert.Zero(t, e.RotatedAt)
				assert.False(t, e.TokenSent)
				again := direct(t, s, refreshForm(m.RefreshToken))
				assert.Equal(t, http.StatusOK, again.Status)
				assert.Zero(t, s.Summary().GenerationsPresentedTwice)
			}
		})
	}
}

func TestTokenRefusals(t *testing.T) {
	t.Parallel()
	const clients = "demo:demo-secret,other:o,public:"
	noAuth := func(r *http.Request) { r.Header.Del("Authorization") }
	basic := func(id, secret string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(id, secret) }
	}
	for name, tc := range map[string]struct {
		form    url.Values // "RT" stands for a good refresh token
		change  func(*http.Request)
		status  int
		code    string
		outcome Outcome
	}{
		"no grant type":        {url.Values{"refresh_token": {"RT"}}, nil, 400, "invalid_request", OutcomeInvalidRequest},
		"other grant type":     {url.Values{"grant_type": {"password"}}, nil, 400, "unsupported_grant_type", OutcomeInvalidRequest},
		"no refresh token":     {url.Values{"grant_type": {"refresh_token"}}, nil, 400, "invalid_request", OutcomeInvalidRequest},
		"empty refresh token":  {refreshForm(""), nil, 400, "invalid_request", OutcomeInvalidRequest},
		"twice":                {url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"RT", "RT"}}, nil, 400, "invalid_request", OutcomeInvalidRequest},
		"unknown token":        {refreshForm("rt_00000000000000000000000000000000"), nil, 400, "invalid_grant", OutcomeUnknown},
		"odd token":            {refreshForm("nonsense"), nil, 400, "invalid_grant", OutcomeUnknown},
		"another's token":      {refreshForm("RT"), basic("other", "o"), 400, "invalid_grant", OutcomeUnknown},
		"scope too wide":       {url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"RT"}, "scope": {"read admin"}}, nil, 400, "invalid_scope", OutcomeInvalidRequest},
		"wrong secret":         {refreshForm("RT"), basic("demo", "wrong"), 401, "invalid_client", OutcomeClientError},
		"unknown client":       {refreshForm("RT"), basic("nobody", "x"), 401, "invalid_client", OutcomeClientError},
		"no client":            {refreshForm("RT"), noAuth, 401, "invalid_client", OutcomeClientError},
		"broken header":        {refreshForm("RT"), func(r *http.Request) { r.Header.Set("Authorization", "Basic ###") }, 401, "invalid_client", OutcomeClientError},
		"other scheme":         {refreshForm("RT"), func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401, "invalid_client", OutcomeClientError},
		"wrong secret in body": {url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"RT"}, "client_id": {"demo"}, "client_secret": {"wrong"}}, noAuth, 400, "invalid_client", OutcomeClientError},
		"authenticated twice":  {url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"RT"}, "client_secret": {"demo-secret"}}, nil, 400, "invalid_request", OutcomeClientError},
		"two client IDs":       {url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"RT"}, "client_id": {"other"}}, nil, 400, "invalid_request", OutcomeClientError},
		"public for itself":    {url.Values{"grant_type": {"client_credentials"}, "client_id": {"public"}}, noAuth, 400, "unauthorized_client", OutcomeInvalidRequest},
		"not a form":           {refreshForm("RT"), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 400, "invalid_request", OutcomeInvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, err := ParseClients(clients)
			require.NoError(t, err)
			s := New(Options{Clients: list})
			m := mintOne(t, s)
			for i, v := range tc.form["refresh_token"] {
				tc.form["refresh_token"][i] = strings.Replace(v, "RT", m.RefreshToken, 1)
			}
			change := tc.change
			if change == nil {
				change = func(*http.Request) {}
			}
			a := direct(t, s, tc.form, change)
			assert.Equal(t, tc.status, a.Status)
			assert.Equal(t, tc.code, a.Error)
			assert.Equal(t, tc.status == http.StatusUnauthorized, a.Header.Get("WWW-Authenticate") != "")
			assert.Equal(t, tc.outcome, last(t, s).Outcome)
			assert.Equal(t, http.StatusOK, direct(t, s, refreshForm(m.RefreshToken)).Status, "the token is unspent")
		})
	}
}

func TestTokenTakesPostOnly(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	a := direct(t, s, nil, func(r *http.Request) { r.Method = http.MethodGet })
	assert.Equal(t, http.StatusMethodNotAllowed, a.Status)
	assert.Equal(t, "POST", a.Header.Get("Allow"))
	assert.Empty(t, s.Ledger(LedgerQuery{}))
}

func TestTokenBodyLimit(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	a := direct(t, s, url.Values{"grant_type": {strings.Repeat("x", maxForm)}})
	assert.Equal(t, http.StatusBadRequest, a.Status)
	assert.Equal(t, "invalid_request", a.Error)
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	const id, secret = "my app:1", "s%c+r/t ü:&="
	basic := func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
	none := func(r *http.Request) { r.Header.Del("Authorization") }
	inBody := url.Values{"client_id": {id}, "client_secret": {secret}}
	idOnly := url.Values{"client_id": {id}}
	for name, tc := range map[string]struct {
		how    ClientAuth
		extra  url.Values
		header func(*http.Request)
		ok     bool
	}{
		"basic by header": {ClientAuthBasic, nil, basic, true},
		"basic by body":   {ClientAuthBasic, inBody, none, false},
		"post by header":  {ClientAuthPost, nil, basic, false},
		"post by body":    {ClientAuthPost, inBody, none, true},
		"any by header":   {ClientAuthAny, nil, basic, true},
		"any by body":     {ClientAuthAny, inBody, none, true},
		"any by ID":       {ClientAuthAny, idOnly, none, false},
		"none by ID":      {ClientAuthNone, idOnly, none, true},
		"none by header":  {ClientAuthNone, nil, basic, false},
		"basic by ID":     {ClientAuthBasic, idOnly, none, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := New(Options{Clients: []Client{{ID: id, Secret: secret}}, ClientAuth: tc.how})
			form := refreshForm(mintOne(t, s).RefreshToken)
			maps.Copy(form, tc.extra)
			a := direct(t, s, form, tc.header)
			if tc.ok {
				assert.Equal(t, http.StatusOK, a.Status, a.Body)
				return
			}
			assert.Equal(t, "invalid_client", a.Error)
			assert.Equal(t, id, last(t, s).Client)
		})
	}
}

func TestPublicClientNeedsNoSecretWithAny(t *testing.T) {
	t.Parallel()
	s := New(Options{Clients: []Client{{ID: "app"}}})
	form := refreshForm(mintOne(t, s).RefreshToken)
	form.Set("client_id", "app")
	a := direct(t, s, form, func(r *http.Request) { r.Header.Del("Authorization") })
	assert.Equal(t, http.StatusOK, a.Status, a.Body)
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	a := direct(t, s, url.Values{"grant_type": {"client_credentials"}, "scope": {"write"}})
	require.Equal(t, http.StatusOK, a.Status)
	assert.Empty(t, a.RefreshToken)
	assert.Equal(t, "write", a.Scope)
	shown := resourceOf(t, s, a.AccessToken)
	assert.Equal(t, resource{Subject: "demo", Scope: "write", ExpiresAt: shown.ExpiresAt}, shown)
	assert.Equal(t, OutcomeIssued, last(t, s).Outcome)
	sum := s.Summary()
	assert.Zero(t, sum.Presentations)
	assert.Equal(t, int64(1), sum.ByOutcome[OutcomeIssued])
}

func TestScopeCanBeNarrowed(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	minted, err := s.Mint(MintRequest{Count: 1, Scope: "a b c"})
	require.NoError(t, err)
	form := refreshForm(minted[0].RefreshToken)
	form.Set("scope", "c a")
	a := direct(t, s, form)
	assert.Equal(t, "a c", a.Scope)
	assert.Equal(t, "a b c", direct(t, s, refreshForm(a.RefreshToken)).Scope, "the grant keeps its scope (RFC 6749, 6)")
}

func TestDisabledClient(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	m := mintOne(t, s)
	assert.False(t, s.DisableClient("nobody"))
	require.True(t, s.DisableClient("demo"))
	assert.Equal(t, "invalid_client", direct(t, s, refreshForm(m.RefreshToken)).Error)
	s.SetClientSecret("demo", "new")
	assert.Equal(t, "invalid_client", direct(t, s, refreshForm(m.RefreshToken)).Error)
	s.SetClientSecret("demo", "demo-secret")
	assert.Equal(t, http.StatusOK, direct(t, s, refreshForm(m.RefreshToken)).Status)
	assert.Equal(t, int64(2), s.Summary().ClientErrors)
}

func TestLives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{AccessTTL: 10 * time.Second, RefreshTTL: time.Minute})
		m := mintOne(t, s)
		assert.Equal(t, int64(10), m.ExpiresIn)
		assert.Equal(t, http.StatusOK, fetchResource(t, s, m.AccessToken).Status)
		<-time.After(10 * time.Second)
		assert.Equal(t, http.StatusUnauthorized, fetchResource(t, s, m.AccessToken).Status)
		<-time.After(49 * time.Second)
		next := direct(t, s, refreshForm(m.RefreshToken))
		require.Equal(t, http.StatusOK, next.Status, "a second before its end")
		<-time.After(time.Minute)
		assert.Equal(t, "invalid_grant", direct(t, s, refreshForm(next.RefreshToken)).Error)
		assert.Equal(t, OutcomeExpired, last(t, s).Outcome)
		state, ok := s.Grant(m.Grant)
		require.True(t, ok)
		assert.True(t, state.Alive, "an expired token does not kill the family")
	})
}

func TestExpiredAccessTokensAreForgotten(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	_, err := s.Mint(MintRequest{Count: 2 * firstSweep * shardCount, AccessTTL: new(time.Duration(0))})
	require.NoError(t, err)
	kept := 0
	for i := range s.access.shards {
		kept += len(s.access.shards[i].values)
	}
	assert.LessOrEqual(t, kept, firstSweep*shardCount)
}

// resourceOf is what a resource shows to an access token.
func resourceOf(t *testing.T, s *Server, token string) resource {
	t.Helper()
	a := fetchResource(t, s, token)
	require.Equal(t, http.StatusOK, a.Status)
	var shown resource
	require.NoError(t, json.Unmarshal([]byte(a.Body), &shown))
	return shown
}

func fetchResource(t *testing.T, s *Server, token string) answer {
	t.Helper()
	return direct(t, s, nil, func(r *http.Request) {
		r.URL.Path = "/resource"
		r.Header.Set("Authorization", "Bearer "+token)
	})
}
