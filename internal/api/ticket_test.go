package api_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
)

// ticket makes a ticket.
func (b *bundle) ticket(t *testing.T, body string, headers ...string) api.NewTicket {
	t.Helper()
	made := b.call(t, http.MethodPost, "/v1/events/tickets", body, headers...)
	require.Equal(t, http.StatusCreated, made.status, made.body)
	assert.Equal(t, "no-store", made.header.Get("Cache-Control"))
	var ticket api.NewTicket
	made.decode(t, &ticket)
	return ticket
}

// redeem opens a stream with a ticket, as an EventSource does.
func (b *bundle) redeem(t *testing.T, query string, headers ...string) answer {
	t.Helper()
	return b.call(t, http.MethodGet, "/v1/events?"+query, "", append([]string{"Authorization", "", "Accept", "text/event-stream"}, headers...)...)
}

func TestTicket(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.events.add("credential.connected", "acct-1", 0)
	ticket := b.ticket(t, "")
	assert.Regexp(t, `^rdt_[A-Za-z0-9_-]{43}$`, ticket.Ticket)
	assert.EqualValues(t, 60, ticket.ExpiresIn)
	assert.Equal(t, noon.Time().Add(time.Minute), ticket.ExpiresAt)
	assert.Equal(t, "1", ticket.Cursor)
	assert.Equal(t, time.Minute, b.tickets.life)
	b.events.add("credential.refreshed", "acct-1", 0)

	f, opening := b.follow(t, "/v1/events?ticket="+ticket.Ticket+"&cursor="+ticket.Cursor, "Authorization", "")
	assert.Equal(t, "1", opening.id)
	assert.Equal(t, "no-referrer", f.res.Header.Get("Referrer-Policy"))
	assert.Equal(t, "2", f.nextEvent().id, "nothing was missed since the ticket was made")

	// The same URL again, as an EventSource comes back.
	again := b.redeem(t, "ticket="+ticket.Ticket+"&cursor=1", "Last-Event-ID", "2")
	assert.Equal(t, http.StatusUnauthorized, again.status)
	assert.Equal(t, "unauthorized", again.problem(t).Code)
	assert.NotContains(t, again.body, ticket.Ticket)
	next := b.ticket(t, "")
	b.events.add("credential.degraded", "acct-1", 0)
	f, opening = b.follow(t, "/v1/events?ticket="+next.Ticket+"&cursor=2", "Authorization", "")
	assert.Equal(t, "2", opening.id)
	assert.Equal(t, "credential.degraded", f.nextEvent().event)
	b.api.StopStreams()
	b.log.wait(t, `"status":200`)
	assert.NotContains(t, b.log.String(), "rdt_")
	assert.NotContains(t, b.log.String(), strings.TrimPrefix(ticket.Ticket, "rdt_"))
}

// TestTicketsThatAreNone: whatever is wrong with a ticket, the answer is the
// same, and only what can be one is looked up.
func TestTicketsThatAreNone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.newKey(t, `{"name":"n","scopes":["event:read"]}`)
	used, revoked := b.ticket(t, ""), b.ticket(t, "", "Authorization", "Bearer "+key.Key)
	f, _ := b.follow(t, "/v1/events?ticket="+used.Ticket, "Authorization", "")
	f.close()
	require.Equal(t, http.StatusNoContent, b.call(t, http.MethodDelete, "/v1/keys/"+key.ID, "").status)
	taken := b.tickets.taken

	want := b.redeem(t, "ticket=rdt_"+strings.Repeat("a", 43))
	require.Equal(t, http.StatusUnauthorized, want.status)
	assert.Equal(t, `Bearer realm="refreshd"`, want.header.Get("WWW-Authenticate"))
	want.header.Del("Date")
	for name, query := range map[string]string{
		"used":          "ticket=" + used.Ticket,
		"of no key":     "ticket=" + revoked.Ticket,
		"empty":         "ticket=",
		"a key":         "ticket=" + b.admin,
		"short":         "ticket=rdt_a",
		"long":          "ticket=rdt_" + strings.Repeat("a", 9000),
		"other letters": "ticket=rdt_" + strings.Repeat("%C3%A4", 43),
		"control":       "ticket=%00%0a",
	} {
		got := b.redeem(t, query)
		got.header.Del("Date")
		assert.Equal(t, want, got, name)
	}
	assert.Equal(t, taken+3, b.tickets.taken, "what cannot be one was looked up")

	head := b.ticket(t, "")
	assert.Equal(t, http.StatusUnauthorized, b.call(t, http.MethodHead, "/v1/events?ticket="+head.Ticket, "", "Authorization", "").status)
	both := b.call(t, http.MethodGet, "/v1/events?ticket="+head.Ticket, "")
	assert.Equal(t, http.StatusBadRequest, both.status, "a key as well")
	b.follow(t, "/v1/events?ticket="+head.Ticket, "Authorization", "") // neither has used it up

	for _, path := range []string{"/v1/credentials", "/v1/credentials/acct-1/token", "/v1/keys"} {
		got := b.call(t, http.MethodGet, path+"?ticket="+b.ticket(t, "").Ticket, "", "Authorization", "")
		assert.Equal(t, http.StatusUnauthorized, got.status, "a ticket is good for events alone")
	}
}

func (b *bundle) newKey(t *testing.T, body string) api.NewKeyInfo {
	t.Helper()
	made := b.call(t, http.MethodPost, "/v1/keys", body)
	require.Equal(t, http.StatusCreated, made.status, made.body)
	var key api.NewKeyInfo
	made.decode(t, &key)
	return key
}

// TestTicketLimits: a ticket lets see what passes its filter and its key's
// limits, and nothing that is asked for beside it.
func TestTicketLimits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := "Bearer " + b.keys.addOf("u-1", "app:", api.ScopeEventRead)
	for body, want := range map[string]api.EventFilter{
		``:                       {Prefix: "app:", Subject: "u-1"},
		`{}`:                     {Prefix: "app:", Subject: "u-1"},
		`{"prefix":"ap"}`:        {Prefix: "app:", Subject: "u-1"},
		`{"prefix":"app:phone"}`: {Prefix: "app:phone", Subject: "u-1"},
		`{"types":["credential.*","session.expiring"],"provider":"acme","labels":{"team":"blue"}}`: {
			Types: []string{"credential.*", "session.expiring"}, Provider: "acme", Prefix: "app:", Subject: "u-1", Labels: map[string]string{"team": "blue"},
		},
	} {
		ticket := b.ticket(t, body, "Authorization", key)
		b.follow(t, "/v1/events?ticket="+ticket.Ticket, "Authorization", "")
		assert.Equal(t, want, b.events.opened[len(b.events.opened)-1], body)
	}
	for body, location := range map[string]string{
		`{"prefix":"{"}`:                                "body.prefix",
		`{"types":["credential.refresh"]}`:              "body.types",
		`{"types":["` + strings.Repeat("c", 65) + `"]}`: "body.types",
		`{"types":["a\nb"]}`:                            "body.types",
		`{"provider":"a\nb"}`:                           "body.provider",
		`{"labels":{"":"x"}}`:                           "body.labels",
		`{"subject":"u-2"}`:                             "body",
		`{"labels":{"a":7}}`:                            "body.labels",
	} {
		got := b.call(t, http.MethodPost, "/v1/events/tickets", body, "Authorization", key)
		require.Equal(t, http.StatusUnprocessableEntity, got.status, body+got.body)
		assert.Equal(t, location, got.problem(t).Errors[0].Location, body)
	}
	assert.Equal(t, http.StatusForbidden, b.call(t, http.MethodPost, "/v1/events/tickets", `{"prefix":"web:"}`, "Authorization", key).status)
	assert.Equal(t, http.StatusRequestEntityTooLarge, b.call(t, http.MethodPost, "/v1/events/tickets", `{"provider":"`+strings.Repeat("x", 5000)+`"}`, "Authorization", key).status)

	kept := b.ticket(t, "", "Authorization", key).Ticket
	for _, query := range []string{"type=*", "provider=acme", "prefix=app:", "label=a=b", "wait=1s", "cursor=x", "limit=0", "cursor=1&cursor=2", "wait=x"} {
		got := b.redeem(t, query+"&ticket="+kept)
		require.Equal(t, http.StatusUnprocessableEntity, got.status, query)
		assert.Equal(t, "query."+strings.SplitN(query, "=", 2)[0], got.problem(t).Errors[0].Location)
	}
	assert.Equal(t, http.StatusUnprocessableEntity, b.redeem(t, "other=1&ticket="+kept).status)
	assert.Equal(t, http.StatusUnprocessableEntity, b.redeem(t, "ticket="+kept, "Last-Event-ID", "x").status)
	f, _ := b.follow(t, "/v1/events?ticket="+kept, "Authorization", "") // none of them has used it up
	f.close()
	// It is a stream, whatever is accepted.
	f, _ = b.follow(t, "/v1/events?ticket="+b.ticket(t, "").Ticket, "Authorization", "", "Accept", "application/json")
	f.close()
}

// TestTicketStreamEndsWithItsKey: the stream lives as long as the key that its
// ticket was made with.
func TestTicketStreamEndsWithItsKey(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Streams.Heartbeat = 5 * time.Millisecond })
	key := b.newKey(t, `{"name":"n","scopes":["event:read"]}`)
	ticket := b.ticket(t, "", "Authorization", "Bearer "+key.Key)
	f, _ := b.follow(t, "/v1/events?ticket="+ticket.Ticket, "Authorization", "")
	b.events.add("credential.refreshed", "acct-1", 0)
	f.nextEvent()
	beat, ok := f.next()
	require.True(t, ok, "it goes on")
	assert.True(t, beat.comment)
	require.Equal(t, http.StatusNoContent, b.call(t, http.MethodDelete, "/v1/keys/"+key.ID, "").status)
	for {
		if _, ok := f.next(); !ok {
			return
		}
	}
}

func TestTicketsThatCannotBeKept(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ticket := b.ticket(t, "")
	b.tickets.again = 7 * time.Second
	many := b.call(t, http.MethodPost, "/v1/events/tickets", "")
	assert.Equal(t, http.StatusTooManyRequests, many.status)
	assert.Equal(t, "too_many_tickets", many.problem(t).Code)
	assert.Equal(t, "7", many.header.Get("Retry-After"))
	assert.NotContains(t, many.body, "rdt_")

	b.tickets.mu.Lock()
	b.tickets.again, b.tickets.err = 0, errors.New("disk full at 10.0.0.7")
	b.tickets.mu.Unlock()
	got := b.call(t, http.MethodPost, "/v1/events/tickets", "")
	assert.Equal(t, http.StatusInternalServerError, got.status)
	taken := b.redeem(t, "ticket="+ticket.Ticket)
	assert.Equal(t, http.StatusServiceUnavailable, taken.status)
	assert.Equal(t, "1", taken.header.Get("Retry-After"))
	for _, answer := range []answer{got, taken} {
		assert.NotContains(t, answer.body, "10.0.0.7")
		assert.NotContains(t, answer.body, "rdt_")
	}

	// The key cannot be looked up.
	b.tickets.mu.Lock()
	b.tickets.err = nil
	b.tickets.mu.Unlock()
	key := b.keys.add("", api.ScopeEventRead)
	unseen := b.ticket(t, "", "Authorization", "Bearer "+key)
	fresh := setup(t, func(o *api.Options) { o.Tickets, o.Keys = b.tickets, b.keys })
	b.keys.mu.Lock()
	b.keys.err = errors.New("away")
	b.keys.mu.Unlock()
	assert.Equal(t, http.StatusServiceUnavailable, fresh.redeem(t, "ticket="+unseen.Ticket).status)
}
