package wire

import (
	"io"
	"net"
	"sync"
)

// conn is a connection to a provider in plain text, TLS being below it.
type conn struct {
	net.Conn

	mu      sync.Mutex // one goroutine of the transport reads, another writes
	framer  framer
	written int64 // bytes that were handed to the network
	retired bool  // nothing is written any more
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
	if err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	c.written += int64(n)
	c.mu.Unlock()
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

// retire makes sure that nothing more is written.
func (c *conn) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired = true
}
