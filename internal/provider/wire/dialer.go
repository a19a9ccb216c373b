package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/internal/failpoint"
)

// dialer opens connections to providers, through a proxy if there is one. The
// proxy is always asked for a tunnel (CONNECT, RFC 9110 section 9.3.6), also
// for http URLs: it is shown a host and a port, and never a request.
type dialer struct {
	net    net.Dialer
	tls    *tls.Config
	proxy  *url.URL // nil if there is none
	within time.Duration
	closed atomic.Bool
}

// open opens a connection for plain text.
func (d *dialer) open(ctx context.Context, _, addr string) (net.Conn, error) {
	return d.bounded(ctx, func(ctx context.Context, top *conn) (net.Conn, error) { return d.reach(ctx, addr, top) })
}

// openTLS opens a connection and makes the TLS handshake on it.
func (d *dialer) openTLS(ctx context.Context, _, addr string) (net.Conn, error) {
	return d.bounded(ctx, func(ctx context.Context, top *conn) (net.Conn, error) {
		raw, err := d.reach(ctx, addr, top)
		if err != nil {
			return nil, err
		}
		return d.secure(ctx, raw, addr)
	})
}

// bounded gives dial its time, and the connection that will be at the top of
// what it dials. The transport takes the deadline off the
// contexts it dials with, so that a connection that comes too late for its
// call can serve another.
func (d *dialer) bounded(ctx context.Context, dial func(context.Context, *conn) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.within)
	defer cancel()
	top := new(conn)
	plain, err := dial(ctx, top)
	if err != nil {
		return nil, err
	}
	if d.closed.Load() {
		return nil, errors.Join(errClosed, plain.Close())
	}
	if err := failpoint.Hit(failpoint.WireDialled); err != nil {
		return nil, errors.Join(err, plain.Close())
	}
	top.Conn = plain
	return top, nil
}

// reach opens a connection to addr, without TLS of its own.
func (d *dialer) reach(ctx context.Context, addr string, top *conn) (net.Conn, error) {
	if d.proxy == nil {
		return d.connect(ctx, addr, top)
	}
	if literal, err := netip.ParseAddrPort(addr); err == nil && Forbidden(literal.Addr()) {
		return nil, ErrForbiddenAddress // where the name leads to, only the proxy sees
	}
	raw, err := d.connect(ctx, hostPort(d.proxy), top)
	if err != nil {
		return nil, err
	}
	if d.proxy.Scheme == "https" {
		if raw, err = d.secure(ctx, raw, hostPort(d.proxy)); err != nil {
			return nil, err
		}
	}
	if err := d.tunnel(ctx, raw, addr); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return raw, nil
}

// connect opens a TCP connection that has the gate and the outlet.
func (d *dialer) connect(ctx context.Context, addr string, top *conn) (net.Conn, error) {
	raw, err := d.net.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &outlet{Conn: gated(raw, top), above: top}, nil
}

// secure makes the TLS handshake on raw, which it closes if that fails.
func (d *dialer) secure(ctx context.Context, raw net.Conn, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	config := d.tls.Clone()
	config.ServerName = host
	secured := tls.Client(raw, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(&handshakeError{err}, raw.Close())
	}
	return secured, nil
}

// tunnel asks the proxy at the other end of raw for a tunnel to addr.
func (d *dialer) tunnel(ctx context.Context, raw net.Conn, addr string) error {
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		return fmt.Errorf("setting the proxy's deadline: %w", err)
	}
	ask := (&http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{Opaque: addr},
		Host:   addr,
		Header: http.Header{"User-Agent": {""}},
	}).WithContext(ctx)
	if user := d.proxy.User; user != nil {
		password, _ := user.Password()
		ask.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := ask.Write(raw); err != nil {
		return fmt.Errorf("asking the proxy: %w", err)
	}
	in := bufio.NewReader(io.LimitReader(raw, maxHeader))
	reply, err := http.ReadResponse(in, ask)
	if err != nil {
		return fmt.Errorf("reading the proxy's answer: %w", err)
	}
	defer func() { _ = reply.Body.Close() }() // of a successful CONNECT there is none
	if reply.StatusCode != http.StatusOK {
		return &proxyError{reply.StatusCode}
	}
	if in.Buffered() > 0 {
		return errUnsolicited
	}
	return raw.SetDeadline(time.Time{})
}

// hostPort returns where the URL points to, with the scheme's port if it names
// none.
func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	port := "80"
	if u.Scheme == "https" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}
