package app

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/config"
)

const setIssuer = "https://refreshd.example"

// get reads a document without a key.
func (r *running) get(path string, into any) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.base+path, nil)
	require.NoError(r.t, err)
	resp, err := r.client.Do(req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	require.Equal(r.t, http.StatusOK, resp.StatusCode)
	require.NoError(r.t, json.NewDecoder(resp.Body).Decode(into))
}

// verified checks a token against the keys that the service publishes now, and
// returns its claims.
func (r *running) verified(token, audience string, secrets ...string) map[string]any {
	r.t.Helper()
	var keys jose.JSONWebKeySet
	r.get("/.well-known/jwks.json", &keys)
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(r.t, err)
	assert.Equal(r.t, "secevent+jwt", signed.Signatures[0].Protected.ExtraHeaders[jose.HeaderType])
	body, err := signed.Verify(keys)
	require.NoError(r.t, err)
	without(r.t, string(body), secrets...)
	var claims map[string]any
	require.NoError(r.t, json.Unmarshal(body, &claims))
	assert.Equal(r.t, setIssuer, claims["iss"])
	assert.Equal(r.t, audience, claims["aud"])
	assert.NotContains(r.t, claims, "sub")
	assert.NotContains(r.t, claims, "exp")
	return claims
}

// events returns the types of a token's events without what all have in common.
func events(claims map[string]any) []string {
	all, _ := claims["events"].(map[string]any)
	var short []string
	for uri := range all {
		short = append(short, uri[strings.LastIndexByte(uri, '/')+1:])
	}
	return short
}

// poll fetches tokens, sorted by their IDs.
func (r *running) poll(ack ...string) (ids, tokens []string) {
	r.t.Helper()
	status, answer := r.call(http.MethodPost, "/v1/subscriptions/polled/poll", map[string]any{"returnImmediately": true, "ack": append([]string{}, ack...)})
	require.Equal(r.t, http.StatusOK, status, answer)
	sets, ok := answer["sets"].(map[string]any)
	require.True(r.t, ok)
	ids = slices.Sorted(maps.Keys(sets))
	for _, id := range ids {
		token, ok := sets[id].(string)
		require.True(r.t, ok)
		tokens = append(tokens, token)
	}
	return ids, tokens
}

// verify asks for a verification event.
func (r *running) verify(stream string) int {
	r.t.Helper()
	body := strings.NewReader(`{"stream_id":"` + stream + `","state":"s-` + stream + `"}`)
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.base+"/v1/signals/verify", body)
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+r.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	require.NoError(r.t, err)
	require.NoError(r.t, resp.Body.Close())
	return resp.StatusCode
}

// next is the token that is pushed next.
func next(t *testing.T, pushed <-chan string) string {
	t.Helper()
	select {
	case token := <-pushed:
		return token
	case <-time.After(patience):
		t.Fatal("nothing was pushed")
		return ""
	}
}

// From a login to receivers that are pushed to and that poll, over a restart
// and a rotation of the signing key.
func TestSignals(t *testing.T) {
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	pushed := make(chan string, 16)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer canary-of-the-bearer" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		body, err := io.ReadAll(req.Body)
		if err == nil {
			pushed <- string(body)
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	t.Cleanup(receiver.Close)
	f.acme(t)["issuer"] = provider.url
	f.config["ssf"] = map[string]any{"issuer": setIssuer}
	f.config["network"] = map[string]any{"allow": []any{"127.0.0.0/8"}}
	f.config["subscriptions"] = []any{
		map[string]any{
			"name": "pushed", "format": "caep", "delivery": "push", "url": receiver.URL, "audience": "https://a.example",
			"bearer": map[string]any{"file": f.write(t, "bearer.secret", "canary-of-the-bearer")},
		},
		map[string]any{"name": "polled", "format": "caep", "delivery": "poll", "audience": "https://b.example", "types": []any{"credential.*"}},
	}
	r := run(t, f, everything())
	var told map[string]any
	r.get("/.well-known/ssf-configuration", &told)
	assert.Equal(t, setIssuer+"/.well-known/jwks.json", told["jwks_uri"])
	assert.Equal(t, "1_0", told["spec_version"])

	minted := provider.mint(t)
	secrets := []string{minted.AccessToken, minted.RefreshToken, clientSecret, "canary-of-the-bearer"}
	login := loginBody(minted)
	login["subject"] = "u-7"
	status, record := r.call(http.MethodPut, "/v1/credentials/run:alice", login)
	require.Equal(t, http.StatusCreated, status, record)
	connected := next(t, pushed)
	claims := r.verified(connected, "https://a.example", secrets...)
	assert.Equal(t, []string{"session-established"}, events(claims))
	assert.Equal(t, map[string]any{"format": "iss_sub", "iss": provider.url, "sub": "u-7"}, claims["sub_id"])
	ids, tokens := r.poll()
	require.Equal(t, []string{claims["jti"].(string)}, ids) //nolint:errcheck,forcetypeassert // another type is not equal
	r.verified(tokens[0], "https://b.example")

	// Not acknowledged, so it comes again, also after a restart.
	require.NoError(t, r.end())
	first := r.log.String()
	r = run(t, f, everything())
	again, _ := r.poll()
	require.Equal(t, ids, again)
	r.verified(connected, "https://a.example") // with the same key
	none, _ := r.poll(ids...)
	require.Empty(t, none)

	// A new key is told before it signs; withdrawn ones are told no more.
	status, key := r.call(http.MethodPost, "/v1/signals/keys", nil)
	require.Equal(t, http.StatusCreated, status, key)
	status, answer := r.call(http.MethodPost, "/v1/signals/keys", nil)
	require.Equal(t, http.StatusConflict, status, answer)
	var keys jose.JSONWebKeySet
	r.get("/.well-known/jwks.json", &keys)
	require.Len(t, keys.Keys, 2)
	status, answer = r.call(http.MethodPost, "/v1/credentials/run:alice/logout", nil)
	require.Equal(t, http.StatusOK, status, answer)
	revoked := next(t, pushed)
	claims = r.verified(revoked, "https://a.example", secrets...)
	assert.Equal(t, []string{"session-revoked"}, events(claims))
	ids, tokens = r.poll()
	require.Len(t, ids, 1)
	r.verified(tokens[0], "https://b.example")
	status, answer = r.call(http.MethodPost, "/v1/signals/keys", map[string]any{"immediate": true})
	require.Equal(t, http.StatusCreated, status, answer)
	r.get("/.well-known/jwks.json", &keys)
	require.Len(t, keys.Keys, 1)
	assert.Equal(t, answer["id"], keys.Keys[0].KeyID)

	// Receivers may ask whether their stream works.
	require.Equal(t, http.StatusNoContent, r.verify("pushed"))
	claims = r.verified(next(t, pushed), "https://a.example")
	assert.Equal(t, []string{"verification"}, events(claims))
	assert.Equal(t, map[string]any{"format": "opaque", "id": "pushed"}, claims["sub_id"])
	require.Equal(t, http.StatusNoContent, r.verify("polled"))
	ids, tokens = r.poll(ids...)
	require.Len(t, ids, 1)
	assert.Equal(t, []string{"verification"}, events(r.verified(tokens[0], "https://b.example")))
	assert.Equal(t, http.StatusNotFound, r.verify("nobody"))
	status, answer = r.call(http.MethodPost, "/v1/subscriptions/pushed/poll", map[string]any{})
	assert.Equal(t, http.StatusNotFound, status, answer)
	receiver.Close()
	assert.Equal(t, http.StatusBadGateway, r.verify("pushed"))

	// Without an issuer nothing of this is there.
	delete(f.config, "ssf")
	delete(f.config, "subscriptions")
	f.save(t)
	r.reload <- struct{}{}
	r.log.await(t, 1, `the configuration was loaded again`)
	status, answer = r.call(http.MethodGet, "/.well-known/jwks.json", nil)
	require.Equal(t, http.StatusNotFound, status)
	assert.Equal(t, "no_signals", answer["code"])
	require.NoError(t, r.end())
	for _, text := range []string{first, r.log.String()} {
		without(t, text, secrets...)
	}
}

// A subscription that would never get anything is refused.
func TestSignalsOfNoType(t *testing.T) {
	t.Parallel()
	_, err := filterOf(config.Subscription{Format: config.FormatCAEP, Types: []string{"session.*"}})
	require.ErrorContains(t, err, "none of the types [session.*] becomes a security event")
}
