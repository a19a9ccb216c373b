package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/test/oracle"
)

// cloudEvent is what a subscriber gets.
type cloudEvent struct {
	ID   string    `json:"id"`
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	Data struct {
		Credential      string `json:"credential"`
		Provider        string `json:"provider"`
		State           string `json:"state"`
		PreviousState   string `json:"previous_state"`
		Reason          string `json:"reason"`
		Version         uint64 `json:"version"`
		PreviousVersion uint64 `json:"previous_version"`
	} `json:"data"`
}

func (e cloudEvent) seen() oracle.Event {
	return oracle.Event{
		ID: e.ID, Credential: e.Data.Credential, Type: e.Type, State: e.Data.State, PreviousState: e.Data.PreviousState,
		Reason: e.Data.Reason, Version: e.Data.Version, Previous: e.Data.PreviousVersion, At: e.Time,
	}
}

// diary is what a subscriber saw, in order of arrival.
type diary struct {
	mu     sync.Mutex
	events []cloudEvent
	newest map[string]uint64
	faults []string
}

func (d *diary) add(e cloudEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.newest == nil {
		d.newest = map[string]uint64{}
	}
	d.events = append(d.events, e)
	d.newest[e.Data.Credential] = max(d.newest[e.Data.Credential], e.Data.Version)
}

func (d *diary) fault(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, what)
}

// behind counts the credentials whose newest version was not seen yet.
func (d *diary) behind(all map[string]record) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for id, r := range all {
		if d.newest[id] < r.Version {
			n++
		}
	}
	return n
}

// follower reads the event stream of one replica and goes on behind the last
// event that it saw when the replica is back.
type follower struct {
	diary

	at     *replica
	cursor string
}

func (f *follower) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if api, _ := f.at.reach(); api != nil {
			f.connect(ctx, api)
		}
		pass(ctx, 50*time.Millisecond)
	}
}

func (f *follower) connect(ctx context.Context, api *client) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api.base+"/v1/events", nil)
	if err != nil {
		f.fault(err.Error())
		return
	}
	req.Header.Set("Authorization", "Bearer "+api.key)
	req.Header.Set("Last-Event-ID", f.cursor)
	resp, err := (&http.Client{Transport: api.http.Transport}).Do(req) // a stream has no timeout
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		if resp.StatusCode < http.StatusInternalServerError {
			f.fault("the event stream was refused: " + resp.Status)
		}
		return
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	id := ""
	var e *cloudEvent
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "data":
			e = new(cloudEvent)
			if json.Unmarshal([]byte(value), e) != nil {
				f.fault("an event that cannot be read")
			}
		case "": // the block is whole: until here it may have been cut off
			if e != nil {
				f.add(*e)
			}
			if id != "" {
				f.cursor = id
			}
			id, e = "", nil
		}
	}
}

// receiver is a webhook's endpoint.
type receiver struct {
	diary

	verify *standardwebhooks.Webhook
}

func newReceiver(t testing.TB, secret string) *receiver {
	t.Helper()
	verify, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	return &receiver{verify: verify}
}

// ServeHTTP takes one event.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender died while it wrote, or the way is bad
	}
	var e cloudEvent
	if err := r.verify.Verify(body, req.Header); err != nil {
		r.fault("signature: " + err.Error())
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if json.Unmarshal(body, &e) != nil {
		r.fault("an event that cannot be read")
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.add(e)
	w.WriteHeader(http.StatusNoContent)
}

// readEvery is how often each replica is asked for a token.
const readEvery = 25 * time.Millisecond

// reader asks one replica for tokens, as a program does that keeps none.
type reader struct {
	at  *replica
	ids []string

	mu    sync.Mutex
	reads []oracle.Read
}

func (r *reader) read(ctx context.Context) {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		api, owner := r.at.reach()
		if api == nil {
			continue
		}
		id := r.ids[rand.IntN(len(r.ids))]
		asked := time.Now()
		got, err := api.token(ctx, id)
		one := oracle.Read{Process: r.at.name() + " " + owner, ID: id, Version: got.Version, Generation: got.Generation, At: asked, ExpiresAt: got.ExpiresAt}
		if err != nil {
			one.Err = err.Error()
		}
		r.mu.Lock()
		r.reads = append(r.reads, one)
		r.mu.Unlock()
	}
}

func (r *reader) all() []oracle.Read {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]oracle.Read(nil), r.reads...)
}
