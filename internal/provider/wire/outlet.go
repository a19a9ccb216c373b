package wire

import "net"

// outlet is the connection at the very bottom as far as writing goes, below TLS
// and below a proxy's tunnel: what passes it goes to the kernel. The process may
// have stood still anywhere above it, so it is here that a request is asked for
// once more whether it may go out.
type outlet struct {
	net.Conn

	above *conn // knows what is being written
}

// Write hands p to the kernel, unless it belongs to a request that may not be
// sent, or such a one was to be written before: then nothing is written.
func (o *outlet) Write(p []byte) (int, error) {
	if err := o.above.permitted(); err != nil {
		return 0, err
	}
	return o.Conn.Write(p)
}
