package delivery

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event/eventtest"
)

// slowReceiver is a receiver at the other end of a pipe, in the bubble's time.
// It reads the request and then does as serve wants. gone waits until it has
// noticed that nobody listens any more.
func slowReceiver(serve func(net.Conn)) (client *http.Client, gone func()) {
	var serving sync.WaitGroup
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		serving.Go(func() {
			defer server.Close() //nolint:errcheck // the other end may be gone
			r, err := http.ReadRequest(bufio.NewReader(server))
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, r.Body); err == nil {
				serve(server)
			}
		})
		return client, nil
	}}
	return &http.Client{Transport: transport}, func() {
		transport.CloseIdleConnections()
		serving.Wait()
	}
}

// A receiver that takes its time is left when a delivery's time is up, however
// it keeps the connection alive.
func TestReceiversThatNeverEnd(t *testing.T) {
	t.Parallel()
	drip := func(c net.Conn, text string) {
		for i := 0; ; i++ {
			if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
				return
			}
			<-time.After(time.Second)
		}
	}
	for name, row := range map[string]struct {
		serve  func(net.Conn)
		result Result
	}{
		"never answers":              {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, Unreachable},
		"a header byte by byte":      {func(c net.Conn) { drip(c, "HTTP/1.1 204 No Content and no end") }, Unreachable},
		"a flood of interim answers": {func(c net.Conn) { drip(c, "HTTP/1.1 103 Early Hints\r\n\r\n") }, Unreachable},
		"its status, and no body": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		}, Refused},
		"a body byte by byte":         {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); drip(c, "x") }, Delivered},
		"a body byte by byte, but no": {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 410 Gone\r\n\r\n"); drip(c, "x") }, Refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, gone := slowReceiver(row.serve)
				w, err := NewWebhook(WebhookOptions{
					URL: "http://receiver.example/hook", Secrets: []SigningSecret{{Secret: credential.NewSecret(hookSecret)}},
					Client: client, Now: time.Now, Source: "urn:test", UserAgent: "refreshd/test",
				})
				require.NoError(t, err)
				began := time.Now()
				got := w.Carry(t.Context(), credential.LogEntry{Position: "1-1", Event: eventtest.Sample()})
				assert.Equal(t, deliveryTimeout, time.Since(began), "and not earlier: it might have answered")
				assert.Equal(t, row.result, got.Result)
				if row.result == Unreachable {
					require.ErrorContains(t, got.Err, "the receiver took longer than 20s")
				}
				gone()
			})
		})
	}
}

// A receiver that is down for three days gets every event afterwards, each
// once and in order.
func TestReceiverDownForThreeDays(t *testing.T) {
	t.Parallel()
	h := setupHooks(t, 1)
	h.endpoint.refusing(http.StatusBadGateway)
	began := h.Clock()
	const events = 6
	h.Emit("alice")
	lane := h.tell("alice")
	for attempt, wait := range RetrySchedule() {
		h.PassTime(wait)
		if h.Clock().Sub(began) > 72*time.Hour {
			break
		}
		if attempt > 0 && attempt < events {
			h.Emit("alice")
			h.tell("alice")
		}
		require.NoError(t, h.Advance(t.Context(), "ui", lane))
		require.False(t, h.disabled().Disabled)
	}
	require.Greater(t, h.Clock().Sub(began), 72*time.Hour)
	refused := len(h.endpoint.received())
	h.endpoint.answering(nil)
	require.NoError(t, h.Advance(t.Context(), "ui", lane))
	got := h.endpoint.received()[refused:]
	require.Len(t, got, events)
	for i, e := range got {
		assert.EqualValues(t, i+1, e.Data.Version, "in order, and none is skipped")
	}
	assert.False(t, h.disabled().Disabled)
}

// changingDNS is a name server for one name whose address changes with every
// question: first a public one, then this machine.
type changingDNS struct{ asked atomic.Int32 }

func (d *changingDNS) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer server.Close() //nolint:errcheck // the other end may be gone
		for {
			var size [2]byte // a stream carries the length first (RFC 1035, section 4.2.2)
			if _, err := io.ReadFull(server, size[:]); err != nil {
				return
			}
			question := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(server, question); err != nil {
				return
			}
			answer := d.answer(question)
			binary.BigEndian.PutUint16(size[:], uint16(len(answer))) //nolint:gosec // of some hundred bytes
			if _, err := server.Write(append(size[:], answer...)); err != nil {
				return
			}
		}
	}()
	return client, nil
}

// answer answers one question: A records alone, with no time to live.
func (d *changingDNS) answer(question []byte) []byte {
	end := 12
	for question[end] != 0 {
		end += int(question[end]) + 1
	}
	kind := binary.BigEndian.Uint16(question[end+1:])
	out := append([]byte(nil), question[:end+5]...)
	out[2], out[3] = 0x84, 0 // an authoritative answer, no error
	for i := 6; i < 12; i++ {
		out[i] = 0
	}
	if kind != 1 {
		return out
	}
	address := []byte{93, 184, 215, 14}
	if d.asked.Add(1) > 1 {
		address = []byte{127, 0, 0, 1}
	}
	out[7] = 1
	return append(append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), address...)
}

// A name that leads to a public address when it is looked at, and to this
// machine when it is dialled, leads nowhere.
//
//nolint:paralleltest // it replaces the resolver of the process for as long as it runs
func TestNameThatChangesBetweenCheckAndDial(t *testing.T) {
	hits := make(chan string, 100)
	inside := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hits <- r.Host }))
	t.Cleanup(inside.Close)
	dns := new(changingDNS)
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: dns.dial}
	t.Cleanup(func() { net.DefaultResolver = before })

	const name = "hooks.rebinding.example."
	first, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip4", name)
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("93.184.215.14")}, first)
	require.NoError(t, checkAddress(first[0], nil), "looked at, it is fine")

	client := NewClient(func() []netip.Prefix { return nil })
	t.Cleanup(client.CloseIdleConnections)
	_, err = post(t, client, "http://"+name+inside.URL[strings.LastIndex(inside.URL, ":"):])
	require.ErrorIs(t, err, ErrForbiddenAddress)
	assert.Greater(t, dns.asked.Load(), int32(1), "it was asked again to dial")
	assert.Empty(t, hits)

	// Where the operator allows this machine, the same name gets there.
	client = NewClient(func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	t.Cleanup(client.CloseIdleConnections)
	status, err := post(t, client, "http://"+name+inside.URL[strings.LastIndex(inside.URL, ":"):])
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
	assert.Len(t, hits, 1)
}
