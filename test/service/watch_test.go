package service

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/test/harness"
)

// cloudEvent is what a subscriber gets.
type cloudEvent struct {
	ID   string    `json:"id"`
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	Data struct {
		Credential      string `json:"credential"`
		User            string `json:"user"`
		State           string `json:"state"`
		Reason          string `json:"reason"`
		Version         uint64 `json:"version"`
		PreviousVersion uint64 `json:"previous_version"`
		Subscription    string `json:"subscription"`

		ExpiresAt time.Time `json:"expires_at"`
	} `json:"data"`
}

// history checks, event by event, that a subscriber of all types misses none:
// each version of a credential follows the one before it. One that was seen
// already is a repetition, which at-least-once delivery allows, under the same
// ID.
type history struct {
	name string

	mu       sync.Mutex
	last     map[string]uint64
	ids      map[string]string // of events, by credential and version
	types    map[string]int
	seen     []cloudEvent
	repeated int
	faults   []string
	changed  chan struct{}
}

func newHistory(name string) *history {
	return &history{name: name, last: map[string]uint64{}, ids: map[string]string{}, types: map[string]int{}, changed: make(chan struct{})}
}

func (h *history) add(e cloudEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() {
		close(h.changed)
		h.changed = make(chan struct{})
	}()
	id, version, last := e.Data.Credential, e.Data.Version, h.last[e.Data.Credential]
	switch {
	case id == "":
		h.faults = append(h.faults, "an event about no credential: "+e.Type)
		return
	case version <= last:
		h.repeated++
		if known := h.ids[versionOf(id, version)]; known != e.ID {
			h.faults = append(h.faults, fmt.Sprintf("%s: version %d came as %s, and again as %s", id, version, known, e.ID))
		}
		return
	case version != last+1:
		h.faults = append(h.faults, fmt.Sprintf("%s: version %d (%s) follows %d", id, version, e.Type, last))
	case e.Data.PreviousVersion != last:
		h.faults = append(h.faults, fmt.Sprintf("%s: version %d says that it follows %d, not %d", id, version, e.Data.PreviousVersion, last))
	}
	h.last[id] = version
	h.ids[versionOf(id, version)] = e.ID
	h.types[e.Type]++
	h.seen = append(h.seen, e)
}

func versionOf(id string, version uint64) string { return fmt.Sprintf("%s/%d", id, version) }

func (h *history) fault(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, fmt.Sprintf(format, args...))
}

func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.seen)
}

func (h *history) ofType(kind string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.types[kind]
}

// find returns the events of a type about a credential, or about any if id is
// empty.
func (h *history) find(kind, id string) []cloudEvent {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []cloudEvent
	for _, e := range h.seen {
		if e.Type == kind && (id == "" || e.Data.Credential == id) {
			list = append(list, e)
		}
	}
	return list
}

// waitCount waits until so many events were seen.
func (h *history) waitCount(ctx context.Context, n int) error {
	for {
		h.mu.Lock()
		changed, have := h.changed, len(h.seen)
		h.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// awaitAll waits until the subscriber has every version that the records
// have, and checks that none was missing on the way.
func (h *history) awaitAll(t testing.TB, limit time.Duration, records map[string]harness.Record) {
	t.Helper()
	eventually(t, limit, func() (bool, string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		behind, example := 0, ""
		for id, r := range records {
			if h.last[id] < r.Version {
				behind++
				example = fmt.Sprintf("%s at version %d of %d", id, h.last[id], r.Version)
			}
		}
		return behind == 0, fmt.Sprintf("%s: %d credentials behind, such as %s", h.name, behind, example)
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	assert.Empty(t, h.faults, h.name)
	assert.NotEmpty(t, h.seen, h.name)
	t.Logf("%s: %d events, %d repeated, %v", h.name, len(h.seen), h.repeated, h.types)
}

// follower reads the event stream, and goes on behind the last event that it
// has seen wherever it connects next.
type follower struct {
	*history

	where  func() *api // to connect to
	cursor string
}

// follow reads until ctx ends or stop, asked after each event, says so.
func (f *follower) follow(ctx context.Context, stop func() bool) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for ctx.Err() == nil {
		if done, err := f.connect(ctx, stop); done {
			return
		} else if refused, ok := errors.AsType[*harness.Refusal](err); ok && refused.Status < http.StatusInternalServerError {
			f.fault("the event stream was refused: %v", refused)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (f *follower) connect(ctx context.Context, stop func() bool) (bool, error) {
	at := f.where()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.Base+"/v1/events", nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Authorization", "Bearer "+at.Key)
	req.Header.Set("Last-Event-ID", f.cursor)
	resp, err := at.HTTP.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false, &harness.Refusal{Status: resp.StatusCode}
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
				f.add(e)
			}
			if id != "" {
				f.cursor = id
			}
			if data != "" && stop != nil && stop() {
				return true, nil
			}
			id, kind, data = "", "", ""
		}
	}
	return ctx.Err() != nil, lines.Err()
}

// receiver is a webhook's endpoint. It checks signatures and, every so often,
// refuses an event the first time it comes.
type receiver struct {
	*history

	url    string
	secret string

	verify      *standardwebhooks.Webhook
	refuseEvery int
	mu          sync.Mutex
	known       map[string]bool // IDs
	refused     int
}

func newReceiver(t testing.TB, secret string, refuseEvery int) *receiver {
	t.Helper()
	verify, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	r := &receiver{history: newHistory("webhook"), secret: secret, verify: verify, refuseEvery: refuseEvery, known: map[string]bool{}}
	r.url = serve(t, nil, func(ctx context.Context, ln net.Listener) error { return serveHTTP(ctx, ln, r) })
	return r
}

// ServeHTTP takes one event.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
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
	if r.refuses(e.ID) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	r.add(e)
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) refuses(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[id] {
		return false
	}
	r.known[id] = true
	refuse := r.refuseEvery > 0 && len(r.known)%r.refuseEvery == 0
	if refuse {
		r.refused++
	}
	return refuse
}

// subscribe adds the receiver to a house's configuration.
func (h *house) subscribe(r *receiver) {
	h.writeSecret("hook.secret", r.secret)
	h.config["subscriptions"] = []any{map[string]any{
		"name": "ui", "url": r.url + "/hook", "format": "webhook", "types": []string{"*"},
		"secret": map[string]any{"file": "./hook.secret"},
	}}
}
