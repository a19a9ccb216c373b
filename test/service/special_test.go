package service

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// tripwire counts who connects to it.
type tripwire struct {
	net.Listener

	touched atomic.Int64
}

// Accept counts, and hangs up.
func (w *tripwire) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err == nil {
		w.touched.Add(1)
		err = conn.Close()
	}
	return conn, err
}

func newTripwire(t *testing.T) (*tripwire, string) {
	t.Helper()
	w := &tripwire{}
	url := serve(t, func(ln net.Listener) net.Listener { w.Listener = ln; return w },
		func(ctx context.Context, ln net.Listener) error { return serveHTTP(ctx, ln, http.NotFoundHandler()) })
	return w, url
}

// specialName is a name other than localhost that resolves to addresses that
// are not public only.
func specialName(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	require.NoError(t, err)
	found, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip", name)
	if err != nil || name == "localhost" {
		t.Skipf("the machine's own name, %s, does not resolve; give it an address in /etc/hosts", name)
	}
	for _, addr := range found {
		if addr = addr.Unmap(); !addr.IsLoopback() && !addr.IsPrivate() {
			t.Skipf("the machine's own name, %s, resolves to %s, which others can reach", name, addr)
		}
	}
	return name
}

// triedOut is what the API tells of a delivery that was made for a trial.
type triedOut struct {
	Result string `json:"result"`
	Status int    `json:"status"`
	Error  string `json:"error"`
}

// A name that turns out to be an inner address: nothing is sent there, and
// whoever looks is told why.
func TestNoDeliveryToInnerAddresses(t *testing.T) {
	t.Parallel()
	name := specialName(t)
	wire, url := newTripwire(t)
	at, err := netip.ParseAddrPort(url[len("http://"):])
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(at.String())
	require.NoError(t, err)
	h := newHouse(t, newProvider(t, providerOptions{}), "")
	delete(h.config, "network")
	one := h.start()
	for _, bad := range []string{url, "http://localhost:" + port, "https://10.0.0.1/", "https://169.254.169.254/"} {
		refused := &harness.Refusal{}
		require.ErrorAs(t, one.subscribeTo(t, "bad", bad), &refused)
		assert.Equal(t, http.StatusUnprocessableEntity, refused.Status, bad)
	}
	require.NoError(t, one.subscribeTo(t, "inner", "https://"+name+":"+port+"/hook"))

	var tried triedOut
	require.NoError(t, one.Call(t.Context(), http.MethodPost, "/v1/subscriptions/inner/test", nil, &tried))
	assert.Equal(t, "unreachable", tried.Result)
	assert.Contains(t, tried.Error, "network.allow")
	h.login(one.api, 1)
	first := one.awaitDelivery(t, "inner")
	assert.Equal(t, "unreachable", first.Result)
	assert.Contains(t, first.Error, "network.allow")
	assert.Zero(t, wire.touched.Load())
}

func (a *api) subscribeTo(t *testing.T, name, url string) error {
	t.Helper()
	return a.Call(t.Context(), http.MethodPost, "/v1/subscriptions", map[string]any{
		"name": name, "url": url, "types": []string{"credential.*"}, "retry": []string{"50ms", "1h"},
	}, nil)
}

// awaitDelivery waits for the first delivery that a subscription's log tells of.
func (a *api) awaitDelivery(t *testing.T, name string) triedOut {
	t.Helper()
	var log struct {
		Deliveries []triedOut `json:"deliveries"`
	}
	eventually(t, patience, func() (bool, string) {
		require.NoError(t, a.Call(t.Context(), http.MethodGet, "/v1/subscriptions/"+name+"/deliveries?limit=100", nil, &log))
		return len(log.Deliveries) > 0, "nothing was delivered"
	})
	return log.Deliveries[len(log.Deliveries)-1]
}

// A receiver that points elsewhere is not followed, and a proxy of the
// environment is not asked, for a proxy would reach what is refused here.
func TestNoDeliveryByDetours(t *testing.T) {
	t.Parallel()
	proxy, proxyURL := newTripwire(t)
	elsewhere, elsewhereURL := newTripwire(t)
	pointing := httptest.NewServer(http.RedirectHandler(elsewhereURL, http.StatusTemporaryRedirect))
	t.Cleanup(pointing.Close)
	h := newHouse(t, newProvider(t, providerOptions{}), "")
	at := h.start("HTTP_PROXY="+proxyURL, "HTTPS_PROXY="+proxyURL, "ALL_PROXY="+proxyURL, "NO_PROXY=")
	require.NoError(t, at.subscribeTo(t, "pointing", pointing.URL))
	require.NoError(t, at.subscribeTo(t, "far", "https://receiver.invalid/hook"))
	h.login(at.api, 1)

	redirected := at.awaitDelivery(t, "pointing")
	assert.Equal(t, "refused", redirected.Result)
	assert.Equal(t, http.StatusTemporaryRedirect, redirected.Status)
	assert.Equal(t, "unreachable", at.awaitDelivery(t, "far").Result)
	assert.Zero(t, elsewhere.touched.Load())
	assert.Zero(t, proxy.touched.Load())
}

// A provider whose address can only be that of the machine's keeper is refused
// before anything is sent.
func TestNoProviderAtAMetadataService(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"https://169.254.169.254/token", "https://[fe80::1]/token", "https://[fd00:ec2::254]/token", "https://metadata.google.internal/token"} {
		h := newHouse(t, newProvider(t, providerOptions{}), "")
		h.acme()["token_url"] = url
		h.save()
		p := testproc.Start(t, testproc.Options{
			Path: program(t), Args: []string{"serve"}, Dir: h.dir,
			Ready: regexp.MustCompile(`providers\.acme\.token_url: \S+ is a link-local or metadata address`), ReadyTimeout: patience,
		})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		state, err := p.Wait(ctx)
		cancel()
		require.NoError(t, err)
		assert.NotZero(t, state.ExitCode())
	}
}
