package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/internal/webaddr"
)

const exampleOrigin = "write one like https://app.example, or http://localhost:3000"

// hostName is what a name looks like as browsers write it, with letters beyond
// ASCII in their xn-- form.
var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`)

func (l *loader) checkOrigins() {
	first := map[string]int{}
	for i, origin := range l.cfg.CORS.Origins {
		key := "cors.origins[" + strconv.Itoa(i) + "]"
		if !l.readable(key) {
			continue
		}
		if err := checkOrigin(origin); err != nil {
			l.refuse(key, "%v", err)
		} else if before, twice := first[origin]; twice {
			l.refuse(key, "%s is cors.origins[%d] too; take one of them out", origin, before)
		} else {
			first[origin] = i
		}
	}
}

// checkOrigin refuses what would let in more than one site, and what no browser
// sends as the origin of a page (RFC 6454 section 6.2, and the Fetch standard):
// origins are compared byte by byte, so that would never match.
func checkOrigin(text string) error {
	switch {
	case text == "null":
		return errors.New("null is the origin of every sandboxed frame and local file, whosever it is; " + exampleOrigin)
	case strings.Contains(text, "*"):
		return errors.New("a * would let in pages that nobody knows of, with whatever key their visitors have; list the origins of your pages one by one")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return errors.New("it cannot be read as an origin; " + exampleOrigin)
	case u.User != nil:
		return errors.New("it holds a user or a password before the @; " + exampleOrigin)
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("it does not begin with https://; " + exampleOrigin)
	}
	return checkOriginParts(text, u)
}

// checkOriginParts looks at an origin that can be shown.
func checkOriginParts(text string, u *url.URL) error {
	host, port := u.Hostname(), u.Port()
	lower := strings.ToLower(u.Scheme + "://" + u.Host)
	addr, addrErr := netip.ParseAddr(host)
	number, portErr := strconv.ParseUint(port, 10, 16)
	switch {
	case u.Scheme == "http" && !webaddr.IsLoopback(host):
		return fmt.Errorf("%s is not encrypted, so whoever is on the way can put his own script into that page; write https:// (http:// is for loopback only)", lower)
	case !strings.EqualFold(text, lower):
		return fmt.Errorf("an origin has no path and nothing behind it; write %s", lower)
	case strings.HasSuffix(u.Host, ":"), port != "" && (portErr != nil || number == 0 || strconv.FormatUint(number, 10) != port):
		return fmt.Errorf("%q is not a port as browsers write it; write one from 1 to 65535, or none", port)
	case u.Scheme == "https" && port == "443", u.Scheme == "http" && port == "80":
		return fmt.Errorf("browsers leave out the port %s, which goes without saying; write %s", port, strings.TrimSuffix(lower, ":"+port))
	case webaddr.Numeric(host) && addrErr != nil, addrErr == nil && (addr.String() != host || addr.Zone() != "" || addr.Is4In6()):
		return fmt.Errorf("%s is not an address as browsers write it; write it as 192.0.2.1 or [2001:db8::1]", host)
	case text != lower:
		return fmt.Errorf("browsers write origins in small letters; write %s", lower)
	case addrErr != nil && !hostName.MatchString(host):
		return fmt.Errorf("%q is not a name as browsers write it; write other letters than a-z in their xn-- form", host)
	}
	return nil
}
