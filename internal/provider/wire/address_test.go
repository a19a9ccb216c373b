package wire

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestForbidden(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{
		"169.254.169.254": true, "169.254.0.1": true, "::ffff:169.254.169.254": true, "224.0.0.251": true,
		"fe80::1": true, "fe80::1%eth0": true, "ff02::1": true,
		"fd00:ec2::254": true, "fd20:ce::254": true, "fd00:c1::a9fe:a9fe": true,
		"100.100.100.200": true, "168.63.129.16": true, "192.0.0.192": true,
		"64:ff9b::a9fe:a9fe": true, "2002:a9fe:a9fe::1": true, "64:ff9b::169.254.170.2": true,

		"127.0.0.1": false, "::1": false, "10.0.0.1": false, "192.168.1.1": false, "100.100.100.201": false,
		"203.0.113.7": false, "2001:db8::1": false, "fd00::1": false, "64:ff9b::cb00:7107": false, "2002:cb00:7107::1": false,
	}
	for text, want := range tests {
		addr, err := netip.ParseAddr(text)
		require.NoError(t, err)
		assert.Equal(t, want, Forbidden(addr), text)
	}
}

// The check is made on the address that is dialled, whatever name led to it.
func TestCheckDialled(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"127.0.0.1:443": true, "[2001:db8::1]:443": true,
		"169.254.169.254:80": false, "[fe80::1%lo]:443": false, "[::ffff:169.254.169.254]:80": false, "somewhere": false,
	} {
		err := checkDialled("tcp", address, nil)
		if want {
			require.NoError(t, err, address)
		} else {
			require.ErrorIs(t, err, ErrForbiddenAddress, address)
		}
	}
}

// FuzzForbidden: an IPv4 address is judged alike in every form that carries
// it, and no form of a link-local address passes.
func FuzzForbidden(f *testing.F) {
	for _, seed := range []string{"169.254.169.254", "127.0.0.1", "fe80::1", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fd00:ec2::254"} {
		f.Add(netip.MustParseAddr(seed).AsSlice())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		addr, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		got := Forbidden(addr)
		if addr.IsLinkLocalUnicast() || addr.IsLinkLocalMulticast() || addr.Unmap().IsLinkLocalUnicast() {
			assert.True(t, got, addr)
		}
		if !addr.Is4() {
			assert.Equal(t, got, Forbidden(addr.WithZone("eth0")))
			return
		}
		for _, in := range []netip.Addr{
			netip.AddrFrom16(addr.As16()),
			netip.AddrFrom16([16]byte{1: 0x64, 2: 0xff, 3: 0x9b, 12: raw[0], 13: raw[1], 14: raw[2], 15: raw[3]}),
			netip.AddrFrom16([16]byte{0: 0x20, 1: 0x02, 2: raw[0], 3: raw[1], 4: raw[2], 5: raw[3]}),
		} {
			assert.Equal(t, got, Forbidden(in), in)
		}
	})
}
