package delivery

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is dialled is checked, however it was written.
func TestForbiddenAddresses(t *testing.T) {
	t.Parallel()
	for address, allowed := range map[string]bool{
		"127.0.0.1": false, "127.255.255.254": false, "0.0.0.0": false, "0.1.2.3": false,
		"10.1.2.3": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false,
		"169.254.169.254": false, "100.64.0.1": false, "100.127.255.255": false, "100.100.100.200": false,
		"192.0.0.192": false, "192.0.2.1": false, "192.88.99.1": false, "198.18.0.1": false, "198.51.100.1": false, "203.0.113.1": false,
		"224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::7f00:1": false, "::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:0:7f00:1": false,
		"fe80::1": false, "fe80::1%eth0": false, "fec0::1": false, "fc00::1": false, "fd00:ec2::254": false, "ff02::1": false,
		"64:ff9b::7f00:1": false, "64:ff9b:1::a00:1": false, "2002:7f00:1::": false, "2001::1": false, "2001:db8::1": false, "100::1": false,
		"3fff::1": false, "5f00::1": false,
		"1.1.1.1": true, "172.32.0.1": true, "100.128.0.1": true, "2606:4700::1111": true, "2001:4860::8888": true,
	} {
		err := checkAddress(netip.MustParseAddr(address), nil)
		if allowed {
			require.NoError(t, err, address)
			continue
		}
		require.ErrorIs(t, err, ErrForbiddenAddress, address)
	}
	allow := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}
	require.NoError(t, checkAddress(netip.MustParseAddr("::ffff:10.1.2.3"), allow))
	require.NoError(t, checkAddress(netip.MustParseAddr("fe80::1%eth0"), allow))
	require.ErrorIs(t, checkAddress(netip.MustParseAddr("127.0.0.1"), allow), ErrForbiddenAddress)
}

// post returns the status of the answer.
func post(t *testing.T, client *http.Client, target string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// A name that leads to this machine is refused as its address is dialled:
// what it led to when it was checked does not matter.
func TestNothingOfThisMachineIsReached(t *testing.T) {
	t.Parallel()
	hits := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hits <- r.Host }))
	t.Cleanup(server.Close)
	port := server.URL[strings.LastIndex(server.URL, ":"):]
	client := NewClient(func() []netip.Prefix { return nil })
	t.Cleanup(client.CloseIdleConnections)
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "user:pw@127.0.0.1"} {
		_, err := post(t, client, "http://"+host+port+"/")
		require.ErrorIs(t, err, ErrForbiddenAddress, host)
	}
	assert.Empty(t, hits)
}

// A connection that is kept does not outlive the permission to use it.
func TestWhatIsNotAllowedAnyMoreIsNotReached(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(http.Handler) *httptest.Server{"plain": httptest.NewServer, "tls": httptest.NewTLSServer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var hits, dialled atomic.Int64
			server := start(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
			defer server.Close()
			var allow atomic.Pointer[[]netip.Prefix]
			allow.Store(&[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
			client := NewClient(func() []netip.Prefix { return *allow.Load() })
			transport, ok := client.Transport.(*http.Transport)
			require.True(t, ok)
			if pool := server.Client().Transport.(*http.Transport).TLSClientConfig; pool != nil { //nolint:errcheck,forcetypeassert // httptest's
				transport.TLSClientConfig = pool.Clone()
			}
			dial := transport.DialContext
			transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				dialled.Add(1)
				return dial(ctx, network, address)
			}
			defer client.CloseIdleConnections()
			for range 2 {
				status, err := post(t, client, server.URL)
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, status)
			}
			require.EqualValues(t, 1, dialled.Load(), "the connection is kept")
			allow.Store(&[]netip.Prefix{})
			_, err := post(t, client, server.URL)
			require.ErrorIs(t, err, ErrForbiddenAddress)
			assert.EqualValues(t, 2, hits.Load())
		})
	}
}

// A redirect is an answer like another: nobody goes where it points.
func TestNoRedirects(t *testing.T) {
	t.Parallel()
	hits := make(chan string, 100)
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits <- "inside" }))
	t.Cleanup(inside.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, inside.URL, status)
		}))
		t.Cleanup(server.Close)
		client := NewClient(func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
		t.Cleanup(client.CloseIdleConnections)
		got, err := post(t, client, server.URL)
		require.NoError(t, err)
		assert.Equal(t, status, got)
	}
	assert.Empty(t, hits)
}

// No proxy is used that nobody asked for.
func TestNoProxy(t *testing.T) {
	t.Parallel()
	transport, ok := NewClient(func() []netip.Prefix { return nil }).Transport.(*http.Transport)
	require.True(t, ok)
	if transport.Proxy != nil {
		proxy, err := transport.Proxy(&http.Request{URL: &url.URL{Scheme: "http", Host: "example.org"}})
		require.NoError(t, err)
		assert.Nil(t, proxy)
	}
}
