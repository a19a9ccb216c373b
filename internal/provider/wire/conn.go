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

	reading sync.Mutex // held while something is read, and told of

	mu      sync.Mutex // one goroutine of the transport reads, another writes
	framer  framer
	written int64 // bytes that were handed to the network
	retired bool  // nothing is written any more

	// Of the call that has the connection.
	slot    *slot        // nil if it needs none
	start   func() error // nil if there is nothing to wait for, or no more
	maySend func() error // nil if there is nothing to ask
	arrival *arrival     // nil if nobody waits for the reply on its way
	sending bool         // a piece of its request is on its way down
	refused error        // what came of maySend: nothing is written any more, not even by TLS
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
	c.onItsWay(true)
	n, err := c.Conn.Write(p)
	c.onItsWay(false)
	c.mu.Lock()
	c.written += int64(n)
	c.mu.Unlock()
	if err == nil {
		err = failpoint.Hit(failpoint.WireWritten)
	}
	return n, err
}

// onItsWay says whether what is written below is a piece of a request. TLS
// writes pieces of its own too.
func (c *conn) onItsWay(so bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sending = so
}

// permitted says whether bytes may go to the network. It is asked at the very
// bottom, for each piece of a request: the provider can act on a request only
// when its last piece is there, and the process may have stood still before any
// of them.
func (c *conn) permitted() error {
	c.mu.Lock()
	start, ask, refused := c.start, c.maySend, c.refused
	if !c.sending {
		start, ask = nil, nil
	}
	if start != nil {
		c.start = nil // further pieces belong to a request that has its place
	}
	c.mu.Unlock()
	if refused != nil {
		return refused
	}
	var err error
	if start != nil {
		err = start()
	}
	if err == nil && ask != nil {
		err = ask() // last: waiting takes time
	}
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = &refusedError{err}
	return c.refused
}

// Read returns what belongs to the expected reply. Where more came, it ends
// the connection together with the reply's last byte: the transport then does
// not keep the connection, and never sees the rest.
func (c *conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	expected := c.framer.at != frameIdle
	taken := c.framer.feed(p[:n])
	var came *arrival
	if expected && c.framer.at == frameIdle {
		came, c.arrival, c.framer.body = c.arrival, nil, nil
	}
	place := c.slot
	c.mu.Unlock()
	if came.end() && place != nil {
		place.giveBack() // what was told of does not exist in this process alone
	}
	switch taken {
	case n:
		return n, err
	case 0:
		return 0, errUnsolicited
	default:
		return taken, io.EOF
	}
}

// finish closes the connection of a call that was given up, and returns when
// all that was read of it has been told of. Nothing more is read then.
func (c *conn) finish() {
	_ = c.Close() // most are closed already
	c.reading.Lock()
	defer c.reading.Unlock()
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
func (c *conn) serve(s *slot, start, maySend func() error, a *arrival) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slot, c.start, c.maySend, c.arrival = s, start, maySend, a
	c.framer.body = nil
	if a != nil {
		c.framer.body = a.take
	}
	return c.written
}

// leave ends a call's wait for a reply that did not come to its end. Nothing more
// of it is read.
func (c *conn) leave(a *arrival) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.arrival != a || a == nil {
		return // it was told
	}
	c.arrival, c.framer.body = nil, nil
	a.drop()
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
