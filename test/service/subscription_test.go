package service

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// hook keeps what it gets as it came.
type hook struct {
	url string

	mu     sync.Mutex
	status int
	got    []posted
}

// posted is one delivery.
type posted struct {
	header http.Header
	body   []byte
	event  cloudEvent
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{status: http.StatusNoContent}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender died while it wrote
		}
		one := posted{header: r.Header.Clone(), body: body}
		_ = json.Unmarshal(body, &one.event) // what it is not is seen by the test
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got = append(h.got, one)
		w.WriteHeader(h.status)
	}))
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

func (h *hook) answers(status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status = status
}

// await returns the n-th delivery that was wanted, counted from 1.
func (h *hook) await(t *testing.T, n int, wanted func(posted) bool) posted {
	t.Helper()
	var found posted
	eventually(t, patience, func() (bool, string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		left := n
		i := slices.IndexFunc(h.got, func(p posted) bool {
			if wanted(p) {
				left--
			}
			return left == 0
		})
		if i < 0 {
			return false, "it did not come"
		}
		found = h.got[i]
		return true, ""
	})
	return found
}

// version selects the deliveries of one version of the test's credential.
func version(n uint64) func(posted) bool {
	return func(p posted) bool { return p.event.Data.Version == n }
}

// signedWith reports whether the public library takes a delivery's signature.
func (p posted) signedWith(t *testing.T, secret string) bool {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	return verifier.Verify(p.body, p.header) == nil
}

// shownSubscription is what the test looks at of one.
type shownSubscription struct {
	State   string    `json:"state"`
	Reason  string    `json:"reason"`
	Secret  string    `json:"secret"`
	RetryAt time.Time `json:"retry_at"`
}

// A subscription that is made at one process is delivered by either, also when
// that one is killed; its secret is rotated with an overlap, it is disabled by
// its receiver, enabled, replayed and deleted.
func TestSubscriptionByAPIOverTwoProcesses(t *testing.T) {
	t.Parallel()
	testproc.SkipWithoutRedis(t)
	const path, id = "/v1/subscriptions/made-here", "acme:user-0"
	receiver, ctx := newHook(t), t.Context()
	// Nothing is due on its own while versions are counted.
	p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: time.Hour}})
	h := newHouse(t, p, testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"}).URL())
	first, second := h.start(), h.start()
	shown := func() (s shownSubscription) {
		t.Helper()
		require.NoError(t, second.Call(ctx, http.MethodGet, path, nil, &s))
		return s
	}
	refresh := func(n uint64) {
		t.Helper()
		require.NoError(t, second.Call(ctx, http.MethodPost, harness.CredentialPath(id)+"/refresh", map[string]any{}, nil))
		require.Equal(t, n, second.get(t, id).Version)
	}

	var made shownSubscription
	require.NoError(t, first.Call(ctx, http.MethodPost, "/v1/subscriptions", map[string]any{
		"name": "made-here", "url": receiver.url, "types": []string{"credential.*"}, "retry": []string{"50ms", "1m"},
	}, &made))
	require.NotEmpty(t, made.Secret)
	assert.Equal(t, "active", shown().State, "the other process knows it at once")
	h.login(first.api, 1)
	one := receiver.await(t, 1, version(1))
	assert.True(t, one.signedWith(t, made.Secret))

	require.NoError(t, first.Kill())
	refresh(2)
	assert.True(t, receiver.await(t, 1, version(2)).signedWith(t, made.Secret))

	// Both secrets sign while receivers change over.
	var rotated shownSubscription
	require.NoError(t, second.Call(ctx, http.MethodPost, path+"/secret", map[string]any{"overlap": "1h"}, &rotated))
	require.NotEqual(t, made.Secret, rotated.Secret)
	refresh(3)
	three := receiver.await(t, 1, version(3))
	assert.Len(t, strings.Fields(three.header.Get(standardwebhooks.HeaderWebhookSignature)), 2)
	assert.True(t, three.signedWith(t, made.Secret))
	assert.True(t, three.signedWith(t, rotated.Secret))
	var last shownSubscription
	require.NoError(t, second.Call(ctx, http.MethodPost, path+"/secret", map[string]any{"overlap": "0s"}, &last))
	var tested struct {
		Event  string `json:"event"`
		Result string `json:"result"`
		Status int    `json:"status"`
	}
	require.NoError(t, second.Call(ctx, http.MethodPost, path+"/test", nil, &tested))
	assert.Equal(t, "delivered", tested.Result)
	assert.Equal(t, http.StatusNoContent, tested.Status)
	probe := receiver.await(t, 1, func(p posted) bool { return p.event.Type == "stream.verification" })
	assert.Equal(t, tested.Event, probe.event.ID)
	assert.True(t, probe.signedWith(t, last.Secret))
	assert.False(t, probe.signedWith(t, rotated.Secret), "it has ended")

	// A receiver that wants no more: what comes meanwhile waits.
	receiver.answers(http.StatusGone)
	refresh(4)
	eventually(t, patience, func() (bool, string) { s := shown(); return s.State == "disabled", s.State })
	assert.Equal(t, "gone", shown().Reason)
	refresh(5)
	receiver.answers(http.StatusNoContent)
	require.NoError(t, second.Call(ctx, http.MethodPost, path+"/enable", nil, nil))
	refused, taken := receiver.await(t, 1, version(4)), receiver.await(t, 2, version(4))
	assert.Equal(t, refused.event.ID, taken.event.ID)
	receiver.await(t, 1, version(5))

	// Everything again, under the same IDs, and told so.
	require.NoError(t, second.Call(ctx, http.MethodPost, path+"/replay", map[string]any{"from": "0"}, nil))
	assert.Equal(t, one.event.ID, receiver.await(t, 2, version(1)).event.ID)
	receiver.await(t, 2, version(5))
	var log struct {
		Deliveries []struct {
			Event  string    `json:"event"`
			Result string    `json:"result"`
			Status int       `json:"status"`
			At     time.Time `json:"at"`
		} `json:"deliveries"`
	}
	eventually(t, patience, func() (bool, string) {
		require.NoError(t, second.Call(ctx, http.MethodGet, path+"/deliveries?limit=100", nil, &log))
		return len(log.Deliveries) >= 11, "not all deliveries are remembered"
	})
	assert.Contains(t, log.Deliveries[len(log.Deliveries)-1].Event, id+"/1/")
	assert.Equal(t, "delivered", log.Deliveries[0].Result)

	// What was turned off goes on where it was; what is deleted is gone.
	off := map[string]any{"url": receiver.url, "types": []string{"credential.*"}, "enabled": false}
	require.NoError(t, second.Call(ctx, http.MethodPut, path, off, nil))
	assert.Equal(t, "off", shown().State)
	refresh(6)
	require.NoError(t, second.Call(ctx, http.MethodPost, path+"/enable", nil, nil))
	receiver.await(t, 1, version(6))
	require.NoError(t, second.Call(ctx, http.MethodDelete, path, nil, nil))
	refused404 := &harness.Refusal{}
	require.ErrorAs(t, second.Call(ctx, http.MethodGet, path, nil, nil), &refused404)
	assert.Equal(t, "subscription_not_found", refused404.Code)
	for _, secret := range []string{made.Secret, rotated.Secret, last.Secret} {
		assert.NotContains(t, first.String()+second.String(), strings.TrimPrefix(secret, "whsec_"))
	}
}
