package api_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
)

// discard is the cheapest writer there is.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// SetWriteDeadline is there for the API to call.
func (d *discard) SetWriteDeadline(time.Time) error { return nil }

// readyEngine has one token in hand.
type readyEngine struct {
	*fakeEngine

	held credential.Held
}

func (e *readyEngine) Token(context.Context, credential.ID, time.Duration) (credential.Held, error) {
	return e.held, nil
}

// Touch answers as an engine whose store costs nothing.
func (e *readyEngine) Touch(_ context.Context, ids []credential.ID) ([]credential.Touch, error) {
	answers := make([]credential.Touch, len(ids))
	for i, id := range ids {
		answers[i] = credential.Touch{ID: id, Result: credential.TouchDone, At: noon, Deadline: noon + 900_000}
	}
	return answers, nil
}

// setupBench is a setup without a log and with an engine that costs nothing.
func setupBench(b *testing.B) *bundle {
	b.Helper()
	return setup(b, func(o *api.Options) {
		o.Log = zerolog.Nop()
		engine, _ := o.Engine.(*fakeEngine)
		ready := &readyEngine{fakeEngine: engine, held: *engine.stored["acct-1"]}
		o.Engine, o.Control = ready, ready
	})
}

// BenchmarkGetToken measures what the API itself costs a token read, without
// network and without engine.
func BenchmarkGetToken(b *testing.B) {
	bundle := setupBench(b)
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/v1/credentials/acct-1/token?min_ttl=60s", nil)
	r.Header.Set("Authorization", "Bearer "+bundle.admin)
	b.ReportAllocs()
	for b.Loop() {
		bundle.api.ServeHTTP(&discard{header: http.Header{}}, r)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// BenchmarkGetTokenServed measures a token read over loopback on kept-alive
// connections. The client writes the same bytes and looks for the end of the
// answer: nearly all of the time is the server's.
func BenchmarkGetTokenServed(b *testing.B) {
	bundle := setupBench(b)
	served(b, bundle.server, "GET /v1/credentials/acct-1/token", bundle.admin)
}

// BenchmarkTouchServed measures a touch likewise, without a store.
func BenchmarkTouchServed(b *testing.B) {
	bundle := setupBench(b)
	served(b, bundle.server, "POST /v1/credentials/acct-1/touch", bundle.admin)
}

// BenchmarkTouches measures touches by the list of 1000, without network and
// without store.
func BenchmarkTouches(b *testing.B) {
	bundle := setupBench(b)
	body := `{"ids":["acct-0"`
	for i := range 999 {
		body += fmt.Sprintf(`,"acct-%d"`, i+1)
	}
	body += "]}"
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/touches", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+bundle.admin)
		bundle.api.ServeHTTP(&discard{header: http.Header{}}, r)
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "touches/s")
}

// BenchmarkBareHandler is the same with a handler that writes a constant: the
// most that net/http allows.
func BenchmarkBareHandler(b *testing.B) {
	bundle := setupBench(b)
	body := []byte(bundle.call(b, http.MethodGet, "/v1/credentials/acct-1/token", "").body)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
	b.Cleanup(server.Close)
	served(b, server, "GET /v1/credentials/acct-1/token", bundle.admin)
}

func served(b *testing.B, server *httptest.Server, target, key string) {
	b.Helper()
	request := fmt.Appendf(nil, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nAuthorization: Bearer %s\r\n\r\n", target, key)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		in := bufio.NewReader(conn)
		for pb.Next() {
			if err := exchange(conn, in, request); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// exchange sends a request and reads its answer, a line of JSON.
func exchange(conn io.Writer, in *bufio.Reader, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	status, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.Contains(status, []byte("200 OK")) {
		return fmt.Errorf("answered %q", status)
	}
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if line[0] == '{' {
			return nil
		}
	}
}
