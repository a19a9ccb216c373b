package api_test

import (
	"errors"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
)

// eventPage is a page as a client reads it.
type eventPage struct {
	Events []struct {
		Cursor string         `json:"cursor"`
		Event  api.CloudEvent `json:"event"`
	} `json:"events"`
	Cursor string `json:"cursor"`
}

// page asks for a page of events.
func (b *bundle) page(t *testing.T, query string, headers ...string) eventPage {
	t.Helper()
	got := b.call(t, http.MethodGet, "/v1/events?"+query, "", append([]string{"Accept", "application/json"}, headers...)...)
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	var page eventPage
	got.decode(t, &page)
	require.NotNil(t, page.Events)
	return page
}

func TestEventPages(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for i := range 5 {
		b.events.add("credential.refreshed", "acct-"+strconv.Itoa(i), 0)
	}
	first := b.page(t, "cursor=0&limit=3")
	require.Len(t, first.Events, 3)
	assert.Equal(t, "3", first.Cursor)
	assert.Equal(t, "1", first.Events[0].Cursor)
	assert.Equal(t, "acct-0", first.Events[0].Event.Subject)

	second := b.page(t, "cursor="+first.Cursor)
	require.Len(t, second.Events, 2)
	assert.Equal(t, "5", second.Cursor)
	assert.Empty(t, b.page(t, "cursor="+second.Cursor).Events)

	assert.Empty(t, b.page(t, "").Events, "without a cursor it begins now")
	assert.Equal(t, "5", b.page(t, "").Cursor)
	assert.Len(t, b.page(t, "cursor=0", "Last-Event-ID", "4").Events, 1, "the header wins")
}

func TestEventFilterIsHandedOn(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	b.page(t, "cursor=0&type=credential.*&type=session.*&provider=acme&prefix=acct&label=team%3Dblue")
	assert.Equal(t, []api.EventFilter{{
		Types: []string{"credential.*", "session.*"}, Provider: "acme", Prefix: "acct", Labels: map[string]string{"team": "blue"},
	}}, b.events.opened)
}

func TestEventPageAfterATrim(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for range 5 {
		b.events.add("credential.refreshed", "acct-1", 0)
	}
	b.events.set(func(f *fakeEvents) { f.trimmed = 3 })
	page := b.page(t, "cursor=1&type=credential.refreshed")
	require.Len(t, page.Events, 3)
	reset := page.Events[0]
	assert.Equal(t, "stream.reset", reset.Event.Type)
	assert.Equal(t, "3", reset.Cursor)
	assert.Equal(t, "refreshd/test", reset.Event.Source)
	assert.Equal(t, noon.Time(), reset.Event.Time)
	assert.Len(t, reset.Event.ID, 26, "a ULID")
	assert.Equal(t, "credential.refreshed", page.Events[1].Event.Type)
}

func TestLongPoll(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.events.add("credential.refreshed", "acct-1", 0)
	go func() {
		b.events.waitOpened(t, 1)
		for range 3 { // not what it waits for
			b.events.add("credential.refreshed", "acct-1", 0)
		}
		b.events.add("credential.deleted", "acct-1", 0)
	}()
	page := b.page(t, "type=credential.deleted&wait=60s")
	require.Len(t, page.Events, 1)
	assert.Equal(t, "credential.deleted", page.Events[0].Event.Type)
}

func TestLongPollEndsEmpty(t *testing.T) {
	t.Parallel()
	b := setup(t)
	assert.Empty(t, b.page(t, "wait=10ms").Events)

	go func() {
		b.events.waitOpened(t, 2)
		b.api.StopStreams()
	}()
	assert.Empty(t, b.page(t, "wait=60s").Events)

	got := b.call(t, http.MethodGet, "/v1/events?wait=60s", "", "Accept", "application/json")
	assert.Equal(t, http.StatusServiceUnavailable, got.status, "none begins any more")
	assert.Equal(t, "1", got.header.Get("Retry-After"))
}

func TestEventLogThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	b.events.set(func(f *fakeEvents) { f.err = timeoutError{} })
	assert.Equal(t, http.StatusServiceUnavailable, b.call(t, http.MethodGet, "/v1/events?cursor=0", "", "Accept", "application/json").status)
	b.events.set(func(f *fakeEvents) { f.err = errors.New("corrupt") })
	assert.Equal(t, http.StatusInternalServerError, b.call(t, http.MethodGet, "/v1/events?cursor=0", "", "Accept", "application/json").status)
}

func TestHeadDoesNotFollow(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Streams.Max = 1 })
	for range 3 {
		assert.Equal(t, http.StatusOK, b.call(t, http.MethodHead, "/v1/events", "").status)
	}
	assert.Empty(t, b.events.opened)
}

func TestBadLastEventID(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for _, id := range []string{"nonsense", "a b", "{}", "\xff\xfe"} {
		got := b.call(t, http.MethodGet, "/v1/events", "", "Last-Event-ID", id)
		require.Equal(t, http.StatusUnprocessableEntity, got.status, id)
		assert.Equal(t, "header.Last-Event-ID", got.problem(t).Errors[0].Location)
	}
}
