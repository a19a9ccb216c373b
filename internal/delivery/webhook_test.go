package delivery

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
)

// A secret that was replaced signs beside its successor until it ends; the
// current one always does.
func TestSecretsThatOverlap(t *testing.T) {
	t.Parallel()
	const before, longBefore = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "whsec_HxwdHh8AAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRo="
	now := time.Now()
	var header http.Header
	var body []byte
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		body, _ = io.ReadAll(r.Body) // what is missing fails the signature
	}))
	t.Cleanup(receiver.Close)
	w, err := NewWebhook(WebhookOptions{
		URL: receiver.URL, Client: receiver.Client(), Source: "urn:refreshd:test", UserAgent: "refreshd/test",
		Now: func() time.Time { return now },
		Secrets: []SigningSecret{
			{Secret: credential.NewSecret(hookSecret), Until: now.Add(-time.Hour)}, // the current one, whatever is said of its end
			{Secret: credential.NewSecret(before), Until: now.Add(time.Minute)},
			{Secret: credential.NewSecret(longBefore)},
		},
	})
	require.NoError(t, err)
	for _, c := range []struct {
		after time.Duration
		signs map[string]bool
	}{
		{0, map[string]bool{hookSecret: true, before: true, longBefore: true}},
		{time.Minute, map[string]bool{hookSecret: true, before: false, longBefore: true}},
	} {
		now = now.Add(c.after)
		outcome := w.Send(t.Context(), event.CloudEvent{SpecVersion: "1.0", ID: "01J", Type: string(credential.EventStreamVerification), Source: "urn:refreshd:test"})
		require.Equal(t, Outcome{Result: Delivered, Status: http.StatusOK}, outcome)
		for secret, signs := range c.signs {
			verifier, err := standardwebhooks.NewWebhook(secret)
			require.NoError(t, err)
			assert.Equal(t, signs, verifier.VerifyIgnoringTimestamp(body, header) == nil, "after %s", c.after)
		}
	}
	assert.True(t, strings.HasPrefix(header.Get("Webhook-Signature"), "v1,"))
	assert.JSONEq(t, `{"specversion":"1.0","id":"01J","source":"urn:refreshd:test","type":"stream.verification","time":"0001-01-01T00:00:00Z"}`, string(body))

	_, err = NewWebhook(WebhookOptions{URL: receiver.URL})
	require.ErrorContains(t, err, "needs a secret")
}
