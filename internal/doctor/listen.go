package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// Listener says who answers at an address.
type Listener int

// The listeners.
const (
	ListenerUnknown Listener = iota // nobody answers, or who does cannot be told
	ListenerOurs                    // a refreshd
	ListenerOther                   // something else
)

// Address is one that the service listens on.
type Address struct {
	Topic    Topic // TopicListen or TopicMetricsListen
	Listen   string
	Taken    error // of TryAddress
	Listener Listener
	Why      string // how the listener was told, for people; may be empty
}

// TryAddress tells whether the service could listen on an address: nil if so,
// else the system's error, [syscall.EADDRINUSE] if something listens there. It
// does not listen itself, and keeps nobody else from it.
func TryAddress(ctx context.Context, listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil || n == 0 {
		return err
	}
	if host == "" {
		err := tryBind(netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(n))) //nolint:gosec // a port has 16 bits
		if !errors.Is(err, syscall.EAFNOSUPPORT) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return err
		}
		host = "0.0.0.0" // a machine without IPv6
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	return tryBind(netip.AddrPortFrom(addrs[0].Unmap(), uint16(n))) //nolint:gosec // as above
}

// tryBind binds a socket and closes it. One that is bound and does not listen
// keeps nobody from listening there who sets SO_REUSEADDR, as Go does.
func tryBind(at netip.AddrPort) error {
	family, to := syscall.AF_INET6, syscall.Sockaddr(&syscall.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()})
	if at.Addr().Is4() {
		family, to = syscall.AF_INET, &syscall.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if family == syscall.AF_INET6 && at.Addr().IsUnspecified() {
		err = errors.Join(err, syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 0))
	}
	err = errors.Join(err, os.NewSyscallError("bind", syscall.Bind(fd, to)))
	return errors.Join(err, os.NewSyscallError("close", syscall.Close(fd)))
}

// Listen judges an address.
func Listen(a Address) Finding {
	why := ""
	if a.Why != "" {
		why = ": " + a.Why
	}
	const (
		free   = "stop what listens there, or set another address"
		starts = "the service does not start"
	)
	switch {
	case a.Taken == nil:
		return Finding{a.Topic, OK, a.Listen + " is free", "", ""}
	case !errors.Is(a.Taken, syscall.EADDRINUSE):
		if errors.Is(a.Taken, syscall.EACCES) {
			return Finding{
				a.Topic, Warn, "who runs this may not listen on " + a.Listen, "without the right to, the service does not start",
				"set a port above 1023, or give the service CAP_NET_BIND_SERVICE",
			}
		}
		return Finding{a.Topic, Fail, a.Listen + " cannot be listened on: " + a.Taken.Error(), starts, "set an address of this machine"}
	case a.Listener == ListenerOurs:
		return Finding{a.Topic, OK, "refreshd listens on " + a.Listen, "", ""}
	case a.Listener == ListenerOther:
		return Finding{a.Topic, Fail, "something that is not refreshd listens on " + a.Listen + why, starts + ", and callers of that address reach something else", free}
	}
	return Finding{
		a.Topic, Warn, "something listens on " + a.Listen + " that cannot be told to be refreshd" + why,
		"if it is another program, the service does not start; if it is the service, it hangs or is cut off from here", free,
	}
}
