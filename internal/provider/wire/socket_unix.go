//go:build unix

package wire

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// socket is the TCP connection at the very bottom, below TLS and below a
// proxy's tunnel. It reads nothing of a reply before the reply's call has its
// place in the gate.
type socket struct {
	net.Conn
	raw   syscall.RawConn
	above *conn // knows which reply is expected

	// One goroutine reads at a time, so these need no lock.
	look   func(fd uintptr) bool // is lookInto, bound once
	first  [1]byte
	failed error
}

// gated puts the gate on a connection of which above will be the top. One that
// is no socket is returned as it is.
func gated(plain net.Conn, above *conn) net.Conn {
	of, ok := plain.(syscall.Conn)
	if !ok {
		return plain
	}
	raw, err := of.SyscallConn()
	if err != nil {
		return plain
	}
	s := &socket{Conn: plain, raw: raw, above: above}
	s.look = s.lookInto
	return s
}

// Read waits until there is something to read, without reading it, then for
// the call's place in the gate, and reads only then. What comes while no reply
// is expected, such as the end of an idle connection or a part of a TLS
// handshake, needs no place.
func (s *socket) Read(p []byte) (int, error) {
	if err := s.raw.Read(s.look); err != nil {
		return 0, err
	}
	if s.failed != nil {
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: s.failed}
	}
	if slot := s.above.expecting(); slot != nil {
		if err := slot.take(); err != nil {
			return 0, err
		}
	}
	return s.Conn.Read(p)
}

// lookInto reports whether the socket has something to read: bytes, the
// stream's end, or an error, which asking has taken from the socket. Before it
// is waited for, the call's place is given back.
func (s *socket) lookInto(fd uintptr) bool {
	for {
		_, _, err := syscall.Recvfrom(int(fd), s.first[:], syscall.MSG_PEEK)
		switch {
		case err == nil:
			s.failed = nil
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			if slot := s.above.expecting(); slot != nil {
				slot.giveBack()
			}
			return false
		default:
			s.failed = os.NewSyscallError("recvfrom", err)
		}
		return true
	}
}
