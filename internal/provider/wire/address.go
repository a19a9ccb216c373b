package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
)

// CheckURL reports why no provider can have the URL, nil if one can. Plain http
// is for this machine alone, unless it is allowed. The text continues a
// sentence that begins with what the URL is, and quotes nothing but its scheme.
func CheckURL(u *url.URL, allowHTTP bool) error {
	literal, err := netip.ParseAddr(u.Hostname())
	isLiteral := err == nil
	loopback := isLiteral && literal.Unmap().IsLoopback() || u.Hostname() == "localhost"
	switch {
	case u.Hostname() == "":
		return errors.New("is not an absolute URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("has scheme %q; give https", u.Scheme)
	case u.Scheme == "http" && !loopback && !allowHTTP:
		return errors.New("is http, which shows every token to the network; give https")
	case isLiteral && Forbidden(literal):
		return fmt.Errorf("is refused: %w", ErrForbiddenAddress)
	}
	return nil
}

// checkDialled is a net.Dialer's Control: it sees the address that is about to
// be dialled, after the name was resolved, so that no answer of a name server
// leads to an address that [Forbidden] refuses.
func checkDialled(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: the dialled address cannot be read", ErrForbiddenAddress)
	}
	if Forbidden(to.Addr()) {
		return ErrForbiddenAddress
	}
	return nil
}

// Forbidden reports whether no provider can have the address: link-local ones
// (RFC 3927, RFC 4291), on which clouds serve the machine's own credentials,
// and the metadata services that have addresses of other kinds. IPv4 addresses
// in IPv6 clothes (mapped, NAT64 of RFC 6052, 6to4 of RFC 3056) are looked at
// as what they are.
func Forbidden(addr netip.Addr) bool {
	addr = embedded(addr.Unmap().WithZone(""))
	return addr.IsLinkLocalUnicast() || addr.IsLinkLocalMulticast() || slices.Contains(metadataAddresses(), addr)
}

// metadataAddresses lists what clouds use beside link-local addresses.
func metadataAddresses() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("100.100.100.200"),    // Alibaba Cloud
		netip.MustParseAddr("168.63.129.16"),      // Azure's wire server
		netip.MustParseAddr("192.0.0.192"),        // Oracle Cloud, older
		netip.MustParseAddr("fd00:ec2::254"),      // AWS
		netip.MustParseAddr("fd20:ce::254"),       // Google Cloud
		netip.MustParseAddr("fd00:c1::a9fe:a9fe"), // Oracle Cloud
	}
}

// embedded returns the IPv4 address inside addr, addr itself if there is none.
func embedded(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	b := addr.As16()
	switch {
	case [12]byte(b[:12]) == [12]byte{1: 0x64, 2: 0xff, 3: 0x9b}: // 64:ff9b::/96
		return netip.AddrFrom4([4]byte(b[12:]))
	case b[0] == 0x20 && b[1] == 0x02: // 2002::/16
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return addr
}
