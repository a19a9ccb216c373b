package api_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
)

// follower is one client of the event stream.
type follower struct {
	t    *testing.T
	res  *http.Response
	in   *bufio.Scanner
	stop context.CancelFunc
}

// block is one block of a stream: an event, a sign of life, or the opening.
type block struct {
	id, event, data, retry string
	comment                bool
}

// follow opens a stream and reads its opening block.
func (b *bundle) follow(t *testing.T, path string, headers ...string) (*follower, block) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.server.URL+path, nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+b.admin)
	r.Header.Set("Accept", "text/event-stream")
	setHeaders(r, headers)
	res, err := b.server.Client().Do(r) //nolint:bodyclose // follower.close does
	require.NoError(t, err)
	f := &follower{t: t, res: res, in: bufio.NewScanner(res.Body), stop: cancel}
	f.in.Buffer(nil, 1<<20)
	t.Cleanup(f.close)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
	opening, ok := f.next()
	require.True(t, ok)
	assert.Equal(t, "2000", opening.retry)
	return f, opening
}

func (f *follower) close() {
	f.stop()
	_ = f.res.Body.Close()
}

// next reads a block, false at the end of the stream.
func (f *follower) next() (block, bool) {
	f.t.Helper()
	var got block
	for f.in.Scan() {
		line := f.in.Text()
		if line == "" {
			return got, true
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "":
			got.comment = true
		case "id":
			got.id = value
		case "event":
			got.event = value
		case "data":
			require.Empty(f.t, got.data, "an event of more than one line")
			got.data = value
		case "retry":
			got.retry = value
		default:
			f.t.Errorf("an unknown line: %q", line)
		}
	}
	return block{}, false
}

// nextEvent skips signs of life.
func (f *follower) nextEvent() block {
	f.t.Helper()
	for {
		got, ok := f.next()
		require.True(f.t, ok, "the stream ended")
		if got.event != "" {
			return got
		}
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.events.add("credential.connected", "acct-1", 0)
	f, opening := b.follow(t, "/v1/events")
	assert.Equal(t, "1", opening.id, "it begins now, and says where that is")
	b.events.add("credential.refreshed", "acct-1", 0)
	got := f.nextEvent()
	assert.Equal(t, "2", got.id)
	assert.Equal(t, "credential.refreshed", got.event)
	assert.JSONEq(t, `{"specversion":"1.0","type":"credential.refreshed","subject":"acct-1","filler":""}`, got.data)
}

func TestStreamResumes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, kind := range []string{"credential.connected", "credential.refreshed", "credential.degraded"} {
		b.events.add(kind, "acct-1", 0)
	}
	f, _ := b.follow(t, "/v1/events?cursor=0")
	assert.Equal(t, "credential.connected", f.nextEvent().event)
	second := f.nextEvent()
	f.close()
	b.events.add("credential.recovered", "acct-1", 0)

	f, opening := b.follow(t, "/v1/events", "Last-Event-ID", second.id)
	assert.Equal(t, second.id, opening.id)
	assert.Equal(t, "credential.degraded", f.nextEvent().event)
	assert.Equal(t, "credential.recovered", f.nextEvent().event)
}

func TestStreamAfterATrim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 4 {
		b.events.add("credential.refreshed", "acct-1", 0)
	}
	b.events.set(func(f *fakeEvents) { f.trimmed = 3 })
	f, _ := b.follow(t, "/v1/events?type=credential.refreshed", "Last-Event-ID", "1")
	reset := f.nextEvent()
	assert.Equal(t, "stream.reset", reset.event)
	assert.Equal(t, "3", reset.id)
	assert.Equal(t, "4", f.nextEvent().id)
}

// TestStreamBeats: an idle stream shows that it lives, and keeps the cursor of
// a client young for whom nothing is meant.
func TestStreamBeats(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Streams.Heartbeat = 5 * time.Millisecond })
	f, _ := b.follow(t, "/v1/events?type=credential.deleted")
	beat, ok := f.next()
	require.True(t, ok)
	assert.Equal(t, block{comment: true}, beat)
	b.events.add("credential.refreshed", "acct-1", 0)
	for beat.id == "" {
		beat, ok = f.next()
		require.True(t, ok)
	}
	assert.Equal(t, block{comment: true, id: "1"}, beat)
}

// TestStreamOutlivesAnOutage: a log that cannot be read for a while costs
// nobody the connection.
func TestStreamOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	f, _ := b.follow(t, "/v1/events")
	b.events.set(func(e *fakeEvents) { e.err = timeoutError{} })
	b.events.add("credential.refreshed", "acct-1", 0)
	b.log.wait(t, "cannot read the event log")
	b.events.set(func(e *fakeEvents) { e.err = nil })
	assert.Equal(t, "credential.refreshed", f.nextEvent().event)
}

func TestStreamEndsWithItsKey(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Streams.Heartbeat = 5 * time.Millisecond })
	made := b.call(t, http.MethodPost, "/v1/keys", `{"name":"n","scopes":["event:read"]}`)
	var key api.NewKeyInfo
	made.decode(t, &key)
	f, _ := b.follow(t, "/v1/events", "Authorization", "Bearer "+key.Key)
	require.Equal(t, http.StatusNoContent, b.call(t, http.MethodDelete, "/v1/keys/"+key.ID, "").status)
	for {
		if _, ok := f.next(); !ok {
			return
		}
	}
}

func TestStreamEndsOnShutdown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	f, _ := b.follow(t, "/v1/events")
	require.NoError(t, b.server.Config.Shutdown(t.Context()))
	_, ok := f.next()
	assert.False(t, ok)
	b.api.StopStreams()
}

// TestBusyStreamEnds: a stream that never comes to rest ends all the same.
func TestBusyStreamEnds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.events.set(func(f *fakeEvents) { f.endless = true })
	f, _ := b.follow(t, "/v1/events")
	f.nextEvent()
	b.api.StopStreams()
	for {
		if _, ok := f.next(); !ok {
			return
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Streams.Max = 2 })
	first, _ := b.follow(t, "/v1/events")
	b.follow(t, "/v1/events")
	got := b.call(t, http.MethodGet, "/v1/events", "")
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	assert.Equal(t, "too_many_streams", got.problem(t).Code)
	assert.Equal(t, "10", got.header.Get("Retry-After"))
	require.NoError(t, testutil.GatherAndCompare(b.reg, strings.NewReader(
		"# HELP refreshd_event_streams Event streams and long polls that are open.\n# TYPE refreshd_event_streams gauge\nrefreshd_event_streams 2\n"),
		"refreshd_event_streams"))

	first.close()
	b.log.wait(t, `"route":"GET /v1/events","status":200`)
	b.follow(t, "/v1/events")
}

// TestSlowClientIsDropped: a client that never reads is let go, and holds
// nobody up meanwhile.
func TestSlowClientIsDropped(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Streams.Write = time.Second })
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+b.admin+"\r\n\r\n")
	require.NoError(t, err)
	b.events.waitOpened(t, 1)
	reading, _ := b.follow(t, "/v1/events")
	const many = 200
	go func() {
		for range many {
			b.events.add("credential.refreshed", "acct-1", 100_000)
		}
	}()
	for range many {
		reading.nextEvent()
	}
	b.log.wait(t, "its client does not read")
	b.log.wait(t, `"route":"GET /v1/events","status":200`)
	require.NoError(t, testutil.GatherAndCompare(b.reg, strings.NewReader(
		"# HELP refreshd_event_streams_dropped_total Event streams that were ended because their client did not read.\n"+
			"# TYPE refreshd_event_streams_dropped_total counter\nrefreshd_event_streams_dropped_total 1\n"),
		"refreshd_event_streams_dropped_total"))
}

// TestStreamDeadlines: each batch has its own deadline, and none is left on a
// stream that waits.
func TestStreamDeadlines(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // it ends after its opening
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/events", nil)
	r.Header.Set("Authorization", "Bearer "+b.admin)
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	b.api.ServeHTTP(w, r)
	assert.Equal(t, []string{"deadline", "deadline", "write", "no deadline"}, w.steps)
	assert.Equal(t, "retry: 2000\nid: 0\n\n", w.Body.String())
}

// TestReconnects: whoever comes and goes hundreds of times leaves nothing
// behind.
func TestReconnects(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Streams.Max = 8 })
	b.events.add("credential.refreshed", "acct-1", 0)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.server.URL+"/v1/events?cursor=0", nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+b.admin)
		res, err := client.Do(r)
		require.NoError(t, err)
		assert.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, res.StatusCode)
		cancel()
		require.NoError(t, res.Body.Close())
	}
	b.api.StopStreams()
	require.NoError(t, b.server.Config.Shutdown(t.Context()))
	require.NoError(t, testutil.GatherAndCompare(b.reg, strings.NewReader(
		"# HELP refreshd_event_streams Event streams and long polls that are open.\n# TYPE refreshd_event_streams gauge\nrefreshd_event_streams 0\n"),
		"refreshd_event_streams"))
}
