package practice

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
)

// watchedListener watches its connections for an end that takes a reply with
// it.
type watchedListener struct {
	net.Listener

	ledger *ledger
}

func (l watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	return &watchedConn{TCPConn: tcp, ledger: l.ledger}, nil
}

// watchedConn is a connection that remembers the last reply on it. If it ends
// with a reset, the peer's kernel has thrown away bytes that its program had
// not read: that reply was not delivered.
type watchedConn struct {
	*net.TCPConn

	ledger *ledger
	last   atomic.Uint64 // sequence number of the last presentation that was answered; 0: the next one has begun
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if err != nil && errors.Is(err, syscall.ECONNRESET) {
		if seq := c.last.Swap(0); seq != 0 {
			c.ledger.lost(seq)
		}
	}
	return n, err
}

type connKey struct{}

// withConn is an http.Server's ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if watched, ok := c.(*watchedConn); ok {
		ctx = context.WithValue(ctx, connKey{}, watched)
		c = watched.TCPConn
	}
	return withPeer(ctx, c)
}

// connOf returns the watched connection of a request, nil if it is not watched.
func connOf(ctx context.Context) *watchedConn {
	c, _ := ctx.Value(connKey{}).(*watchedConn)
	return c
}

// answered notes the last reply on the connection; 0 as soon as the next
// request is there, which its sender made knowing that reply.
func (c *watchedConn) answered(seq uint64) {
	if c != nil {
		c.last.Store(seq)
	}
}

// lost takes back that a reply was delivered.
func (l *ledger) lost(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.at(seq)
	if !r.settled || !r.delivered {
		return
	}
	r.delivered = false
	if r.rotatedAt != 0 {
		l.totals.undelivered++
	}
}
