package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
)

// fakeSignals notes what it is asked and answers as it is told.
type fakeSignals struct {
	mu    sync.Mutex
	err   error
	asked []any         // what came, in order
	waits chan struct{} // if set, a poll says so there and waits for the end of the service
}

func (s *fakeSignals) ask(what ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, what...)
	return s.err
}

func (s *fakeSignals) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *fakeSignals) Transmitter(context.Context) (api.SignalTransmitter, error) {
	return api.SignalTransmitter{
		SpecVersion: "1_0", Issuer: "https://x.example", JWKSURI: "https://x.example/.well-known/jwks.json",
		Methods: []string{"urn:ietf:rfc:8935", "urn:ietf:rfc:8936"}, VerificationURI: "https://x.example/v1/signals/verify",
		Schemes: []api.SignalScheme{{URN: "urn:ietf:rfc:6750"}}, DefaultSubjects: "ALL",
	}, s.ask("transmitter")
}

func someKey() api.SigningKey { return api.SigningKey{ID: "k-1", X: "xx", Y: "yy", From: noon} }

func (s *fakeSignals) Keys(context.Context) ([]api.SigningKey, error) {
	return []api.SigningKey{someKey()}, s.ask("keys")
}

func (s *fakeSignals) RotateKey(_ context.Context, immediate bool) (api.SigningKey, error) {
	return someKey(), s.ask("rotate", immediate)
}

func (s *fakeSignals) Poll(ctx context.Context, subscription string, ask api.SignalPoll, until <-chan struct{}) (api.SignalBatch, error) {
	err := s.ask(subscription, ask)
	if s.waits != nil {
		s.waits <- struct{}{}
		select {
		case <-until:
		case <-ctx.Done():
			return api.SignalBatch{}, ctx.Err()
		}
	}
	return api.SignalBatch{Sets: map[string]string{"alice/1/9f86d081": "e30.e30.x"}, More: true}, err
}

func (s *fakeSignals) Verify(_ context.Context, subscription, state string) error {
	return s.ask("verify", subscription, state)
}

const pollPath = "/v1/subscriptions/signals/poll"

// Receivers find configuration and keys without a key of the API, and may keep
// them.
func TestWellKnown(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for path, want := range map[string]string{
		"/.well-known/ssf-configuration": `{"spec_version":"1_0","issuer":"https://x.example","jwks_uri":"https://x.example/.well-known/jwks.json",
			"delivery_methods_supported":["urn:ietf:rfc:8935","urn:ietf:rfc:8936"],"verification_endpoint":"https://x.example/v1/signals/verify",
			"authorization_schemes":[{"spec_urn":"urn:ietf:rfc:6750"}],"default_subjects":"ALL"}`,
		"/.well-known/jwks.json": `{"keys":[{"kty":"EC","crv":"P-256","x":"xx","y":"yy","kid":"k-1","use":"sig","alg":"ES256"}]}`,
	} {
		got := b.call(t, http.MethodGet, path, "", "Authorization", "")
		require.Equal(t, http.StatusOK, got.status, got.body)
		assert.JSONEq(t, want, got.body, path)
		assert.Equal(t, "public, max-age=900", got.header.Get("Cache-Control"))
		assert.Equal(t, "application/json", got.header.Get("Content-Type"))
	}
	b.signals.fail(api.ErrNoSignals)
	for _, path := range []string{"/.well-known/ssf-configuration", "/.well-known/jwks.json"} {
		got := b.call(t, http.MethodGet, path, "", "Authorization", "")
		require.Equal(t, http.StatusNotFound, got.status)
		assert.Equal(t, "no_signals", got.problem(t).Code)
		assert.Equal(t, "no-store", got.header.Get("Cache-Control"))
	}
}

// A poll is one of RFC 8936, section 2.4.
func TestPollSignals(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	reader := []string{"Authorization", "Bearer " + b.keys.add("", api.ScopeEventRead)}
	got := b.call(t, http.MethodPost, pollPath, `{"maxEvents":0,"returnImmediately":true,"ack":["a/1/x"],
		"setErrs":{"b/1/x":{"err":"invalid_key","description":"no such key"}}}`, reader...)
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.JSONEq(t, `{"sets":{"alice/1/9f86d081":"e30.e30.x"},"moreAvailable":true}`, got.body)
	assert.Equal(t, "no-store", got.header.Get("Cache-Control"))
	require.Equal(t, http.StatusOK, b.call(t, http.MethodPost, pollPath, `{}`, reader...).status)
	assert.Equal(t, []any{
		"signals",
		api.SignalPoll{Max: new(0), AtOnce: true, Ack: []string{"a/1/x"}, Errors: map[string]string{"b/1/x": "invalid_key"}},
		"signals",
		api.SignalPoll{Errors: map[string]string{}},
	}, b.signals.asked)

	b.signals.fail(fmt.Errorf("poll: %w", api.ErrNoStream))
	assert.Equal(t, "no_stream", b.call(t, http.MethodPost, pollPath, `{}`, reader...).problem(t).Code)
}

func TestPollSignalsRefused(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for _, row := range []struct {
		path, body, key string
		status          int
	}{
		{pollPath, `{}`, b.keys.add("", api.ScopeTokenRead), http.StatusForbidden},
		{pollPath, `{}`, b.keys.add("acct-", api.ScopeEventRead), http.StatusForbidden},
		{"/v1/signals/verify", `{"stream_id":"signals"}`, b.keys.add("acct-", api.ScopeEventRead), http.StatusForbidden},
		{"/v1/signals/keys", ``, b.keys.add("", api.ScopeEventRead), http.StatusForbidden},
		{pollPath, `{}`, "", http.StatusUnauthorized},
		{pollPath, ``, b.admin, http.StatusBadRequest},
		{pollPath, `{"maxEvents":-1}`, b.admin, http.StatusUnprocessableEntity},
		{pollPath, `{"maxEvents":1.5}`, b.admin, http.StatusUnprocessableEntity},
		{pollPath, `{"ack":"a"}`, b.admin, http.StatusUnprocessableEntity},
		{pollPath, `{"ack":[` + strings.Repeat(`"a",`, 1000) + `"a"]}`, b.admin, http.StatusUnprocessableEntity},
		{pollPath, `{"setErrs":{"a":"b"}}`, b.admin, http.StatusUnprocessableEntity},
		{pollPath, `{"acks":[]}`, b.admin, http.StatusUnprocessableEntity},
		{"/v1/subscriptions/No/poll", `{}`, b.admin, http.StatusUnprocessableEntity},
		{"/v1/signals/verify", `{}`, b.admin, http.StatusUnprocessableEntity},
	} {
		auth := ""
		if row.key != "" {
			auth = "Bearer " + row.key
		}
		got := b.call(t, http.MethodPost, row.path, row.body, "Authorization", auth)
		assert.Equal(t, row.status, got.status, "%s %s: %s", row.path, row.body, got.body)
	}
	assert.Empty(t, b.signals.asked, "none of these got through")
}

// A long poll ends when the service does, so that it can.
func TestPollSignalsEndsWithTheService(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Streams.Max = 1 })
	b.signals.waits = make(chan struct{})
	first := httptest.NewRequestWithContext(t.Context(), http.MethodPost, pollPath, strings.NewReader(`{}`))
	first.Header.Set("Authorization", "Bearer "+b.admin)
	first.Header.Set("Content-Type", "application/json")
	came := make(chan int, 1)
	go func() {
		recorder := httptest.NewRecorder()
		b.api.ServeHTTP(recorder, first)
		came <- recorder.Code
	}()
	<-b.signals.waits
	assert.Equal(t, "too_many_streams", b.call(t, http.MethodPost, pollPath, `{"returnImmediately":true}`).problem(t).Code, "the one place is taken")
	b.api.StopStreams()
	assert.Equal(t, http.StatusOK, <-came)
	assert.Equal(t, http.StatusServiceUnavailable, b.call(t, http.MethodPost, pollPath, `{}`).status)
}

func TestVerifyAndRotateSignals(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	require.Equal(t, http.StatusNoContent, b.call(t, http.MethodPost, "/v1/signals/verify", `{"stream_id":"signals","state":"s-1"}`).status)
	for body, want := range map[string]bool{``: false, `{}`: false, `{"immediate":true}`: true} {
		got := b.call(t, http.MethodPost, "/v1/signals/keys", body)
		require.Equal(t, http.StatusCreated, got.status, got.body)
		assert.JSONEq(t, `{"id":"k-1","from":"`+noon.Time().Format("2006-01-02T15:04:05Z07:00")+`"}`, got.body)
		assert.Equal(t, want, b.signals.asked[len(b.signals.asked)-1])
	}
	assert.Equal(t, []any{"verify", "signals", "s-1"}, b.signals.asked[:3])
	list := b.call(t, http.MethodGet, "/v1/signals/keys", "")
	require.Equal(t, http.StatusOK, list.status)
	assert.Contains(t, list.body, `{"keys":[{"id":"k-1",`)

	b.signals.fail(fmt.Errorf("%w: the receiver answered 500", api.ErrNotTaken))
	got := b.call(t, http.MethodPost, "/v1/signals/verify", `{"stream_id":"signals"}`)
	require.Equal(t, http.StatusBadGateway, got.status)
	assert.Equal(t, "the receiver did not take it: the receiver answered 500", got.problem(t).Detail)
	b.signals.fail(&api.FaultError{Kind: api.FaultConflict, Detail: "one waits"})
	assert.Equal(t, http.StatusConflict, b.call(t, http.MethodPost, "/v1/signals/keys", ``).status)
}
