package wire

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// sockets asks the kernel about a client's connections.
type sockets struct {
	mu  sync.Mutex
	all []syscall.RawConn
}

// watch sees the connections that the client will open.
func watch(c *Client) *sockets {
	s := new(sockets)
	c.dialer.net.Control = func(network, address string, raw syscall.RawConn) error {
		s.mu.Lock()
		s.all = append(s.all, raw)
		s.mu.Unlock()
		return checkDialled(network, address, raw)
	}
	return s
}

// unread returns how many of them hold bytes that were not read.
func (s *sockets) unread(t *testing.T) int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	unread := 0
	for _, raw := range s.all {
		assert.NoError(t, raw.Control(func(fd uintptr) {
			n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
			assert.NoError(t, err)
			if n > 0 {
				unread++
			}
		}))
	}
	return unread
}

// Of many replies that come at once, as many are read as there are slots. The
// others stay in the kernel until a reply that was read is dealt with.
func TestUnreadReplies(t *testing.T) {
	t.Parallel()
	const slots, calls = 3, 12
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[secure], func(t *testing.T) {
			t.Parallel()
			var arrived sync.WaitGroup
			arrived.Add(calls)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				arrived.Done()
				arrived.Wait() // all are answered at once
				_, _ = io.WriteString(w, "ok")
			}))
			s.Config.ErrorLog = discardLog()
			o := Options{MaxConns: calls, Timeout: patience}
			if secure {
				s.StartTLS()
				o.CAFile = caFile(t, s)
			} else {
				s.Start()
			}
			t.Cleanup(s.Close)
			to, err := url.Parse(s.URL)
			require.NoError(t, err)
			c := sharing(t, gateOf(slots), o)
			open := watch(c)

			var read atomic.Int64
			keep := make(chan struct{})
			var all sync.WaitGroup
			t.Cleanup(all.Wait)
			opened := sync.OnceFunc(func() { close(keep) })
			t.Cleanup(opened)
			for range calls {
				all.Go(func() {
					reply, err := c.Do(t.Context(), post(to, "x"))
					if err != nil {
						assert.Fail(t, "no reply", err.Error())
						return
					}
					read.Add(1)
					<-keep
					reply.Release()
				})
			}
			for kept := range calls - slots + 1 {
				becomes(t, func() bool { return read.Load() == int64(slots+kept) && open.unread(t) == calls-slots-kept },
					"as many are read as were kept, and as there are slots; the others are not")
				keep <- struct{}{}
			}
			opened()
			all.Wait()
			assert.Empty(t, c.gate.taken)
		})
	}
}
