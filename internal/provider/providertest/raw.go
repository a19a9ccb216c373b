package providertest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Raw is a server that answers with bytes of its own choice.
type Raw struct {
	URL      string
	Requests atomic.Int32 // that were whole
}

// NewRaw starts one: answer is called with each request's connection, which is
// closed behind it.
func NewRaw(t testing.TB, answer func(net.Conn)) *Raw {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &Raw{URL: "http://" + listener.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close() //nolint:errcheck // the client may be gone
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				if _, err := io.Copy(io.Discard, r.Body); err == nil {
					s.Requests.Add(1)
					answer(c)
				}
			})
		}
	})
	t.Cleanup(func() {
		assert.NoError(t, listener.Close())
		serving.Wait()
	})
	return s
}

// Text is an answer of those bytes.
func Text(parts ...string) func(net.Conn) {
	return func(c net.Conn) {
		for _, part := range parts {
			if _, err := io.WriteString(c, part); err != nil {
				return
			}
		}
	}
}

// WithoutEnd is an answer that goes on until the client has gone, every now and
// then a piece.
func WithoutEnd(start, piece string, every time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for next := start; ; next = piece {
			if _, err := io.WriteString(c, next); err != nil {
				return
			}
			<-tick.C
		}
	}
}

// WithLength is a reply of 200 with a header more and a body.
func WithLength(header, body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", header, len(body), body)
}

// Gzip is the body packed.
func Gzip(t testing.TB, body string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}
