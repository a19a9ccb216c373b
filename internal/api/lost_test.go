package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/api"
)

// TestListOfALostStore: where what was stored is gone, a list would say that
// what is missing was never there.
func TestListOfALostStore(t *testing.T) {
	t.Parallel()
	lost := "Redis has come back empty"
	b := setupWithout(t, func(o *api.Options) { o.Emptied = func() string { return lost } })
	got := b.call(t, http.MethodGet, "/v1/credentials", "")
	assert.Equal(t, http.StatusServiceUnavailable, got.status)
	assert.Contains(t, got.problem(t).Detail, lost)
	assert.Equal(t, "1", got.header.Get("Retry-After"))
	lost = ""
	assert.Equal(t, http.StatusOK, b.call(t, http.MethodGet, "/v1/credentials", "").status)
}

// TestReplacedLog: who followed a log that is another one now has to come back
// with his cursor, which begins with a reset.
func TestReplacedLog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.events.add("credential.refreshed", "acct-1", 0)
	f, _ := b.follow(t, "/v1/events?cursor=0")
	assert.Equal(t, "1", f.nextEvent().id)
	b.events.set(func(e *fakeEvents) { e.err = api.ErrLogReplaced })
	b.events.add("credential.refreshed", "acct-1", 0)
	_, open := f.next()
	assert.False(t, open, "the stream has ended")
	page := b.page(t, "cursor=1&wait=60s")
	assert.Empty(t, page.Events)
	assert.Equal(t, "1", page.Cursor)
}
