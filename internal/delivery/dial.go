package delivery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/internal/webaddr"
)

// ErrForbiddenAddress is wrapped by the error of a delivery to an address that
// is not public and that the operator has not allowed.
var ErrForbiddenAddress = errors.New("deliveries to this address are not allowed; list its network under network.allow")

// NewClient returns an HTTP client for deliveries: it follows no redirect,
// obeys no proxy variable, and checks each address as it is dialled, so that a
// name cannot change between check and use. Addresses that are not public are
// refused unless allowed returns a network that holds them; it is asked for each
// connection and again whenever something is sent over it, for a reload may
// change the answer while a connection is kept for the next delivery.
func NewClient(allowed func() []netip.Prefix) *http.Client {
	dialer := &net.Dialer{
		Timeout: 5 * time.Second,
		Control: func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %s", ErrForbiddenAddress, address)
			}
			return checkAddress(at.Addr(), allowed())
		},
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return checkedConn{conn, allowed}, nil
			},
			ForceAttemptHTTP2: true, TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConnsPerHost: LaneCount, IdleConnTimeout: 30 * time.Second,
			ResponseHeaderTimeout: deliveryTimeout, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// checkedConn sends nothing to an address that is not allowed any more.
type checkedConn struct {
	net.Conn

	allowed func() []netip.Prefix
}

// Write is part of [net.Conn].
func (c checkedConn) Write(b []byte) (int, error) {
	to, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("%w: %s", ErrForbiddenAddress, c.RemoteAddr())
	}
	if err := checkAddress(to.AddrPort().Addr(), c.allowed()); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func checkAddress(addr netip.Addr, allow []netip.Prefix) error {
	addr = addr.Unmap().WithZone("")
	for _, p := range allow {
		if p.Contains(addr) {
			return nil
		}
	}
	if !webaddr.Public(addr) {
		return fmt.Errorf("%w: %s", ErrForbiddenAddress, addr)
	}
	return nil
}
