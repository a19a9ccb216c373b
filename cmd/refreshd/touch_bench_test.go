package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/testproc"
)

// BenchmarkTouch measures single touches of 256 sessions over HTTP, at a real
// service with its redis-server (appendfsync always); all of it, and the load,
// shares this machine. Connecting, the first touch of each session and the end of
// the service are not measured: they would be most of a short run, from which the
// length of the next one is guessed.
func BenchmarkTouch(b *testing.B) {
	testproc.SkipWithoutRedis(b)
	s := startServiceWith(b, os.Getenv("PATH"))
	r := &remote{base: s.url, key: s.key, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	const sessions = 256
	requests := make([][]byte, sessions)
	for i := range requests {
		id := fmt.Sprintf("bench:%d", i)
		body := map[string]any{"provider": "air", "login": map[string]string{"username": "alice", "password": backendPassword}}
		require.NoError(b, r.call(b.Context(), http.MethodPut, credentialPath(id), body, nil))
		requests[i] = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nAuthorization: Bearer %s\r\n\r\n", credentialPath(id, "touch"), s.key)
	}
	const parallel = 64
	lines := make(chan line, parallel*runtime.GOMAXPROCS(0))
	var next atomic.Uint64
	for range cap(lines) {
		conn, err := new(net.Dialer).DialContext(b.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
		require.NoError(b, err)
		b.Cleanup(func() { _ = conn.Close() })
		l := line{conn, bufio.NewReader(conn)}
		for range max(sessions/cap(lines), 1) {
			require.NoError(b, touchOnce(l.Conn, l.in, requests[next.Add(1)%sessions]))
		}
		lines <- l
	}
	b.SetParallelism(parallel)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		l := <-lines
		for pb.Next() {
			if err := touchOnce(l.Conn, l.in, requests[next.Add(1)%sessions]); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer() // the end of the service is long, and no touch
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "touches/s")
	require.NoError(b, s.Signal(syscall.SIGTERM)) // in order, or its redis-server would stay
	_, err := s.Wait(b.Context())
	require.NoError(b, err)
}

// line is a connection to the service.
type line struct {
	net.Conn

	in *bufio.Reader
}

// touchOnce sends a touch and reads its answer, a line of JSON.
func touchOnce(conn io.Writer, in *bufio.Reader, request []byte) error {
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
		if err != nil || line[0] == '{' {
			return err
		}
	}
}
