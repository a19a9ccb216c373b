// Package webaddr judges the URLs and addresses that settings name, before
// anything is sent there: by their text alone. Names are looked at once more
// where they are resolved, on the address that is dialled.
package webaddr

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// CheckEndpoint looks at the URL of an authorization server, or, if issuer is
// set, at its issuer. It comes from the operator, so private addresses are
// fine; addresses of link-local and metadata services are not, for what they
// answer is never a token of a user.
func CheckEndpoint(raw string, issuer bool) error {
	u, err := ParseHTTP(raw)
	if err != nil {
		return err
	}
	host := u.Hostname()
	switch {
	case IsMetadata(host):
		return fmt.Errorf("%s is a link-local or metadata address, where no authorization server lives; check the address", host)
	case u.Scheme == "http" && !IsLoopback(host):
		return fmt.Errorf("%s is not encrypted, so anyone on the way could read the tokens; use https:// (http:// is for loopback only)", u.Redacted())
	case issuer && u.RawQuery != "":
		return errors.New("an issuer has no query (RFC 8414, section 2); remove what follows the ?")
	}
	return nil
}

// CheckReceiver looks at the URL of a receiver of events: it has to be public
// and encrypted, but for the networks in allow.
func CheckReceiver(raw string, allow []netip.Prefix) error {
	u, err := ParseHTTP(raw)
	if err != nil {
		return err
	}
	host := u.Hostname()
	addr, isAddr := address(host)
	loopback := IsLoopback(host)
	allowed := isAddr && covers(allow, addr)
	if loopback && !isAddr { // localhost
		allowed = covers(allow, netip.MustParseAddr("127.0.0.1")) || covers(allow, netip.IPv6Loopback())
	}
	switch {
	case !allowed && (loopback || IsMetadata(host) || isAddr && !Public(addr)):
		return fmt.Errorf("%s is not a public address; if it is meant, add it to network.allow", host)
	case u.Scheme == "http" && !loopback:
		return fmt.Errorf("%s is not encrypted; use https://", u.Redacted())
	case otherService(u.Port()) != "":
		return fmt.Errorf("port %s is that of %s, which takes no webhooks; check the port", u.Port(), otherService(u.Port()))
	}
	return nil
}

// otherService names what listens on a port by convention where that speaks
// another protocol than HTTP: a request could be taken for its commands (the
// Fetch standard, "port blocking", and the stores that such attacks aim at).
func otherService(port string) string {
	switch port {
	case "21":
		return "FTP"
	case "22":
		return "SSH"
	case "23":
		return "Telnet"
	case "25", "465", "587":
		return "SMTP"
	case "53":
		return "DNS"
	case "110", "995":
		return "POP3"
	case "143", "993":
		return "IMAP"
	case "389", "636":
		return "LDAP"
	case "445":
		return "SMB"
	case "514":
		return "syslog"
	case "3306":
		return "MySQL"
	case "5432":
		return "PostgreSQL"
	case "6379", "26379":
		return "Redis"
	case "11211":
		return "memcached"
	case "27017":
		return "MongoDB"
	}
	return ""
}

// ParseHTTP reads an absolute http or https URL. Its errors never repeat what
// could not be read.
func ParseHTTP(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return nil, errors.New("it is empty; write https://…")
	case err != nil:
		return nil, errors.New("it cannot be read as a URL; write https://host/path")
	case u.User != nil:
		return nil, errors.New("it holds a user or a password before the @; remove them")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return nil, fmt.Errorf("%q is not an absolute URL; write https://host/path", u.Redacted())
	case u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return nil, errors.New("it has a fragment; remove what follows the #")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("%s is not a port", port)
		}
	}
	host := u.Hostname()
	if _, ok := address(host); !ok {
		switch {
		case Numeric(host):
			// The system's resolver would take 2130706433 for 127.0.0.1.
			return nil, fmt.Errorf("%s is an address in an unusual notation; write it as 192.0.2.1", host)
		case strings.ContainsFunc(host, func(r rune) bool { return r > '~' || r <= ' ' }):
			return nil, errors.New("its host is not plain ASCII; write it as xn--…")
		}
	}
	return u, nil
}

// Numeric reports whether the last label of a host is a number, which no
// top-level domain is (WHATWG URL, "ends in a number").
func Numeric(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// address reads a host that is an address, and looks through the IPv6 forms
// that carry an IPv4 one: mapped, NAT64 (RFC 6052) and 6to4 (RFC 3056).
func address(host string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, false
	}
	addr = addr.WithZone("").Unmap()
	if !addr.Is6() {
		return addr, true
	}
	b := addr.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case netip.MustParsePrefix("2002::/16").Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return addr, true
}

// IsLoopback reports whether a host, by name or address, is this machine.
func IsLoopback(host string) bool {
	if addr, ok := address(host); ok {
		return addr.IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// IsMetadata recognises where clouds serve a machine's own credentials.
func IsMetadata(host string) bool {
	addr, ok := address(host)
	if !ok {
		name := strings.ToLower(strings.TrimSuffix(host, "."))
		return slices.Contains([]string{"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}, name)
	}
	return addr.IsLinkLocalUnicast() || addr.IsLinkLocalMulticast() || addr.IsMulticast() || addr.IsUnspecified() ||
		covers([]netip.Prefix{
			netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
			netip.MustParsePrefix("168.63.129.16/32"),   // Azure
			netip.MustParsePrefix("fd00:ec2::/32"),      // Amazon
			netip.MustParsePrefix("fd20:ce::254/128"),   // Google
		}, addr)
}

// Public reports whether anyone on the internet could own the address: it is
// global unicast and in none of the networks that look so and are special (IANA
// special-purpose address registries, RFC 6890).
func Public(addr netip.Addr) bool {
	return addr.IsGlobalUnicast() && !addr.IsPrivate() && !covers([]netip.Prefix{
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
	}, addr)
}

// covers reports whether one of the prefixes contains the address.
func covers(allow []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(addr) })
}
