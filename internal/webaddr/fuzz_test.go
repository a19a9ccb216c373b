package webaddr

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzReceiver: a URL that is accepted without a network being allowed names
// a host of the public internet over TLS, in a notation that nobody can take
// for another address.
func FuzzReceiver(f *testing.F) {
	for _, seed := range []string{
		"https://hooks.example/x", "https://127.1/", "https://[::ffff:127.0.0.1]:8443/", "https://u:p@hooks.example", "http://localhost:6379/", "https://xn--hks-snaa.example/",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if CheckReceiver(raw, nil) != nil {
			return
		}
		u, err := url.Parse(raw)
		require.NoError(t, err)
		require.Equal(t, "https", u.Scheme)
		require.Nil(t, u.User)
		require.Empty(t, u.Fragment)
		require.Empty(t, otherService(u.Port()))
		host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		require.NotEmpty(t, u.Hostname())
		require.NotEqual(t, "localhost", host)
		require.False(t, strings.HasSuffix(host, ".localhost"))
		for i := range len(host) {
			require.True(t, host[i] > ' ' && host[i] < 0x7f, "%q", host)
		}
		addr, err := netip.ParseAddr(u.Hostname())
		if err != nil {
			last := host[strings.LastIndexByte(host, '.')+1:]
			require.NotRegexp(t, `\A(0x[0-9a-f]*|[0-9]+)\z`, last, "the system's resolver takes it for a number")
			return
		}
		require.Empty(t, addr.Zone(), "a zone is for link-local addresses")
		for _, one := range []netip.Addr{addr, addr.Unmap()} {
			require.True(t, one.IsGlobalUnicast() && !one.IsPrivate() && !one.IsLoopback() && !one.IsLinkLocalUnicast(), one)
		}
		// Whatever it was written as, what it stands for may be written plainly.
		plain := "https://" + addr.Unmap().String() + "/"
		if addr.Unmap().Is6() {
			plain = "https://[" + addr.String() + "]/"
		}
		require.NoError(t, CheckReceiver(plain, nil))
	})
}
