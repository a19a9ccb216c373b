package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/testproc"
)

// BenchmarkTouch measures single touches of 256 sessions over HTTP, at a real
// service with its redis-server (appendfsync always); all of it, and the load,
// shares this machine.
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
	var next atomic.Uint64
	b.SetParallelism(64)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := new(net.Dialer).DialContext(b.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		in := bufio.NewReader(conn)
		for pb.Next() {
			if err := touchOnce(conn, in, requests[next.Add(1)%sessions]); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "touches/s")
	require.NoError(b, s.Signal(syscall.SIGTERM)) // in order, or its redis-server would stay
	_, err := s.Wait(b.Context())
	require.NoError(b, err)
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
