package practice

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMetadata(t *testing.T) {
	t.Parallel()
	for auth, want := range map[ClientAuth][]string{
		ClientAuthBasic: {"client_secret_basic"},
		ClientAuthPost:  {"client_secret_post"},
		ClientAuthNone:  {"none"},
		ClientAuthAny:   {"client_secret_basic", "client_secret_post", "none"},
	} {
		s := New(Options{ClientAuth: auth})
		for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
			a := direct(t, s, nil, func(r *http.Request) { r.Method, r.URL.Path = http.MethodGet, path })
			require.Equal(t, http.StatusOK, a.Status)
			var m metadata
			require.NoError(t, json.Unmarshal([]byte(a.Body), &m))
			assert.Equal(t, "http://practice.test", m.Issuer)
			assert.Equal(t, "http://practice.test/token", m.TokenEndpoint)
			assert.Equal(t, "http://practice.test/revoke", m.RevocationEndpoint)
			assert.Equal(t, "http://practice.test/introspect", m.IntrospectionEndpoint)
			assert.Equal(t, want, m.TokenAuth)
		}
	}
}

// call makes a call of an endpoint that takes a token, as the demo client.
func call(t *testing.T, s *Server, path, token string, change ...func(*http.Request)) answer {
	t.Helper()
	change = append(change, func(r *http.Request) { r.URL.Path = path })
	return direct(t, s, url.Values{"token": {token}, "token_type_hint": {"refresh_token"}}, change...)
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	other := func(r *http.Request) { r.SetBasicAuth("other", "o") }
	s := New(Options{Clients: []Client{{"demo", "demo-secret"}, {"other", "o"}}})

	m := mintOne(t, s)
	assert.Equal(t, "unauthorized_client", call(t, s, "/revoke", m.RefreshToken, other).Error)
	assert.Equal(t, "unauthorized_client", call(t, s, "/revoke", m.AccessToken, other).Error)
	assert.Equal(t, "invalid_client", call(t, s, "/revoke", m.RefreshToken, func(r *http.Request) { r.SetBasicAuth("demo", "x") }).Error)
	assert.Equal(t, "invalid_request", call(t, s, "/revoke", "").Error)
	assert.Equal(t, http.StatusOK, fetchResource(t, s, m.AccessToken).Status, "nothing of that revoked anything")

	assert.Equal(t, http.StatusOK, call(t, s, "/revoke", m.AccessToken).Status)
	assert.Equal(t, http.StatusUnauthorized, fetchResource(t, s, m.AccessToken).Status)
	next := direct(t, s, refreshForm(m.RefreshToken))
	require.Equal(t, http.StatusOK, next.Status, "an access token is revoked alone")

	assert.Equal(t, http.StatusOK, call(t, s, "/revoke", m.RefreshToken).Status, "a spent one ends the grant as well")
	assert.Equal(t, http.StatusUnauthorized, fetchResource(t, s, next.AccessToken).Status)
	assert.Equal(t, "invalid_grant", direct(t, s, refreshForm(next.RefreshToken)).Error)
	state, _ := s.Grant(m.Grant)
	assert.Equal(t, deathClient, state.Death)

	for _, token := range []string{m.RefreshToken, "rt_00000000000000000000000000000000", "at_00000000000000000000000000000000", "x"} {
		assert.Equal(t, http.StatusOK, call(t, s, "/revoke", token).Status, "revoked already (RFC 7009, 2.2)")
	}
	assert.Equal(t, int64(1), s.Summary().GrantsDead)
}

func TestIntrospect(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	m := mintOne(t, s)
	assert.JSONEq(t, `{"active":true,"scope":"read write","client_id":"demo","sub":"user-0"}`, call(t, s, "/introspect", m.RefreshToken).Body)
	var got introspection
	require.NoError(t, json.Unmarshal([]byte(call(t, s, "/introspect", m.AccessToken).Body), &got))
	assert.NotZero(t, got.Expires)
	got.Expires = 0
	assert.Equal(t, introspection{Active: true, Scope: "read write", ClientID: "demo", Subject: "user-0", TokenType: "Bearer"}, got)

	next := direct(t, s, refreshForm(m.RefreshToken))
	require.NoError(t, json.Unmarshal([]byte(call(t, s, "/introspect", next.RefreshToken).Body), &got))
	assert.True(t, got.Active, "looking does not spend")
	require.True(t, s.Revoke(m.Grant))
	for _, token := range []string{m.RefreshToken, next.RefreshToken, next.AccessToken, "rt_00000000000000000000000000000000", "x"} {
		assert.JSONEq(t, `{"active":false}`, call(t, s, "/introspect", token).Body)
	}
	assert.Equal(t, "invalid_client", call(t, s, "/introspect", m.RefreshToken, func(r *http.Request) { r.Header.Del("Authorization") }).Error)
	assert.Equal(t, "invalid_request", call(t, s, "/introspect", m.RefreshToken, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }).Error)
	assert.Len(t, s.Ledger(LedgerQuery{}), 1, "introspection is no presentation")
}

func TestResourceWithoutToken(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	for _, header := range []string{"", "Bearer", "Bearer ", "Basic ZGVtbzpkZW1vLXNlY3JldA=="} {
		a := direct(t, s, nil, func(r *http.Request) {
			r.URL.Path = "/resource"
			r.Header.Set("Authorization", header)
		})
		assert.Equal(t, http.StatusUnauthorized, a.Status)
		assert.Equal(t, `Bearer realm="practice"`, a.Header.Get("WWW-Authenticate"))
	}
	assert.Contains(t, fetchResource(t, s, "at_00000000000000000000000000000000").Header.Get("WWW-Authenticate"), `error="invalid_token"`)
}

func TestOptions(t *testing.T) {
	t.Parallel()
	require.NoError(t, Options{}.Validate())
	for _, o := range []Options{
		{AccessTTL: -1},
		{Reuse: "odd"},
		{ClientAuth: "odd"},
		{ExpiresIn: "odd"},
		{Clients: []Client{{Secret: "x"}}},
	} {
		require.ErrorIs(t, o.Validate(), ErrInvalid)
		assert.Panics(t, func() { New(o) })
	}
	clients, err := ParseClients("a:b:c,d:")
	require.NoError(t, err)
	assert.Equal(t, []Client{{"a", "b:c"}, {"d", ""}}, clients)
	for _, s := range []string{"", "a", ":hush", "a:b,"} {
		_, err := ParseClients(s)
		require.ErrorIs(t, err, ErrInvalid)
		assert.NotContains(t, err.Error(), "hush")
	}
}

func TestLabelsRunOut(t *testing.T) {
	t.Parallel()
	l := newLabels()
	for i := range 1 << 16 {
		l.of(strconv.Itoa(i))
	}
	assert.Equal(t, noLabel, l.of("one too many"))
	assert.Equal(t, label(1), l.of("0"))
	assert.Equal(t, "0", l.text(1))
}
