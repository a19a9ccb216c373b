package client_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

// hookSecret returns a secret that is made up of one letter.
func hookSecret(letter string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, 32)))
}

// delivery is what refreshd posts, before it is signed.
type delivery struct {
	method, kind string // POST and application/cloudevents+json unless set
	body         []byte
	id           string
	age          time.Duration // when it is delivered
	secrets      []string      // that sign it; hookSecret("a") unless set
	tamper       func(*http.Request)
}

func deliver(t *testing.T, h http.Handler, d delivery) *httptest.ResponseRecorder {
	t.Helper()
	method, kind := http.MethodPost, "application/cloudevents+json"
	if d.method != "" {
		method = d.method
	}
	if d.kind != "" {
		kind = d.kind
	}
	at := time.Now().Add(-d.age)
	if d.secrets == nil {
		d.secrets = []string{hookSecret("a")}
	}
	if d.id == "" {
		d.id = "msg_1"
	}
	var signatures []string
	for _, secret := range d.secrets {
		signer, err := standardwebhooks.NewWebhook(secret)
		require.NoError(t, err)
		signature, err := signer.Sign(d.id, at, d.body)
		require.NoError(t, err)
		signatures = append(signatures, signature)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, "/hook", strings.NewReader(string(d.body)))
	r.Header.Set("Content-Type", kind)
	r.Header.Set("webhook-id", d.id)
	r.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	r.Header.Set("webhook-signature", strings.Join(signatures, " "))
	if d.tamper != nil {
		d.tamper(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// versioned is an event of a credential, as refreshd sends it.
func versioned(t *testing.T, id string, version uint64) []byte {
	t.Helper()
	text, err := json.Marshal(client.Event{
		ID: fmt.Sprintf("%s/%d/00000000", id, version), Source: "urn:refreshd:e1", Type: client.EventRefreshed,
		Credential: id, State: client.StateActive, Version: version,
	})
	require.NoError(t, err)
	return text
}

// hook is a handler with what it was called for.
type hook struct {
	*client.WebhookHandler

	mu      sync.Mutex
	handled []string
	refused []error
	answer  func(client.Event) error
}

func newHook(t *testing.T, secrets []string, opts client.WebhookOptions) *hook {
	t.Helper()
	h := &hook{answer: func(client.Event) error { return nil }}
	opts.Refused = func(_ *http.Request, err error) { h.refused = append(h.refused, err) }
	made, err := client.NewWebhookHandler(secrets, func(_ context.Context, e client.Event) error {
		h.mu.Lock()
		h.handled = append(h.handled, fmt.Sprintf("%s/%d", e.Credential, e.Version))
		h.mu.Unlock()
		return h.answer(e)
	}, opts)
	require.NoError(t, err)
	h.WebhookHandler = made
	return h
}

func TestWebhookChecksWhatArrives(t *testing.T) {
	t.Parallel()
	good := versioned(t, "a", 1)
	for name, tt := range map[string]struct {
		delivery delivery
		opts     client.WebhookOptions
		want     int
		err      error
	}{
		"signed":               {want: http.StatusNoContent},
		"plain JSON":           {delivery: delivery{kind: "application/json; charset=utf-8"}, want: http.StatusNoContent},
		"signed with the old":  {delivery: delivery{secrets: []string{hookSecret("b")}}, want: http.StatusNoContent},
		"signed with both":     {delivery: delivery{secrets: []string{hookSecret("x"), hookSecret("b")}}, want: http.StatusNoContent},
		"signed by another":    {delivery: delivery{secrets: []string{hookSecret("x")}}, want: http.StatusUnauthorized, err: client.ErrBadSignature},
		"not signed":           {delivery: delivery{tamper: func(r *http.Request) { r.Header.Del("webhook-signature") }}, want: http.StatusUnauthorized, err: client.ErrBadSignature},
		"another ID":           {delivery: delivery{tamper: func(r *http.Request) { r.Header.Set("webhook-id", "msg_2") }}, want: http.StatusUnauthorized, err: client.ErrBadSignature},
		"another time":         {delivery: delivery{age: time.Hour, tamper: func(r *http.Request) { r.Header.Set("webhook-timestamp", strconv.FormatInt(time.Now().Unix(), 10)) }}, want: http.StatusUnauthorized, err: client.ErrBadSignature},
		"a time that is none":  {delivery: delivery{tamper: func(r *http.Request) { r.Header.Set("webhook-timestamp", "now") }}, want: http.StatusUnauthorized, err: client.ErrBadSignature},
		"endless signatures":   {delivery: delivery{tamper: func(r *http.Request) { r.Header.Set("webhook-signature", strings.Repeat("v1,x ", 1000)) }}, want: http.StatusUnauthorized, err: client.ErrBadSignature},
		"four minutes old":     {delivery: delivery{age: 4 * time.Minute}, want: http.StatusNoContent},
		"six minutes old":      {delivery: delivery{age: 6 * time.Minute}, want: http.StatusUnauthorized, err: client.ErrBadAge},
		"six minutes ahead":    {delivery: delivery{age: -6 * time.Minute}, want: http.StatusUnauthorized, err: client.ErrBadAge},
		"older than tolerated": {delivery: delivery{age: 2 * time.Minute}, opts: client.WebhookOptions{Tolerance: time.Minute}, want: http.StatusUnauthorized, err: client.ErrBadAge},
		"a read":               {delivery: delivery{method: http.MethodGet}, want: http.StatusMethodNotAllowed},
		"a form":               {delivery: delivery{kind: "application/x-www-form-urlencoded"}, want: http.StatusUnsupportedMediaType},
		"too large":            {opts: client.WebhookOptions{MaxBody: 10}, want: http.StatusRequestEntityTooLarge},
		"no event":             {delivery: delivery{body: []byte(`{"hello":1}`)}, want: http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHook(t, []string{hookSecret("a"), hookSecret("b")}, tt.opts)
			if tt.delivery.body == nil {
				tt.delivery.body = good
			}
			w := deliver(t, h, tt.delivery)
			assert.Equal(t, tt.want, w.Code)
			assert.NotContains(t, w.Body.String(), "whsec_")
			if tt.want == http.StatusNoContent {
				assert.Equal(t, []string{"a/1"}, h.handled)
				return
			}
			assert.Empty(t, h.handled)
			if tt.err != nil {
				require.Len(t, h.refused, 1)
				require.ErrorIs(t, h.refused[0], tt.err)
			}
		})
	}
}

func TestWebhookRefusesATamperedBody(t *testing.T) {
	t.Parallel()
	h := newHook(t, []string{hookSecret("a")}, client.WebhookOptions{})
	w := deliver(t, h, delivery{body: versioned(t, "a", 1), tamper: func(r *http.Request) {
		r.Body = http.NoBody
	}})
	assert.Equal(t, http.StatusUnauthorized, w.Code)
	assert.Empty(t, h.handled)
}

func TestWebhookKeepsTheOrder(t *testing.T) {
	t.Parallel()
	h := newHook(t, []string{hookSecret("a")}, client.WebhookOptions{})
	for _, version := range []uint64{1, 3, 3, 2, 1, 4} {
		assert.Equal(t, http.StatusNoContent, deliver(t, h, delivery{body: versioned(t, "a", version)}).Code)
	}
	assert.Equal(t, http.StatusNoContent, deliver(t, h, delivery{body: versioned(t, "b", 1)}).Code)
	assert.Equal(t, []string{"a/1", "a/3", "a/4", "b/1"}, h.handled)

	// A log that was restored counts again, under another source.
	text := strings.Replace(string(versioned(t, "a", 2)), "urn:refreshd:e1", "urn:refreshd:e2", 1)
	assert.Equal(t, http.StatusNoContent, deliver(t, h, delivery{body: []byte(text)}).Code)
	assert.Equal(t, "a/2", h.handled[len(h.handled)-1])

	// What belongs to no version has no order.
	for range 2 {
		text := `{"specversion":"1.0","id":"01J","source":"s","type":"stream.verification"}`
		assert.Equal(t, http.StatusNoContent, deliver(t, h, delivery{body: []byte(text)}).Code)
	}
	assert.Equal(t, []string{"/0", "/0"}, h.handled[len(h.handled)-2:])
}

func TestWebhookAnswersWhatItsFunctionSays(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err   error
		want  int
		after string
	}{
		"failed":     {err: errors.New("the database is away"), want: http.StatusInternalServerError},
		"gone":       {err: fmt.Errorf("wrapped: %w", client.ErrGone), want: http.StatusGone},
		"not now":    {err: fmt.Errorf("wrapped: %w", &client.UnavailableError{RetryAfter: 1500 * time.Millisecond}), want: http.StatusServiceUnavailable, after: "2"},
		"not at all": {err: &client.UnavailableError{}, want: http.StatusServiceUnavailable, after: "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHook(t, []string{hookSecret("a")}, client.WebhookOptions{})
			h.answer = func(client.Event) error { return tt.err }
			w := deliver(t, h, delivery{body: versioned(t, "a", 1)})
			assert.Equal(t, tt.want, w.Code)
			assert.Equal(t, tt.after, w.Header().Get("Retry-After"))
			assert.NotContains(t, w.Body.String(), "database", "it tells the sender about itself")

			h.answer = func(client.Event) error { return nil }
			assert.Equal(t, http.StatusNoContent, deliver(t, h, delivery{body: versioned(t, "a", 1)}).Code)
			assert.Equal(t, []string{"a/1", "a/1"}, h.handled, "what failed is handled when it comes again")
		})
	}
}

// failingOrder is a store that is away.
type failingOrder struct{ get, set error }

func (f failingOrder) Handled(context.Context, string) (uint64, error)  { return 0, f.get }
func (f failingOrder) SetHandled(context.Context, string, uint64) error { return f.set }

func TestWebhookWithAStoreThatIsAway(t *testing.T) {
	t.Parallel()
	away := errors.New("no connection")
	for name, tt := range map[string]struct {
		order   failingOrder
		handled int
	}{
		"before": {order: failingOrder{get: away}},
		"after":  {order: failingOrder{set: away}, handled: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHook(t, []string{hookSecret("a")}, client.WebhookOptions{Order: tt.order})
			assert.Equal(t, http.StatusInternalServerError, deliver(t, h, delivery{body: versioned(t, "a", 1)}).Code)
			assert.Len(t, h.handled, tt.handled)
			require.Len(t, h.refused, 1)
			require.ErrorIs(t, h.refused[0], away)
		})
	}
}

// One credential's events are handled one at a time; another's are not held up.
func TestWebhookHandlesOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHook(t, []string{hookSecret("a")}, client.WebhookOptions{})
		release := make(chan struct{})
		h.answer = func(e client.Event) error {
			if e.Credential == "slow" {
				<-release
			}
			return nil
		}
		var sent sync.WaitGroup
		send := func(d delivery, want int) {
			sent.Go(func() { assert.Equal(t, want, deliver(t, h, d).Code) })
			synctest.Wait()
		}
		send(delivery{body: versioned(t, "slow", 1)}, http.StatusNoContent)
		send(delivery{body: versioned(t, "slow", 1)}, http.StatusNoContent) // again, as the answer took too long
		send(delivery{body: versioned(t, "quick", 1)}, http.StatusNoContent)
		hungUp, cancel := context.WithCancel(t.Context())
		send(delivery{body: versioned(t, "slow", 2), tamper: func(r *http.Request) { *r = *r.WithContext(hungUp) }}, http.StatusInternalServerError)
		cancel()
		synctest.Wait()
		assert.Equal(t, []string{"slow/1", "quick/1"}, h.handled)
		close(release)
		sent.Wait()
		assert.Equal(t, []string{"slow/1", "quick/1"}, h.handled)
	})
}

func TestWebhookNeedsGoodSettings(t *testing.T) {
	t.Parallel()
	handle := func(context.Context, client.Event) error { return nil }
	short := "whsec_" + base64.StdEncoding.EncodeToString([]byte("tooshort"))
	for name, tt := range map[string]struct {
		secrets []string
		handle  func(context.Context, client.Event) error
		opts    client.WebhookOptions
	}{
		"no secret":          {handle: handle},
		"too many secrets":   {handle: handle, secrets: make([]string, 9)},
		"a short secret":     {handle: handle, secrets: []string{hookSecret("a"), short}},
		"no base64":          {handle: handle, secrets: []string{"whsec_%%%"}},
		"no function":        {secrets: []string{hookSecret("a")}},
		"negative tolerance": {handle: handle, secrets: []string{hookSecret("a")}, opts: client.WebhookOptions{Tolerance: -1}},
		"negative body":      {handle: handle, secrets: []string{hookSecret("a")}, opts: client.WebhookOptions{MaxBody: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client.NewWebhookHandler(tt.secrets, tt.handle, tt.opts)
			require.Error(t, err)
			for _, secret := range tt.secrets {
				if secret != "" {
					assert.NotContains(t, err.Error(), strings.TrimPrefix(secret, "whsec_"))
				}
			}
		})
	}
}
