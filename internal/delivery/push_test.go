package delivery

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event/eventtest"
)

// pushTo returns a carrier to a receiver on this machine.
func pushTo(t *testing.T, receive http.HandlerFunc) *Push {
	t.Helper()
	receiver := httptest.NewServer(receive)
	t.Cleanup(receiver.Close)
	client := NewClient(func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	t.Cleanup(client.CloseIdleConnections)
	return NewPush(PushOptions{
		URL: receiver.URL + "/events", Bearer: credential.NewSecret("canary-bearer"), Client: client, UserAgent: "refreshd/test",
		Token: func(_ context.Context, entry credential.LogEntry) (string, error) {
			return "set-of-" + entry.Event.EventID(), nil
		},
		Now: func() time.Time { return time.Unix(1_800_000_000, 0) },
	})
}

func someEntry() credential.LogEntry {
	return credential.LogEntry{Position: "1-1", Event: eventtest.Sample()}
}

// What is sent is what RFC 8935 section 2.1 wants.
func TestPush(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body []byte
	push := pushTo(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
	})
	assert.Equal(t, Outcome{Result: Delivered, Status: 202}, push.Carry(t.Context(), someEntry()))
	assert.Equal(t, http.MethodPost, got.Method)
	assert.Equal(t, "/events", got.URL.Path)
	assert.Equal(t, "application/secevent+jwt", got.Header.Get("Content-Type"))
	assert.Equal(t, "application/json", got.Header.Get("Accept"))
	assert.Equal(t, "refreshd/test", got.Header.Get("User-Agent"))
	assert.Equal(t, "Bearer canary-bearer", got.Header.Get("Authorization"))
	assert.Equal(t, "set-of-github:alice/7/9f86d081", string(body))

	push.opts.Bearer = credential.Secret{}
	require.NoError(t, push.Send(t.Context(), "x").Err)
	assert.NotContains(t, got.Header, "Authorization")
}

// A receiver that does not take it says why, and nothing of that is believed
// but the registered codes (RFC 8935, sections 2.3 and 2.4).
func TestPushRefused(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		status int
		header string // Retry-After
		body   string
		want   string
		gone   bool
		after  time.Duration
	}{
		"a page":            {status: 200, body: "<html>canary", want: "the receiver answered 200, not 202 as one of security event tokens does"},
		"no content":        {status: 204, want: "the receiver answered 204, not 202 as one of security event tokens does"},
		"a key":             {status: 400, body: `{"err":"invalid_key","description":"canary"}`, want: "the receiver answered 400: invalid_key"},
		"an audience":       {status: 400, body: `{"err":"invalid_audience"}`, want: "the receiver answered 400: invalid_audience"},
		"a code of its own": {status: 400, body: `{"err":"canary"}`, want: "the receiver answered 400"},
		"no code":           {status: 400, body: `canary`, want: "the receiver answered 400"},
		"without end":       {status: 400, body: strings.Repeat("canary", 1<<16), want: "the receiver answered 400"},
		"a code beside 401": {status: 401, body: `{"err":"access_denied"}`, want: "the receiver answered 401"},
		"a redirect":        {status: 307, want: "the receiver answered 307"},
		"gone":              {status: 410, want: "the receiver answered 410", gone: true},
		"later":             {status: 429, header: "60", want: "the receiver answered 429", after: time.Minute},
		"at a date":         {status: 503, header: "Fri, 15 Jan 2027 08:00:30 GMT", want: "the receiver answered 503", after: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			push := pushTo(t, func(w http.ResponseWriter, _ *http.Request) {
				if row.header != "" {
					w.Header().Set("Retry-After", row.header)
				}
				w.Header().Set("Location", "http://169.254.169.254/")
				w.WriteHeader(row.status)
				_, _ = io.WriteString(w, row.body)
			})
			got := push.Carry(t.Context(), someEntry())
			require.EqualError(t, got.Err, row.want)
			got.Err = nil
			assert.Equal(t, Outcome{Result: Refused, Status: row.status, Gone: row.gone, RetryAfter: row.after}, got)
		})
	}
}

func TestPushThatCannotBeSent(t *testing.T) {
	t.Parallel()
	push := pushTo(t, func(http.ResponseWriter, *http.Request) { t.Error("nothing may come") })
	noKey := errors.New("no key")
	push.opts.Token = func(context.Context, credential.LogEntry) (string, error) { return "", noKey }
	got := push.Carry(t.Context(), someEntry())
	assert.Equal(t, Invalid, got.Result)
	require.ErrorIs(t, got.Err, noKey)

	push.opts.URL = "http://169.254.169.254/?canary"
	got = push.Send(t.Context(), "x")
	assert.Equal(t, Unreachable, got.Result)
	require.ErrorIs(t, got.Err, ErrForbiddenAddress)
	assert.NotContains(t, got.Err.Error(), "canary")

	push.opts.URL = "http://[canary"
	got = push.Send(t.Context(), "x")
	assert.Equal(t, Invalid, got.Result)
	assert.NotContains(t, got.Err.Error(), "canary")
}
