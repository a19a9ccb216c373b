package providercheck

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// certificateSoon is how long before its end a certificate is told of.
	certificateSoon = 14 * 24 * time.Hour
	// skewWarn and skewFail are how far clocks may be apart. A Date has no
	// fractions of a second and was on its way, so less says nothing.
	skewWarn = 30 * time.Second
	skewFail = 5 * time.Minute
)

// errForbidden says that a name leads to an address that is never dialled.
var errForbidden = errors.New("the address is link-local or that of a metadata service")

// reach looks at each machine that the settings name, once, and reports whether
// all of them can be reached.
func (r *run) reach(ctx context.Context) bool {
	client, err := r.httpClient()
	if err != nil {
		r.add(CheckTLS, Fail, "http.ca_file cannot be used: "+err.Error(), "give a file with certificates in PEM")
		return false
	}
	defer client.CloseIdleConnections()
	all := true
	seen := map[string]bool{}
	for _, e := range r.Endpoints {
		base, https, ok := origin(e.URL)
		switch {
		case !ok:
			r.add(CheckAddress, Fail, e.Key+" has no host that can be asked", "give an absolute URL, https://…")
			all = false
			continue
		case seen[base]:
			continue
		}
		seen[base] = true
		found, reached := r.look(ctx, client, base, https)
		r.addAll(found)
		all = all && reached
	}
	return all
}

// origin returns scheme, host and port of a URL, which may have templates, and
// secrets, behind them.
func origin(text string) (base string, https, ok bool) {
	scheme, rest, _ := strings.Cut(text, "://")
	host, _, _ := strings.Cut(rest, "/")
	host, _, _ = strings.Cut(host, "?")
	u, err := url.Parse(scheme + "://" + host)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", false, false
	}
	return u.Scheme + "://" + u.Host, u.Scheme == "https", true
}

func (r *run) httpClient() (*http.Client, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if r.CAFile != "" {
		pem, err := os.ReadFile(r.CAFile)
		if err != nil {
			return nil, err
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, errors.New("it holds no certificate")
		}
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
		DialContext: (&net.Dialer{ControlContext: r.control}).DialContext,
	}
	if !r.Proxy.IsZero() {
		proxy, err := url.Parse(r.Proxy.Reveal())
		if err != nil {
			return nil, errors.New("http.proxy is no URL")
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	return &http.Client{
		Transport: transport, Timeout: r.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// control refuses what the service would not dial either.
func (r *run) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	if at, err := netip.ParseAddrPort(address); err == nil && r.Forbidden(at.Addr()) {
		return errForbidden
	}
	return nil
}

// look asks one machine for nothing in particular.
func (r *run) look(ctx context.Context, client *http.Client, base string, https bool) (found []Finding, reached bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, base+"/", http.NoBody)
	if err != nil {
		return []Finding{{CheckAddress, Fail, base + " is no address", "give a URL with a host"}}, false
	}
	sent := r.Now()
	resp, err := client.Do(req)
	if err != nil {
		return []Finding{r.unreachable(base, err)}, false
	}
	_ = resp.Body.Close() // a HEAD has none
	found = append(found, Finding{Check: CheckAddress, Severity: OK, What: base + " answers" + r.way()})
	if https && resp.TLS != nil {
		found = append(found, certificate(base, resp.TLS, r.Now()))
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		found = append(found, clocks(base, date, sent, r.Now()))
	}
	return found, true
}

// proxy is the address of http.proxy without its user and password, "" if there is
// none.
func (r *run) proxy() string {
	u, err := url.Parse(r.Proxy.Reveal())
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// way tells of the proxy, if there is one.
func (r *run) way() string {
	if r.Proxy.IsZero() {
		return ""
	}
	return " through http.proxy, " + r.proxy()
}

// unreachable says why a machine could not be reached. The error's own words may
// hold the address of a proxy with its password, and are not shown.
func (r *run) unreachable(base string, err error) Finding {
	name, _ := errors.AsType[*net.DNSError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, otherHost := errors.AsType[x509.HostnameError](err)
	invalid, bad := errors.AsType[x509.CertificateInvalidError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	late, timed := errors.AsType[net.Error](err)
	fail := func(check Check, what, remedy string) Finding {
		return Finding{Check: check, Severity: Fail, What: base + what, Remedy: remedy}
	}
	proxy := r.proxy()
	switch {
	case errors.Is(err, errForbidden):
		return fail(CheckAddress, " leads to a link-local address or a metadata service", "no provider is there: see what the name resolves to")
	case name != nil && name.IsNotFound && proxy != "": // the only name that is looked up here
		return fail(CheckAddress, " cannot be reached: the name of http.proxy, "+proxy+", does not exist here", "see that the host of the proxy is spelled right, and that this machine asks the right name server")
	case name != nil && name.IsNotFound:
		return fail(CheckAddress, ": the name does not exist here", "see that the host is spelled right, and that this machine asks the right name server")
	case name != nil:
		return fail(CheckAddress, ": the name server does not answer", "see /etc/resolv.conf, and run this again")
	case unknown:
		return fail(CheckTLS, ": the certificate is signed by nobody who is trusted here", "set http.ca_file to the certificate of the authority that signed it, or have the server send its intermediate certificates")
	case otherHost:
		return fail(CheckTLS, ": the certificate is another host's", "see that the host is spelled as in the certificate, and that no proxy answers in its place")
	case bad && invalid.Reason == x509.Expired:
		return fail(CheckTLS, ": the certificate has expired, or is not valid yet", "compare this machine's clock with the time; else have the certificate renewed")
	case bad:
		return fail(CheckTLS, ": the certificate must not be used for this", "have another one issued for the server")
	case noTLS, errors.Is(err, http.ErrSchemeMismatch):
		return fail(CheckTLS, " does not speak TLS", "see that scheme and port belong together")
	case errors.Is(err, syscall.ECONNREFUSED) && proxy != "":
		return fail(CheckAddress, " cannot be reached: nobody listens at http.proxy, "+proxy, "see that host and port of the proxy are right, and that it is up")
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail(CheckAddress, ": nobody listens there", "see that host and port are right, and that the provider is up")
	case timed && late.Timeout():
		return fail(CheckAddress, fmt.Sprintf(" does not answer within %s%s", r.Timeout, r.way()), "see whether a firewall lets this machine out, or set http.proxy")
	default:
		return fail(CheckAddress, ": the connection fails"+r.way(), "curl -sv "+base+" shows how; see http.proxy and http.ca_file")
	}
}

// certificate tells of the one that a server has shown, which was found valid.
func certificate(base string, state *tls.ConnectionState, now time.Time) Finding {
	f := Finding{Check: CheckTLS, Severity: OK, What: base + " has a valid certificate, " + tls.VersionName(state.Version)}
	if len(state.PeerCertificates) == 0 {
		return f
	}
	left := state.PeerCertificates[0].NotAfter.Sub(now)
	f.What += fmt.Sprintf(", for %d more days", int(left.Hours()/24))
	if left < certificateSoon {
		f.Severity, f.Remedy = Warn, "have it renewed: nothing is sent once it has expired"
	}
	return f
}

// clocks compares a server's clock with ours, as of between two moments.
func clocks(base string, date, from, to time.Time) Finding {
	skew := time.Duration(0)
	switch {
	case date.Before(from.Add(-time.Second)):
		skew = from.Sub(date)
	case date.After(to):
		skew = date.Sub(to)
	}
	f := Finding{Check: CheckClock, Severity: OK, What: fmt.Sprintf("the clocks here and at %s agree", base)}
	if skew > skewWarn {
		f.Severity, f.What = Warn, fmt.Sprintf("the clock here and that of %s are %s apart", base, skew.Round(time.Second))
		f.Remedy = "see with timedatectl whether this machine keeps time: expiries that are told as moments are read by it"
	}
	if skew > skewFail {
		f.Severity = Fail
	}
	return f
}
