package delivery

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// ErrForbiddenAddress is wrapped by the error of a delivery to an address that
// is not public and that the operator has not allowed.
var ErrForbiddenAddress = errors.New("deliveries to this address are not allowed; list its network under network.allow")

// special lists the networks that are not public although their addresses look
// like global unicast (IANA special-purpose address registries, RFC 6890).
func special() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),       // this network
		netip.MustParsePrefix("100.64.0.0/10"),   // carrier-grade NAT, RFC 6598
		netip.MustParsePrefix("192.0.0.0/24"),    // IETF protocol assignments
		netip.MustParsePrefix("192.0.2.0/24"),    // documentation
		netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
		netip.MustParsePrefix("198.18.0.0/15"),   // benchmarking
		netip.MustParsePrefix("198.51.100.0/24"), // documentation
		netip.MustParsePrefix("203.0.113.0/24"),  // documentation
		netip.MustParsePrefix("240.0.0.0/4"),     // reserved
		netip.MustParsePrefix("::/96"),           // IPv4-compatible, RFC 4291 section 2.5.5.1
		netip.MustParsePrefix("::ffff:0:0:0/96"), // IPv4-translated, RFC 2765
		netip.MustParsePrefix("64:ff9b::/96"),    // NAT64
		netip.MustParsePrefix("64:ff9b:1::/48"),  // local NAT64
		netip.MustParsePrefix("100::/64"),        // discard
		netip.MustParsePrefix("2001::/23"),       // IETF protocol assignments, Teredo
		netip.MustParsePrefix("2001:db8::/32"),   // documentation
		netip.MustParsePrefix("2002::/16"),       // 6to4
		netip.MustParsePrefix("3fff::/20"),       // documentation, RFC 9637
		netip.MustParsePrefix("5f00::/16"),       // segment routing, RFC 9602
		netip.MustParsePrefix("fec0::/10"),       // former site-local
	}
}

// NewClient returns an HTTP client for deliveries: it follows no redirect,
// obeys no proxy variable, and checks each address as it is dialled, so that a
// name cannot change between check and use. Addresses that are not public are
// refused unless allowed returns a network that holds them; it is asked each
// time, for a reload may change the answer.
func NewClient(allowed func() []netip.Prefix) *http.Client {
	forbidden := special()
	dialer := &net.Dialer{
		Timeout: 5 * time.Second,
		Control: func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %s", ErrForbiddenAddress, address)
			}
			return checkAddress(at.Addr(), allowed(), forbidden)
		},
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConnsPerHost: LaneCount, IdleConnTimeout: 30 * time.Second,
			ResponseHeaderTimeout: deliveryTimeout, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func checkAddress(addr netip.Addr, allow, forbidden []netip.Prefix) error {
	addr = addr.Unmap().WithZone("")
	for _, p := range allow {
		if p.Contains(addr) {
			return nil
		}
	}
	refused := !addr.IsGlobalUnicast() || addr.IsPrivate()
	for _, p := range forbidden {
		refused = refused || p.Contains(addr)
	}
	if refused {
		return fmt.Errorf("%w: %s", ErrForbiddenAddress, addr)
	}
	return nil
}
