package service

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
	"github.com/refreshd/refreshd/test/harness"
)

// What the service signs is taken by the public library of Standard Webhooks
// and by the SDK's handler, and what that library signs by the handler.
func TestWebhookSignaturesBothWays(t *testing.T) {
	t.Parallel()
	h := newHouse(t, newProvider(t, providerOptions{}), "")
	at := h.start()
	receiver := newHook(t)
	var made shownSubscription
	require.NoError(t, at.Call(t.Context(), http.MethodPost, "/v1/subscriptions", map[string]any{
		"name": "app", "url": receiver.url, "types": []string{"credential.*"},
	}, &made))
	h.login(at.api, 1)
	delivered := receiver.await(t, 1, version(1))
	require.True(t, delivered.signedWith(t, made.Secret))
	other, _ := newSecret(t)
	assert.False(t, delivered.signedWith(t, other))

	var handled []client.Event
	var refused error
	handler, err := client.NewWebhookHandler([]string{other, made.Secret}, func(_ context.Context, e client.Event) error {
		handled = append(handled, e)
		return nil
	}, client.WebhookOptions{Refused: func(_ *http.Request, err error) { refused = err }})
	require.NoError(t, err)
	assert.Equal(t, http.StatusNoContent, receive(t, handler, delivered))
	require.NoError(t, refused)
	require.Len(t, handled, 1)
	assert.Equal(t, delivered.event.ID, handled[0].ID)
	assert.Equal(t, client.StateActive, handled[0].State)

	// The next event, signed by the library with either secret.
	require.NoError(t, at.Refresh(t.Context(), credentialID(0)))
	next := receiver.await(t, 1, version(2))
	for _, row := range []struct {
		secret string
		at     time.Time
		status int
		err    error
	}{
		{"", time.Now(), http.StatusUnauthorized, client.ErrBadSignature}, // by a secret of nobody's
		{other, time.Now().Add(-time.Hour), http.StatusUnauthorized, client.ErrBadAge},
		{other, time.Now(), http.StatusNoContent, nil},
		{made.Secret, time.Now(), http.StatusNoContent, nil}, // again, which is not handled again
	} {
		refused = nil
		secret := row.secret
		if secret == "" {
			secret, _ = newSecret(t)
		}
		assert.Equal(t, row.status, receive(t, handler, next.signed(t, secret, row.at)))
		require.ErrorIs(t, refused, row.err)
	}
	require.Len(t, handled, 2)
	assert.EqualValues(t, 2, handled[1].Version)
}

// signed is a delivery as the public library signs it.
func (p posted) signed(t *testing.T, secret string, at time.Time) posted {
	t.Helper()
	signer, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	signature, err := signer.Sign(p.event.ID, at, p.body)
	require.NoError(t, err)
	p.header = p.header.Clone()
	p.header.Set(standardwebhooks.HeaderWebhookID, p.event.ID)
	p.header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	p.header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return p
}

// receive hands a delivery to a handler.
func receive(t *testing.T, handler http.Handler, p posted) int {
	t.Helper()
	w := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/hook", bytes.NewReader(p.body))
	req.Header = p.header
	handler.ServeHTTP(w, req)
	return w.Code
}

// A Security Event Token that the service pushes verifies with the keys that it
// publishes, and has the form that RFC 8417 and Shared Signals give it.
func TestPushedSecurityEventTokenVerifies(t *testing.T) {
	t.Parallel()
	const audience, issuer = "https://receiver.example", "https://refreshd.example"
	type pushed struct{ authorization, kind, token string }
	came := make(chan pushed, 8)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender died while it wrote
		}
		select {
		case came <- pushed{r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(body)}:
			w.WriteHeader(http.StatusAccepted)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(receiver.Close)
	p := newProvider(t, providerOptions{})
	h := newHouse(t, p, "")
	h.acme()["issuer"] = p.url
	h.writeSecret("bearer.secret", "what-the-receiver-knows")
	h.config["ssf"] = map[string]any{"issuer": issuer}
	h.config["subscriptions"] = []any{map[string]any{
		"name": "signals", "format": "caep", "delivery": "push", "url": receiver.URL, "audience": audience,
		"bearer": map[string]any{"file": "./bearer.secret"},
	}}
	at := h.start()
	minted := h.login(at.api, 1)
	require.NoError(t, at.Call(t.Context(), http.MethodPost, harness.CredentialPath(credentialID(0))+"/logout", nil, nil))

	for _, event := range []string{"session-established", "session-revoked"} {
		var got pushed
		select {
		case got = <-came:
		case <-time.After(patience):
			t.Fatalf("no %s was pushed", event)
		}
		assert.Equal(t, "Bearer what-the-receiver-knows", got.authorization)
		assert.Equal(t, "application/secevent+jwt", got.kind)
		claims := verifiedSET(t, at.api, got.token)
		assert.Equal(t, issuer, claims["iss"])
		assert.Equal(t, audience, claims["aud"])
		assert.NotEmpty(t, claims["jti"])
		assert.NotEmpty(t, claims["iat"])
		assert.Equal(t, map[string]any{"format": "iss_sub", "iss": p.url, "sub": minted[0].Subject}, claims["sub_id"])
		assert.NotContains(t, claims, "sub")
		assert.NotContains(t, claims, "exp")
		events, ok := claims["events"].(map[string]any)
		require.True(t, ok)
		require.Len(t, events, 1)
		assert.Contains(t, events, "https://schemas.openid.net/secevent/caep/event-type/"+event)
	}
}

// verifiedSET checks a token as a receiver does, with the keys that are
// published, and returns its claims.
func verifiedSET(t *testing.T, at *api, token string) map[string]any {
	t.Helper()
	var keys jose.JSONWebKeySet
	nobody := at.with("")
	require.NoError(t, nobody.Call(t.Context(), http.MethodGet, "/.well-known/jwks.json", nil, &keys))
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	require.Len(t, signed.Signatures, 1)
	header := signed.Signatures[0].Protected
	assert.Equal(t, "secevent+jwt", header.ExtraHeaders[jose.HeaderType])
	require.Len(t, keys.Key(header.KeyID), 1)
	body, err := signed.Verify(keys)
	require.NoError(t, err)
	var claims map[string]any
	require.NoError(t, json.Unmarshal(body, &claims))
	return claims
}
