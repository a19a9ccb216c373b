package practice

import (
	"context"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Two states of a TCP connection in the kernel (include/net/tcp_states.h).
const (
	tcpEstablished = 1
	tcpClose       = 7
)

// peer asks the kernel about the other end of one connection.
type peer struct{ raw syscall.RawConn }

type peerKey struct{}

// withPeer is an http.Server's ConnContext.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return ctx
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, peer{raw})
}

func peerOf(ctx context.Context) peer {
	p, _ := ctx.Value(peerKey{}).(peer)
	return p
}

// state returns the connection's TCP state: the first byte of TCP_INFO.
func (p peer) state() (byte, bool) {
	if p.raw == nil {
		return 0, false
	}
	var state byte
	var sockErr error
	err := p.raw.Control(func(fd uintptr) {
		state, sockErr = unix.GetsockoptByte(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	return state, err == nil && sockErr == nil
}

// age returns how long ago the last bytes came from the peer, as far as the
// kernel counts that, in ms; 0 where it cannot be asked.
func (p peer) age() time.Duration {
	if p.raw == nil {
		return 0
	}
	var info *unix.TCPInfo
	var sockErr error
	err := p.raw.Control(func(fd uintptr) {
		info, sockErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err != nil || sockErr != nil {
		return 0
	}
	return time.Duration(info.Last_data_recv) * time.Millisecond
}

// open reports whether the peer has not closed its side. It is true where the
// kernel cannot be asked.
func (p peer) open() bool {
	state, known := p.state()
	return !known || state == tcpEstablished
}

// reset reports whether the connection is dead both ways: the peer closed it
// with bytes of ours unread. It is false where the kernel cannot be asked.
func (p peer) reset() bool {
	state, known := p.state()
	return known && state == tcpClose
}
