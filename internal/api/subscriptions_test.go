package api_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
)

const givenSecret = "whsec_canaryGivenMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// withConfigured puts a subscription of the configuration in place.
func (b *bundle) withConfigured() {
	b.subscriptions.list = append(b.subscriptions.list, api.Subscription{
		SubscriptionSettings: api.SubscriptionSettings{Name: "fixed", URL: "https://fixed.example", Format: "webhook", Types: []string{"*"}, Enabled: true},
		ManagedBy:            api.ManagedByConfig,
		Progress:             api.SubscriptionProgress{State: "disabled", Reason: "gone", Detail: "the receiver answered 410", Since: noon, Lag: 90 * time.Second},
	})
}

func TestSubscriptionFromCreationToDeletion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := b.call(t, http.MethodPost, "/v1/subscriptions", `{"name":"ui","url":"https://hooks.example/x","types":["credential.*"],"providers":["acme"],"prefix":"a:","labels":{"team":"blue"},"retry":["5s","1.5"]}`)
	require.Equal(t, http.StatusCreated, got.status, got.body)
	var made api.NewSubscriptionInfo
	got.decode(t, &made)
	assert.Equal(t, drawnSecret, made.Secret)
	assert.Equal(t, []string{"5s", "1.5s"}, made.Retry)
	assert.Equal(t, api.ManagedByAPI, made.ManagedBy)
	assert.True(t, made.Enabled)
	assert.Equal(t, "webhook", made.Format)
	assert.Equal(t, "active", made.State)
	assert.Equal(t, noon.Time(), *made.CreatedAt)

	got = b.call(t, http.MethodGet, "/v1/subscriptions/ui", "")
	require.Equal(t, http.StatusOK, got.status)
	assert.NotContains(t, got.body, "whsec_")
	got = b.call(t, http.MethodGet, "/v1/subscriptions", "")
	assert.Contains(t, got.body, `"name":"ui"`)
	assert.NotContains(t, got.body, "whsec_")

	got = b.call(t, http.MethodPut, "/v1/subscriptions/ui", `{"url":"https://hooks.example/y","types":["*"],"enabled":false}`)
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.Equal(t, "replace {Name:ui URL:https://hooks.example/y Format:webhook Types:[*] Providers:[] Prefix: Labels:map[] Retry:[] Enabled:false}", b.subscriptions.last())

	got = b.call(t, http.MethodDelete, "/v1/subscriptions/ui", "")
	require.Equal(t, http.StatusNoContent, got.status)
	assert.Equal(t, "subscription_not_found", b.call(t, http.MethodGet, "/v1/subscriptions/ui", "").problem(t).Code)
	assert.NotContains(t, b.log.String(), "whsec_")
}

// A secret that was given is never in an answer.
func TestSubscriptionSecrets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := b.call(t, http.MethodPost, "/v1/subscriptions", `{"name":"ui","url":"https://hooks.example/x","types":["*"],"secret":"`+givenSecret+`"}`)
	require.Equal(t, http.StatusCreated, got.status, got.body)
	assert.NotContains(t, got.body, "whsec_")

	for body, want := range map[string]string{
		"": "rotate ui for 24h0m0s", `{"overlap":"90"}`: "rotate ui for 1m30s", `{"overlap":"0s"}`: "rotate ui for 0s",
	} {
		got = b.call(t, http.MethodPost, "/v1/subscriptions/ui/secret", body)
		require.Equal(t, http.StatusOK, got.status, got.body)
		assert.Equal(t, want, b.subscriptions.last())
		assert.Contains(t, got.body, drawnSecret)
		assert.Contains(t, got.body, `"previous_secret_until"`)
	}
	got = b.call(t, http.MethodPost, "/v1/subscriptions/ui/secret", `{"secret":"`+givenSecret+`"}`)
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.NotContains(t, got.body, "whsec_")
	for _, body := range []string{`{"overlap":"-1s"}`, `{"overlap":"721h"}`, `{"overlap":"soon"}`} {
		assert.Equal(t, "invalid", b.call(t, http.MethodPost, "/v1/subscriptions/ui/secret", body).problem(t).Code, body)
	}
	assert.NotContains(t, b.log.String(), "whsec_")
}

// What stands in config.yaml is not changed here, and can be acted on.
func TestConfiguredSubscription(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.withConfigured()
	for _, call := range [][3]string{
		{http.MethodPut, "", `{"url":"https://a.example","types":["*"]}`},
		{http.MethodDelete, "", ""},
		{http.MethodPost, "/secret", ""},
	} {
		p := b.call(t, call[0], "/v1/subscriptions/fixed"+call[1], call[2]).problem(t)
		assert.Equal(t, http.StatusConflict, p.Status)
		assert.Equal(t, "managed_by_config", p.Code)
	}
	var shown api.SubscriptionInfo
	b.call(t, http.MethodGet, "/v1/subscriptions/fixed", "").decode(t, &shown)
	assert.Equal(t, api.ManagedByConfig, shown.ManagedBy)
	assert.Equal(t, "disabled", shown.State)
	assert.Equal(t, "gone", shown.Reason)
	assert.InDelta(t, 90, shown.Lag, 0)
	got := b.call(t, http.MethodPost, "/v1/subscriptions/fixed/enable", "")
	require.Equal(t, http.StatusOK, got.status)
	assert.Contains(t, got.body, `"state":"active"`)

	got = b.call(t, http.MethodPost, "/v1/subscriptions/fixed/test", "")
	require.Equal(t, http.StatusOK, got.status)
	assert.JSONEq(t, `{"event":"01J","result":"refused","status":404,"error":"the receiver answered 404","took_seconds":0.03}`, got.body)

	b.subscriptions.reset = true
	got = b.call(t, http.MethodPost, "/v1/subscriptions/fixed/replay", `{"from":"2026-01-02T15:04:05Z"}`)
	require.Equal(t, http.StatusOK, got.status)
	assert.JSONEq(t, `{"reset":true}`, got.body)
	assert.Equal(t, "replay fixed from 2026-01-02T15:04:05Z", b.subscriptions.last())
	p := b.call(t, http.MethodPost, "/v1/subscriptions/fixed/replay", `{"from":"nonsense"}`).problem(t)
	assert.Equal(t, http.StatusUnprocessableEntity, p.Status)
	assert.Equal(t, "body.from", p.Errors[0].Location)
}

func TestSubscriptionDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.withConfigured()
	b.subscriptions.deliveries = []api.Delivery{
		{Event: "a/2/x", Type: "credential.refreshed", Credential: "a", Lane: 7, Attempt: 2, At: noon, Took: 1500 * time.Millisecond, Result: "refused", Status: 503, Error: "the receiver answered 503"},
		{Event: "a/1/x", Type: "credential.created", Credential: "a", Lane: 7, Attempt: 1, At: noon, Result: "delivered", Status: 204},
	}
	got := b.call(t, http.MethodGet, "/v1/subscriptions/fixed/deliveries?limit=1", "")
	require.Equal(t, http.StatusOK, got.status)
	assert.JSONEq(t, `{"deliveries":[{"event":"a/2/x","type":"credential.refreshed","credential":"a","lane":7,"attempt":2,"at":"`+noon.Time().Format(time.RFC3339)+`","took_seconds":1.5,"result":"refused","status":503,"error":"the receiver answered 503"}]}`, got.body)
	b.call(t, http.MethodGet, "/v1/subscriptions/fixed/deliveries", "")
	assert.Equal(t, "deliveries fixed 20", b.subscriptions.last())
	for _, query := range []string{"limit=0", "limit=101", "limit=x", "cursor=1"} {
		assert.Equal(t, http.StatusUnprocessableEntity, b.call(t, http.MethodGet, "/v1/subscriptions/fixed/deliveries?"+query, "").status, query)
	}
}

// Only an admin acts on subscriptions: their URLs and what they are sent
// concern every credential.
func TestSubscriptionsNeedAnAdmin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.withConfigured()
	others := b.keys.add("", api.ScopeTokenRead, api.ScopeCredentialWrite, api.ScopeEventRead)
	prefixed := b.keys.add("acct-", api.ScopeAdmin, api.ScopeEventRead)
	for _, key := range []string{others, prefixed} {
		for _, call := range [][3]string{
			{http.MethodGet, "", ""},
			{http.MethodPost, "", `{"name":"ui","url":"https://a.example","types":["*"]}`},
			{http.MethodGet, "/fixed", ""},
			{http.MethodPut, "/fixed", `{"url":"https://a.example","types":["*"]}`},
			{http.MethodDelete, "/fixed", ""},
			{http.MethodPost, "/fixed/test", ""},
			{http.MethodPost, "/fixed/replay", `{"from":"0"}`},
			{http.MethodPost, "/fixed/enable", ""},
			{http.MethodPost, "/fixed/secret", ""},
			{http.MethodGet, "/fixed/deliveries", ""},
		} {
			got := b.call(t, call[0], "/v1/subscriptions"+call[1], call[2], "Authorization", "Bearer "+key)
			assert.Equal(t, http.StatusForbidden, got.status, call)
		}
	}
	assert.Empty(t, b.subscriptions.last())
}

func TestBadSubscriptions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.withConfigured()
	for name, body := range map[string]string{
		"no name":          `{"url":"https://a.example","types":["*"]}`,
		"name":             `{"name":"A B","url":"https://a.example","types":["*"]}`,
		"hash tag":         `{"name":"{a}","url":"https://a.example","types":["*"]}`,
		"no url":           `{"name":"ui","types":["*"]}`,
		"no types":         `{"name":"ui","url":"https://a.example"}`,
		"empty types":      `{"name":"ui","url":"https://a.example","types":[]}`,
		"unknown field":    `{"name":"ui","url":"https://a.example","types":["*"],"secrets":["x"]}`,
		"twice":            `{"name":"ui","name":"uj","url":"https://a.example","types":["*"]}`,
		"null":             `{"name":"ui","url":null,"types":["*"]}`,
		"format":           `{"name":"ui","url":"https://a.example","types":["*"],"format":"fax"}`,
		"retry":            `{"name":"ui","url":"https://a.example","types":["*"],"retry":["soon"]}`,
		"labels":           `{"name":"ui","url":"https://a.example","types":["*"],"labels":{"a":1}}`,
		"enabled":          `{"name":"ui","url":"https://a.example","types":["*"],"enabled":"no"}`,
		"a secret too big": `{"name":"ui","url":"https://a.example","types":["*"],"secret":"` + strings.Repeat("x", 129) + `"}`,
	} {
		p := b.call(t, http.MethodPost, "/v1/subscriptions", body).problem(t)
		assert.Equal(t, http.StatusUnprocessableEntity, p.Status, name)
		assert.NotContains(t, p.Detail, "fax", name)
	}
	assert.Empty(t, b.subscriptions.last())
	for _, name := range []string{"A", "a%20b", "%7Ba%7D", "a%0d%0ab", strings.Repeat("a", 33), ".."} {
		got := b.call(t, http.MethodGet, "/v1/subscriptions/"+name+"/deliveries", "")
		assert.NotEqual(t, http.StatusOK, got.status, name)
	}
	assert.Empty(t, b.subscriptions.last())
}

// What keeps a subscription from being made tells the caller where it is.
func TestSubscriptionFaults(t *testing.T) {
	t.Parallel()
	b := setup(t)
	create := func(err error) api.Problem {
		b.subscriptions.fail(err)
		return b.call(t, http.MethodPost, "/v1/subscriptions", `{"name":"ui","url":"https://10.0.0.1/x","types":["*"],"secret":"`+givenSecret+`"}`).problem(t)
	}
	p := create(&api.FaultError{Kind: api.FaultInvalid, Field: "body.url", Detail: "cannot be used: it is not public"})
	assert.Equal(t, http.StatusUnprocessableEntity, p.Status)
	assert.Equal(t, "invalid", p.Code)
	assert.Equal(t, []api.ProblemField{{Location: "body.url", Message: "cannot be used: it is not public"}}, p.Errors)
	p = create(&api.FaultError{Kind: api.FaultSubscriptionExists, Detail: "there is one"})
	assert.Equal(t, http.StatusConflict, p.Status)
	assert.Zero(t, p.RetryAfter)
	p = create(&api.FaultError{Kind: api.FaultSubscriptionExists, Detail: "it was just deleted", RetryAfter: 20 * time.Second})
	assert.Equal(t, http.StatusConflict, p.Status)
	assert.Equal(t, 20, p.RetryAfter)
	p = create(errors.New("Redis said " + credential.NewSecret(givenSecret).String()))
	assert.Equal(t, http.StatusInternalServerError, p.Status)
	assert.NotContains(t, b.log.String(), givenSecret)
}
