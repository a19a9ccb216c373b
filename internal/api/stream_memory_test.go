package api_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
)

// clientMemory is how much one client of the event stream may hold, in bytes:
// the buffers of its connection and request, and one batch of events.
const clientMemory = 64 << 10

// TestMemoryOfStreams: a client that never reads holds one batch, whatever the
// log has for it, and one that waits holds none.
func TestMemoryOfStreams(t *testing.T) { // not in parallel: it measures the whole heap
	for name, c := range map[string]struct {
		cursor string // with 0 they have the whole log before them
		most   uint64
	}{
		"never reads": {"0", clientMemory},
		"waits":       {"", clientMemory * 3 / 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const clients = 100
				b := setupWithout(t, func(o *api.Options) { o.Log = zerolog.Nop() })
				for range 400 {
					b.events.add("credential.refreshed", "acct-1", 700)
				}
				p := newPipes()
				server := b.api.Server()
				served := make(chan error, 1)
				go func() { served <- server.Serve(p) }()
				before := heap()
				conns := make([]net.Conn, clients)
				for i := range conns {
					conns[i] = p.dial()
					_, err := io.WriteString(conns[i], "GET /v1/events?cursor="+c.cursor+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+b.admin+"\r\n\r\n")
					require.NoError(t, err)
					in := bufio.NewReader(conns[i])
					for line := ""; line != "id: "+b.opening(c.cursor)+"\n"; { // the answer has begun
						line, err = in.ReadString('\n')
						require.NoError(t, err)
					}
				}
				synctest.Wait()
				held := (heap() - before) / clients
				t.Logf("%d bytes for each", held)
				assert.Less(t, held, c.most)
				for _, conn := range conns {
					require.NoError(t, conn.Close())
				}
				require.NoError(t, server.Shutdown(context.WithoutCancel(t.Context())))
				require.ErrorIs(t, <-served, http.ErrServerClosed)
			})
		})
	}
}

// opening is the cursor with which a stream begins.
func (b *bundle) opening(cursor string) string {
	if cursor == "" {
		return "400"
	}
	return cursor
}

// heap is how many bytes of memory are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the pools let go the first time
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestKernelMemoryOfStreams: nor does the kernel take megabytes for a client
// that never reads, which would also keep it from being noticed.
func TestKernelMemoryOfStreams(t *testing.T) {
	t.Parallel()
	const size = 8 << 10
	b := setup(t, func(o *api.Options) { o.Streams.Write = time.Second })
	for range 1000 {
		b.events.add("credential.refreshed", "acct-1", size)
	}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	tcp, ok := conn.(*net.TCPConn)
	require.True(t, ok)
	require.NoError(t, tcp.SetReadBuffer(4<<10))
	_, err = io.WriteString(conn, "GET /v1/events?cursor=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+b.admin+"\r\n\r\n")
	require.NoError(t, err)
	b.log.wait(t, "its client does not read")
	b.events.set(func(f *fakeEvents) {
		t.Logf("%d bytes were taken", f.read*size)
		assert.Less(t, f.read*size, 512<<10)
	})
}
