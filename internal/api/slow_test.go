package api_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pipes is a listener whose connections are in memory: a thousand of them cost
// no file descriptor, and their deadlines live in the bubble's time.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// dial returns a client's end.
func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// TestThousandSlowClients: clients that send a byte every few seconds, of a
// header, of a body, or nothing at all, are let go at the server's own limits,
// and hold nobody up meanwhile.
func TestThousandSlowClients(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const clients = 1000
		b := setupWithout(t)
		p := newPipes()
		server := b.api.Server()
		served := make(chan error, 1)
		go func() { served <- server.Serve(p) }()

		auth := "Host: x\r\nAuthorization: Bearer " + b.admin + "\r\n"
		ways := []string{
			"",
			"GET /v1/credentials/acct-1 HTTP/1.1\r\nHost: x\r\nX-Slow: ",
			"PUT /v1/credentials/slow HTTP/1.1\r\n" + auth + "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n",
			"PUT /v1/credentials/slow HTTP/1.1\r\n" + auth + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n",
		}
		var slow sync.WaitGroup
		var open atomic.Int64
		began := time.Now()
		longest := make([]time.Duration, clients)
		for n := range clients {
			conn := p.dial()
			open.Add(1)
			slow.Go(func() { _, _ = io.Copy(io.Discard, conn) }) // it would take an answer
			slow.Go(func() {
				defer open.Add(-1)
				text := ways[n%len(ways)]
				for i := 0; ; i++ {
					var err error
					if i == 0 {
						_, err = io.WriteString(conn, text)
					} else {
						_, err = conn.Write([]byte{' '})
					}
					if err != nil {
						longest[n] = time.Since(began)
						_ = conn.Close()
						return
					}
					<-time.After(3 * time.Second) // of the bubble's time
				}
			})
		}
		synctest.Wait()
		assert.EqualValues(t, clients, open.Load(), "all of them are there")
		ask := func(conn net.Conn) {
			_, err := io.WriteString(conn, "GET /v1/credentials/acct-1 HTTP/1.1\r\n"+auth+"Connection: close\r\n\r\n")
			require.NoError(t, err)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, res.StatusCode)
			_, err = io.Copy(io.Discard, res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.NoError(t, conn.Close())
		}
		for range 10 {
			asked := time.Now()
			ask(p.dial())
			assert.Zero(t, time.Since(asked), "nobody waits for the slow ones")
		}
		slow.Wait()
		for n, took := range longest {
			assert.LessOrEqual(t, took, 35*time.Second, "client %d", n)
		}
		ask(p.dial())
		require.NoError(t, server.Shutdown(context.WithoutCancel(t.Context())))
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			require.NoError(t, err)
		}
		for _, call := range b.engine.calls() {
			assert.NotContains(t, call, "put", "no cut-off body was taken for a whole one")
		}
	})
}
