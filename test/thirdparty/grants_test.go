package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	p := startProvider(t, "--access-ttl", "20s")
	first := p.login(t, "user-1")
	second := p.refresh(t, first.RefreshToken)
	require.Equal(t, http.StatusOK, second.status)
	assert.NotEqual(t, first.RefreshToken, second.RefreshToken)
	assert.NotEqual(t, first.AccessToken, second.AccessToken)
	assert.Equal(t, "bearer", second.TokenType)
	assert.Equal(t, "offline read", second.Scope)
	assert.Contains(t, []int{19, 20}, second.ExpiresIn, "the library rounds to seconds")
	assert.False(t, p.active(t, first.AccessToken), "a rotation ends the access token before it")
	assert.True(t, p.active(t, second.AccessToken))
	assert.True(t, p.active(t, second.RefreshToken))
	assert.Equal(t, http.StatusOK, p.refresh(t, second.RefreshToken).status)
}

func TestReplayOfASpentTokenKillsItsFamilyAlone(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	first, other := p.login(t, "user-1"), p.login(t, "user-2")
	second := p.refresh(t, first.RefreshToken)

	replayed := p.refresh(t, first.RefreshToken)
	assert.Equal(t, http.StatusBadRequest, replayed.status)
	assert.Equal(t, "invalid_grant", replayed.Error)
	assert.False(t, p.active(t, second.AccessToken))
	assert.False(t, p.active(t, second.RefreshToken))
	dead := p.refresh(t, second.RefreshToken)
	assert.Equal(t, "invalid_grant", dead.Error)
	assert.Equal(t, http.StatusOK, p.refresh(t, other.RefreshToken).status)
}

func TestLogTellsWhatWasSeenAndNoToken(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	first := p.login(t, "user-1")
	second := p.refresh(t, first.RefreshToken)
	p.refresh(t, first.RefreshToken)

	log := p.get(t, "/log")
	for _, secret := range []string{first.RefreshToken, first.AccessToken, second.RefreshToken, second.AccessToken, testSecret, "password-of"} {
		assert.NotContains(t, log, secret)
	}
	all := records(t, log)
	require.Len(t, all, 3)
	for i, r := range all {
		assert.Equal(t, i+1, r.Seq)
		assert.True(t, r.ClientAlive)
		require.NotNil(t, r.Answered)
		assert.False(t, r.Answered.Before(r.Received))
	}
	one, two := fingerprint(first.RefreshToken), fingerprint(second.RefreshToken)
	assert.Equal(t, record{Grant: "password", Issued: one, Status: 200}, seen(all[0]))
	assert.Equal(t, record{Grant: "refresh_token", Presented: one, Issued: two, InAir: 1, Status: 200}, seen(all[1]))
	assert.Equal(t, record{Grant: "refresh_token", Presented: one, InAir: 1, Status: 400, Error: "invalid_grant"}, seen(all[2]))
	assert.Equal(t, all[2:], records(t, p.get(t, "/log?after=2")))
	assert.Empty(t, p.get(t, "/log?after=99"))
}

// seen is what of a record does not change from run to run.
func seen(r record) record {
	return record{Grant: r.Grant, Presented: r.Presented, Issued: r.Issued, InAir: r.InAir, Status: r.Status, Error: r.Error}
}

// With one place inside the library its rotation is atomic: of simultaneous
// presentations one is answered with a token, and that token is dead.
func TestSimultaneousPresentationsKillTheFamily(t *testing.T) {
	t.Parallel()
	p := startProvider(t, "--inside", "1")
	first := p.login(t, "user-1")
	answers := make([]answer, 10)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = p.refresh(t, first.RefreshToken) })
	}
	wg.Wait()
	issued := 0
	for _, a := range answers {
		if a.status != http.StatusOK {
			assert.Equal(t, "invalid_grant", a.Error)
			continue
		}
		issued++
		assert.False(t, p.active(t, a.AccessToken))
		assert.Equal(t, "invalid_grant", p.refresh(t, a.RefreshToken).Error)
	}
	assert.Equal(t, 1, issued)
}

func TestRevokedGrantIsDead(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	a := p.login(t, "user-1")
	assert.Equal(t, http.StatusOK, p.post(t, "/revoke", url.Values{"token": {a.RefreshToken}}, asApp).status)
	assert.False(t, p.active(t, a.AccessToken))
	assert.Equal(t, "invalid_grant", p.refresh(t, a.RefreshToken).Error)
	assert.Equal(t, http.StatusOK, p.post(t, "/revoke", url.Values{"token": {"unknown"}}, asApp).status, "RFC 7009, section 2.2")
	assert.Equal(t, http.StatusUnauthorized, p.post(t, "/revoke", url.Values{"token": {"unknown"}}, basic(testID, "wrong")).status)
}

func TestOtherGrants(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	a := p.post(t, "/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}}, asApp)
	assert.Equal(t, http.StatusOK, a.status)
	assert.NotEmpty(t, a.AccessToken)
	assert.Empty(t, a.RefreshToken)
	a = p.post(t, "/token", url.Values{
		"grant_type": {"password"}, "username": {"user-1"}, "password": {"password-of-user-1"}, "scope": {"read"},
	}, asApp)
	assert.Empty(t, a.RefreshToken, "not without the scope offline")
	for want, form := range map[string]url.Values{
		"invalid_grant":   {"grant_type": {"password"}, "username": {"user-1"}, "password": {"wrong"}},
		"invalid_scope":   {"grant_type": {"client_credentials"}, "scope": {"admin"}},
		"invalid_request": {"grant_type": {"something"}},
	} {
		assert.Equal(t, want, p.post(t, "/token", form, asApp).Error)
	}
	all := records(t, p.get(t, "/log"))
	assert.Equal(t, "client_credentials", all[0].Grant)
	assert.Contains(t, []string{all[2].Grant, all[3].Grant, all[4].Grant}, "other")
}

func TestAuthorizationCodeWithPKCE(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	const redirect, verifier = "http://127.0.0.1:49152/callback", "a-verifier-that-is-at-least-43-characters-long-0123"
	sum := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"response_type": {"code"}, "client_id": {testID}, "redirect_uri": {redirect}, "scope": {"offline write"},
		"state": {"a-state-of-enough-entropy"}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
	}
	ask := func(user, password string) (status int, location string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.base+"/authorize?"+query.Encode(), http.NoBody)
		require.NoError(t, err)
		r.SetBasicAuth(user, password)
		res, err := p.http.Do(r)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode, res.Header.Get("Location")
	}
	status, _ := ask("user-1", "wrong")
	assert.Equal(t, http.StatusUnauthorized, status)
	status, location := ask("user-1", "password-of-user-1")
	require.Equal(t, http.StatusSeeOther, status)
	to, err := url.Parse(location)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(to.String(), redirect+"?"))
	assert.Equal(t, query.Get("state"), to.Query().Get("state"))
	exchange := func(verifier string) answer {
		return p.post(t, "/token", url.Values{
			"grant_type": {"authorization_code"}, "code": {to.Query().Get("code")}, "redirect_uri": {redirect}, "code_verifier": {verifier},
		}, asApp)
	}
	a := exchange(verifier)
	require.Equal(t, http.StatusOK, a.status)
	assert.Equal(t, "offline write", a.Scope)
	assert.Equal(t, http.StatusOK, p.refresh(t, a.RefreshToken).status)
	assert.Equal(t, "invalid_grant", exchange(verifier).Error, "a code is spent once")
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	document := p.get(t, "/.well-known/openid-configuration")
	assert.Equal(t, document, p.get(t, "/.well-known/oauth-authorization-server"))
	var m metadata
	require.NoError(t, json.Unmarshal([]byte(document), &m))
	assert.Equal(t, p.base, m.Issuer)
	assert.Equal(t, p.base+"/token", m.TokenEndpoint)
	assert.Equal(t, p.base+"/revoke", m.RevocationEndpoint)
	assert.Equal(t, p.base+"/introspect", m.IntrospectionEndpoint)
	assert.Equal(t, p.base+"/authorize", m.AuthorizationEndpoint)
	assert.Contains(t, m.GrantTypes, "refresh_token")
}
