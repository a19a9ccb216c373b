package client

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// origin is where a request goes.
type origin struct {
	host string // in small letters
	port string // empty for the scheme's own
	tls  bool
}

func originOf(u *url.URL) origin {
	o := origin{host: strings.ToLower(u.Hostname()), port: u.Port(), tls: strings.EqualFold(u.Scheme, "https")}
	if o.tls && o.port == "443" || !o.tls && o.port == "80" {
		o.port = ""
	}
	return o
}

// namedOrigin reads "host", "host:port", "[address]:port" or an address of
// IPv6 with or without brackets.
func namedOrigin(name string) origin {
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		host, port = strings.Trim(name, "[]"), ""
	}
	return origin{host: strings.ToLower(host), port: port}
}

// at reports whether o is a place that goes by name.
func (o origin) at(name origin) bool {
	port := name.port
	if o.tls && port == "443" || !o.tls && port == "80" {
		port = ""
	}
	return o.host == name.host && o.port == port
}

// mayCarry reports whether the token may go with a request: not with one whose
// host is not among those that were named, and not with one that was redirected
// to another host, or through another, or from https to http. What comes after
// a foreign host is what that one wanted.
func (t *Transport) mayCarry(req *http.Request) bool {
	if req.URL == nil {
		return false
	}
	here := originOf(req.URL)
	if !t.named(here) {
		return false
	}
	// http.Client tells which response a request follows.
	for hop := req; hop.Response != nil; {
		hop = hop.Response.Request
		if hop == nil || hop.URL == nil {
			return false // it was redirected, nobody knows from where
		}
		before := originOf(hop.URL)
		if !t.named(before) || before.tls && !here.tls {
			return false
		}
		if t.anywhere && (before.host != here.host || before.port != here.port) {
			return false
		}
		here = before
	}
	return true
}

// named reports whether the token may go to a host at all.
func (t *Transport) named(o origin) bool { return t.anywhere || slices.ContainsFunc(t.hosts, o.at) }
