package harness

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/test/oracle"
)

// history keeps what a subscriber saw, in order of arrival.
type history struct {
	mu     sync.Mutex
	seen   []oracle.Event
	last   map[string]uint64 // by credential: the newest version
	faults []string
}

func (h *history) add(e oracle.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, e)
	if h.last == nil {
		h.last = map[string]uint64{}
	}
	h.last[e.Credential] = max(h.last[e.Credential], e.Version)
}

func (h *history) fault(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, fmt.Sprintf(format, args...))
}

// Seen is what came so far.
func (h *history) Seen() []oracle.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]oracle.Event(nil), h.seen...)
}

// Last is the newest version of a credential that came so far.
func (h *history) Last(credential string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last[credential]
}

// Faults are what was wrong with the way it came: a signature, an event that
// cannot be read.
func (h *history) Faults() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.faults...)
}

// Follower reads the event stream, and goes on behind the last event that it
// has seen wherever it connects next.
type Follower struct {
	history

	where  func() *API // to connect to; nil for nobody
	cursor string
}

// Follow reads the stream of whoever where names, from the first event on,
// until the end of the test.
func Follow(t testing.TB, where func() *API) *Follower {
	t.Helper()
	f := &Follower{where: where, cursor: "0"}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() {
		defer close(done)
		f.follow(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

func (f *Follower) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if refused, ok := errors.AsType[*Refusal](f.connect(ctx)); ok && refused.Status < http.StatusInternalServerError {
			f.fault("the event stream was refused: %v", refused)
			return
		}
		Pass(ctx, Look)
	}
}

var errNobody = errors.New("nobody to connect to")

func (f *Follower) connect(ctx context.Context) error {
	at := f.where()
	if at == nil {
		return errNobody
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.Base+"/v1/events", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+at.Key)
	req.Header.Set("Last-Event-ID", f.cursor)
	resp, err := at.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // a stream has no end worth hearing of
	if resp.StatusCode != http.StatusOK {
		return &Refusal{Status: resp.StatusCode}
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	id, kind, data := "", "", ""
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			data = value
		case "": // the block is whole: until here it may have been cut off
			if data != "" {
				var e cloudEvent
				if err := json.Unmarshal([]byte(data), &e); err != nil || e.Type != kind {
					f.fault("an event that cannot be read, of type %s", kind)
				}
				f.add(e.seen())
			}
			if id != "" {
				f.cursor = id
			}
			id, kind, data = "", "", ""
		}
	}
	return lines.Err()
}

// Receiver is a webhook's endpoint. It checks signatures.
type Receiver struct {
	history

	URL    string
	Secret string

	verify *standardwebhooks.Webhook
	refuse atomic.Int32
}

// Refuse has the receiver answer the next n deliveries with 503.
func (r *Receiver) Refuse(n int32) { r.refuse.Store(n) }

// NewReceiver runs a webhook's endpoint until the end of the test. The secret
// is "whsec_" and base64.
func NewReceiver(t testing.TB, secret string) *Receiver {
	t.Helper()
	verify, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	r := &Receiver{Secret: secret, verify: verify}
	r.URL = Serve(t, ServeHTTP(r))
	return r
}

// ServeHTTP takes one event.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		return // the sender died while it wrote
	}
	if err := r.verify.Verify(body, req.Header); err != nil {
		r.fault("signature: %v", err)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var e cloudEvent
	if err := json.Unmarshal(body, &e); err != nil || e.ID != req.Header.Get(standardwebhooks.HeaderWebhookID) {
		r.fault("an event that cannot be read, or that is not the one of its header")
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if r.refuse.Add(-1) >= 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	r.add(e.seen())
	w.WriteHeader(http.StatusNoContent)
}
