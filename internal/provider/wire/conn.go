package wire

import (
	"io"
	"net"
	"sync"

	"github.com/refreshd/refreshd/internal/failpoint"
)

// conn is a connection to a provider in plain text, TLS being below it.
type conn struct {
	net.Conn

	mu      sync.Mutex // one goroutine of the transport reads, another writes
	framer  framer
	written int64 // bytes that were handed to the network
	retired bool  // nothing is written any more
	slot    *slot // of the call that has the connection; nil if it needs none
}

// Write hands p to the network, unless the connection is not known to be good:
// then nothing is written.
//
// If it returns 0 bytes, the provider can have nothing of p that it could
// read: of a TLS record of which only a part was written, the whole is void.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	err := c.framer.begin()
	if c.retired {
		err = errRetired
	}
	c.mu.Unlock()
	if err == nil {
		err = failpoint.Hit(failpoint.WireWrite)
	}
	if err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	c.written += int64(n)
	c.mu.Unlock()
	if err == nil {
		err = failpoint.Hit(failpoint.WireWritten)
	}
	return n, err
}

// Read returns what belongs to the expected reply. Where more came, it ends
// the connection together with the reply's last byte: the transport then does
// not keep the connection, and never sees the rest.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	taken := c.framer.feed(p[:n])
	c.mu.Unlock()
	switch taken {
	case n:
		return n, err
	case 0:
		return 0, errUnsolicited
	default:
		return taken, io.EOF
	}
}

// sent returns how many bytes were handed to the network since the connection
// was opened.
func (c *conn) sent() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written
}

// serve gives the connection to a call, which finds out how many bytes were
// handed to the network before it.
func (c *conn) serve(s *slot) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slot = s
	return c.written
}

// expecting returns the slot of the call whose reply is still to come, in whole
// or in part. It is nil if there is none: what a call does with a reply that
// came to its end no longer concerns the connection.
func (c *conn) expecting() *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.framer.at == frameIdle {
		return nil
	}
	return c.slot
}

// retire makes sure that nothing more is written.
func (c *conn) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired = true
}
