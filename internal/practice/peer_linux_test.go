package practice

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pair is a TCP connection over loopback, with the peer of its server end.
func pair(t *testing.T) (client, server *net.TCPConn, p peer) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, ln.Close()) }()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	require.NoError(t, err)
	s, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = c.Close(), s.Close() }) // the tests close one end themselves
	client, okClient := c.(*net.TCPConn)
	server, okServer := s.(*net.TCPConn)
	require.True(t, okClient && okServer)
	return client, server, peerOf(withPeer(t.Context(), server))
}

func TestPeerThatCloses(t *testing.T) {
	t.Parallel()
	client, server, p := pair(t)
	assert.True(t, p.open())
	assert.False(t, p.reset())
	require.NoError(t, client.Close())
	require.Eventually(t, func() bool { return !p.open() }, patience, time.Millisecond)
	assert.False(t, p.reset(), "a closed peer has not refused anything yet")
	_, err := server.Write([]byte("reply"))
	require.NoError(t, err, "the kernel takes it all the same")
	require.Eventually(t, p.reset, patience, time.Millisecond)
}

func TestPeerThatClosesWithoutReading(t *testing.T) {
	t.Parallel()
	client, server, p := pair(t)
	_, err := server.Write([]byte("reply"))
	require.NoError(t, err)
	assert.False(t, p.reset())
	require.NoError(t, client.Close())
	require.Eventually(t, p.reset, patience, time.Millisecond)
}

// TestKernelKnowsFirst has the client gone and the request's context alive, as
// it is until net/http gets to run.
func TestKernelKnowsFirst(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		before  bool
		outcome Outcome
	}{{true, OutcomeRotated}, {false, OutcomeAbandoned}} {
		t.Run(string(tc.outcome), func(t *testing.T) {
			t.Parallel()
			client, server, p := pair(t)
			require.NoError(t, client.Close())
			require.Eventually(t, func() bool { return !p.open() }, patience, time.Millisecond)
			s := New(Options{Latency: time.Millisecond, RotateBeforeLatency: tc.before})
			r := request(withPeer(t.Context(), server), "http://practice.test/token", refreshForm(mintOne(t, s).RefreshToken))
			w := httptest.NewRecorder()
			assert.PanicsWithValue(t, http.ErrAbortHandler, func() { s.Handler().ServeHTTP(w, r) })
			assert.Zero(t, w.Body.Len())
			e := last(t, s)
			assert.Equal(t, tc.outcome, e.Outcome)
			assert.Equal(t, tc.before, e.RotatedAt != 0)
			assert.False(t, e.Delivered)
		})
	}
}

// TestKernelKnowsWhen has a call wait in the kernel until the program looks.
func TestKernelKnowsWhen(t *testing.T) {
	t.Parallel()
	const wait = 40 * time.Millisecond
	client, server, p := pair(t)
	before := time.Now()
	_, err := client.Write([]byte("call"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return p.age() >= wait }, patience, time.Millisecond)
	s := New(Options{})
	r := request(withPeer(t.Context(), server), "http://practice.test/token", refreshForm(mintOne(t, s).RefreshToken))
	s.Handler().ServeHTTP(httptest.NewRecorder(), r)
	e := last(t, s)
	assert.GreaterOrEqual(t, e.Received-e.Arrived, int64(wait/2))
	assert.GreaterOrEqual(t, e.Arrived, before.Add(-10*time.Millisecond).UnixNano(), "not before it was sent, to some ms")
}

func TestPeerThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer func() { _, _ = client.Close(), server.Close() }()
	p := peerOf(withPeer(t.Context(), server))
	assert.True(t, p.open())
	assert.False(t, p.reset())
	assert.Zero(t, p.age())
}
