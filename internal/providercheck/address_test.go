package providercheck

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// free returns an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return ln.Addr().String()
}

// dated starts a server whose clock is off.
func dated(t *testing.T, off time.Duration) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// secured starts a server with a certificate, and returns it with the file that
// has it trusted.
func secured(t *testing.T) (server *httptest.Server, caFile string) {
	t.Helper()
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	server.StartTLS()
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	return server, caFile
}

func TestReach(t *testing.T) {
	t.Parallel()
	server, caFile := secured(t)
	plain := dated(t, 0)
	other, err := url.Parse(server.URL)
	require.NoError(t, err)
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(notPEM, []byte("nothing"), 0o600))
	away := free(t)
	for name, row := range map[string]struct {
		url    string
		change func(*Options)
		check  Check
		want   string
		asks   bool // goes on to ask the provider
	}{
		"plain":           {plain, nil, CheckAddress, "ok " + plain + " answers", true},
		"TLS":             {server.URL, func(o *Options) { o.CAFile = caFile }, CheckTLS, "ok " + server.URL + " has a valid certificate, TLS 1.3, for ", true},
		"ends soon":       {server.URL, func(o *Options) { o.CAFile = caFile; o.Now = endOf(server) }, CheckTLS, "for 3 more days — have it renewed", true},
		"not trusted":     {server.URL, nil, CheckTLS, "fail " + server.URL + ": the certificate is signed by nobody who is trusted here — set http.ca_file", false},
		"another host's":  {"https://localhost:" + other.Port(), func(o *Options) { o.CAFile = caFile }, CheckTLS, ": the certificate is another host's", false},
		"no TLS there":    {"https" + plain[len("http"):], nil, CheckTLS, " does not speak TLS — see that scheme and port", false},
		"nobody":          {"http://" + free(t), nil, CheckAddress, ": nobody listens there — see that host and port", false},
		"no name":         {"https://no-such-host.invalid", nil, CheckAddress, "https://no-such-host.invalid: the name", false},
		"forbidden":       {plain, func(o *Options) { o.Forbidden = func(netip.Addr) bool { return true } }, CheckAddress, " leads to a link-local address", false},
		"no CA file":      {plain, func(o *Options) { o.CAFile = "/nowhere/ca.pem" }, CheckTLS, "fail http.ca_file cannot be used", false},
		"empty CA file":   {plain, func(o *Options) { o.CAFile = notPEM }, CheckTLS, "it holds no certificate — give a file", false},
		"proxy away":      {"https://id.example", func(o *Options) { o.Proxy = credential.NewSecret("http://u:canary@" + away) }, CheckAddress, "https://id.example cannot be reached: nobody listens at http.proxy, http://" + away + " — see that host and port of the proxy are right, and that it is up", false},
		"no host":         {"canary", nil, CheckAddress, "fail token_url has no host", false},
		"clock in time":   {plain, nil, CheckClock, "ok the clocks here and at ", true},
		"clock a bit off": {dated(t, time.Minute), nil, CheckClock, "warn the clock here and that of ", true},
		"clock behind":    {dated(t, -time.Hour), nil, CheckClock, "fail the clock here and that of ", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &fakeProvider{replies: replies{refresh: credential.Outcome{Class: credential.ClassPermanent}}}
			o := setup(t, p)
			o.Client, o.Endpoints = true, []Endpoint{{"token_url", row.url + "/{{.subject}}?key=canary"}, {"revoke_url", row.url + "/revoke#canary"}}
			if name == "no host" {
				o.Endpoints = []Endpoint{{"token_url", row.url}}
			}
			if row.change != nil {
				row.change(&o)
			}
			list := Run(t.Context(), o)
			assert.Contains(t, one(t, list, row.check), row.want, "once for each machine")
			assert.Equal(t, row.asks, p.asked != nil)
			assert.NotContains(t, fmt.Sprint(list), "canary")
		})
	}
}

// With a proxy the only name that is looked up here is its own.
func TestProxyWithoutAName(t *testing.T) {
	t.Parallel()
	r := &run{Options: Options{Proxy: credential.NewSecret("http://u:canary@proxy.example:3128")}}
	found := r.unreachable("https://id.example", &net.DNSError{Err: "no such host", Name: "proxy.example", IsNotFound: true})
	assert.Equal(t, "https://id.example cannot be reached: the name of http.proxy, http://proxy.example:3128, does not exist here", found.What)
	assert.NotContains(t, found.Remedy, "canary")
}

// endOf is a clock three days before the end of a server's certificate.
func endOf(server *httptest.Server) func() time.Time {
	end := server.Certificate().NotAfter.Add(-3*24*time.Hour - time.Minute)
	return func() time.Time { return end }
}

// A server that takes connections and says nothing is waited for no longer than
// the timeout.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	o := setup(t, &fakeProvider{})
	o.Endpoints, o.Timeout = []Endpoint{{"token_url", "http://" + ln.Addr().String()}}, 50*time.Millisecond
	assert.Contains(t, one(t, Run(t.Context(), o), CheckAddress), "does not answer within 50ms — see whether a firewall")
}

func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	server, caFile := secured(t)
	r := &run{Options: setup(t, &fakeProvider{})}
	r.CAFile = caFile
	client, err := r.httpClient()
	require.NoError(t, err)
	transport, ok := client.Transport.(*http.Transport)
	require.True(t, ok)
	transport.TLSClientConfig.Time = func() time.Time { return server.Certificate().NotAfter.Add(time.Hour) }
	found, reached := r.look(t.Context(), client, server.URL, true)
	assert.False(t, reached)
	assert.Contains(t, one(t, found, CheckTLS), "has expired, or is not valid yet — compare this machine's clock")
}

func TestCertificateWithoutOne(t *testing.T) {
	t.Parallel()
	assert.Equal(t, OK, certificate("https://x", &tls.ConnectionState{Version: tls.VersionTLS13}, time.Now()).Severity)
}

// FuzzOrigin: whatever stands in the settings, what is shown of it is a scheme,
// a host and a port.
func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{
		"https://id.example/token?key=s", "http://127.0.0.1:8080", "https://u:p@id.example/", "https://id.example?{{.subject}}", "https://[::1]:443/x",
		"://", "https://", "ftp://x", "https://a b/", "https://x#canary", "HTTPS://X",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		base, https, ok := origin(text)
		if !ok {
			require.Empty(t, base)
			return
		}
		u, err := url.Parse(base)
		require.NoError(t, err, base)
		require.Equal(t, https, u.Scheme == "https")
		require.NotEmpty(t, u.Host)
		require.Nil(t, u.User)
		require.Empty(t, u.Path+u.RawQuery+u.Fragment)
	})
}
