package delivery

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzCheckAddress: an address that may be dialled is one of the public
// internet, and so is the IPv4 address that it may stand for; the same address
// in other clothes is judged alike; what the operator allows is allowed.
func FuzzCheckAddress(f *testing.F) {
	for _, seed := range []string{"127.0.0.1", "93.184.215.14", "fe80::1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "2606:4700::1111"} {
		f.Add(netip.MustParseAddr(seed).AsSlice())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		addr, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		err := checkAddress(addr, nil)
		if addr.Is4() {
			require.Equal(t, err == nil, checkAddress(netip.AddrFrom16(addr.As16()), nil) == nil, "mapped into IPv6")
			for _, in := range []netip.Addr{
				netip.AddrFrom16([16]byte{0: 0, 1: 0x64, 2: 0xff, 3: 0x9b, 12: raw[0], 13: raw[1], 14: raw[2], 15: raw[3]}),
				netip.AddrFrom16([16]byte{0: 0x20, 1: 0x02, 2: raw[0], 3: raw[1], 4: raw[2], 5: raw[3]}),
				netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 12: ^raw[0], 13: ^raw[1], 14: ^raw[2], 15: ^raw[3]}),
				netip.AddrFrom16([16]byte{12: raw[0], 13: raw[1], 14: raw[2], 15: raw[3]}),
			} {
				require.Error(t, checkAddress(in, nil), "a gateway could be made to lead anywhere: %s", in)
			}
		} else {
			require.Equal(t, err == nil, checkAddress(addr.WithZone("eth0"), nil) == nil, "with a zone")
		}
		require.NoError(t, checkAddress(addr, []netip.Prefix{netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())}))
		if err != nil {
			require.ErrorIs(t, err, ErrForbiddenAddress)
			return
		}
		addr = addr.Unmap()
		require.True(t, addr.IsGlobalUnicast() && !addr.IsPrivate() && !addr.IsLoopback() && !addr.IsLinkLocalUnicast() &&
			!addr.IsMulticast() && !addr.IsUnspecified(), addr)
	})
}

// FuzzReceiverRetryAfter: whatever a receiver asks for, it is never put off
// beyond a day, and never called earlier than now.
func FuzzReceiverRetryAfter(f *testing.F) {
	f.Add("60", int64(1_800_000_000))
	f.Add("Fri, 15 Jan 2027 08:00:00 GMT", int64(1_800_000_000))
	f.Add("-9223372036854775808", int64(0))
	f.Fuzz(func(t *testing.T, value string, now int64) {
		got := retryAfter(value, time.Unix(now, 0))
		require.GreaterOrEqual(t, got, time.Duration(0))
		require.LessOrEqual(t, got, maxRetryAfter)
	})
}
