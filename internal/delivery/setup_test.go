package delivery

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/event/eventtest"
	"github.com/refreshd/refreshd/internal/store"
)

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// endpoint is a receiver: it verifies what it gets, and answers as it is told.
type endpoint struct {
	*httptest.Server

	t        *testing.T
	verifier *standardwebhooks.Webhook

	mu     sync.Mutex
	answer func(w http.ResponseWriter, e event.CloudEvent)
	got    []event.CloudEvent
	came   chan event.CloudEvent
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(hookSecret)
	require.NoError(t, err)
	e := &endpoint{t: t, verifier: verifier, came: make(chan event.CloudEvent, 10_000)}
	e.Server = httptest.NewServer(http.HandlerFunc(e.receive))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut off by the test
	}
	// The library's own tolerance is about the wall clock, which stands still here.
	if err := e.verifier.VerifyIgnoringTimestamp(body, r.Header); err != nil {
		e.t.Errorf("signature: %v", err)
	}
	var event event.CloudEvent
	if err := json.Unmarshal(body, &event); err != nil {
		e.t.Errorf("body: %v", err)
	}
	if event.ID != r.Header.Get("Webhook-Id") || r.Header.Get("Content-Type") != "application/cloudevents+json" {
		e.t.Errorf("headers: %v", r.Header)
	}
	e.mu.Lock()
	e.got = append(e.got, event)
	answer := e.answer
	e.mu.Unlock()
	e.came <- event
	if answer != nil {
		answer(w, event)
	}
}

func (e *endpoint) answering(answer func(w http.ResponseWriter, e event.CloudEvent)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

func (e *endpoint) refusing(status int) {
	e.answering(func(w http.ResponseWriter, _ event.CloudEvent) { w.WriteHeader(status) })
}

func (e *endpoint) received() []event.CloudEvent {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]event.CloudEvent(nil), e.got...)
}

// hooks is a bundle with a deliverer of one subscription, "ui".
type hooks struct {
	*eventtest.Bundle
	*Deliverer
	queue *testQueue

	log      *event.Log
	endpoint *endpoint
	sub      Subscription
	logged   *sink
}

type sink struct {
	mu  sync.Mutex
	all []byte
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, p...)
	return len(p), nil
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.all)
}

func setupHooks(t *testing.T, shards int) *hooks {
	t.Helper()
	h := &hooks{
		Bundle: eventtest.Setup(t, shards), endpoint: newEndpoint(t), logged: new(sink),
		queue: &testQueue{tasks: make(chan laneKey, 10_000)},
	}
	h.log = h.newLog()
	h.Deliverer = h.deliverer(h.log, nil)
	h.sub = Subscription{Name: "ui", Carrier: h.webhook(event.Filter{})}
	require.NoError(t, h.SetSubscriptions(t.Context(), []Subscription{h.sub}))
	return h
}

// newLog returns a follower that is not started.
func (h *hooks) newLog() *event.Log {
	l := event.NewLog(h.Store, zerolog.Nop())
	h.T.Cleanup(l.Stop)
	return l
}

func (h *hooks) deliverer(log *event.Log, lanes Lanes) *Deliverer {
	h.T.Helper()
	if lanes == nil {
		lanes = testLanes{h.Store.Store}
	}
	d := New(Options{
		Log: log, Lanes: lanes, Subscriptions: testSubscriptions{h.Store.Store}, Gaps: testSubscriptions{h.Store.Store}, Queue: h.queue,
		Retention: 96 * time.Hour, Now: h.Clock, Logger: zerolog.New(h.logged), Registerer: prometheus.NewRegistry(),
	})
	h.T.Cleanup(d.Stop)
	return d
}

// webhook takes events to the endpoint.
func (h *hooks) webhook(filter event.Filter) *Webhook {
	h.T.Helper()
	client := NewClient(func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	h.T.Cleanup(client.CloseIdleConnections)
	w, err := NewWebhook(WebhookOptions{
		URL: h.endpoint.URL + "/hook?token=s3cr3t-query", Secrets: []SigningSecret{{Secret: credential.NewSecret(hookSecret)}}, Filter: filter,
		Client: client, Now: func() time.Time { return h.Clock().Time() }, Source: "urn:refreshd:test", UserAgent: "refreshd/test",
	})
	require.NoError(h.T, err)
	return w
}

// tell notifies the lane of a credential, as whoever reads of its event does.
func (h *hooks) tell(id credential.ID) int {
	h.T.Helper()
	lane := laneOf(id)
	h.news(lane)
	return lane
}

// news notifies lanes of all that came since the subscription began.
func (h *hooks) news(lanes ...int) []int {
	h.T.Helper()
	start := make([]string, h.Store.Shards())
	for shard := range start {
		start[shard] = event.Start
	}
	end, err := h.log.End(h.T.Context())
	require.NoError(h.T, err)
	enqueue, err := h.Store.LanesNotify(h.T.Context(), "ui", lanes, start, end.Last)
	require.NoError(h.T, err)
	return enqueue
}

// pending are the lanes that an audit finds.
func (h *hooks) pending() []int {
	h.T.Helper()
	found, err := h.opts.Subscriptions.Audit(h.T.Context(), "ui")
	require.NoError(h.T, err)
	return found.Pending
}

func (h *hooks) disabled() store.SubscriptionState {
	h.T.Helper()
	state, err := h.Store.Subscription(h.T.Context(), "ui")
	require.NoError(h.T, err)
	return state
}
