package webaddr

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEndpoints(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"https://id.example", "https://id.example:8443/token?tenant=a", "http://127.0.0.1:1/t", "http://localhost/t", "http://LOCALHOST./t",
		"http://[::1]:1/t", "http://a.localhost/t", "https://10.1.2.3/token", "https://[fd12::1]/token", "http://[::ffff:127.0.0.1]/t", "https://1.example", "https://x-1.0a/",
	} {
		require.NoError(t, CheckEndpoint(url, false), url)
	}
	for url, want := range map[string]string{
		"":                                    "empty",
		"id.example/token":                    "not an absolute URL",
		"//id.example/token":                  "not an absolute URL",
		"ftp://id.example":                    "not an absolute URL",
		"https:///token":                      "not an absolute URL",
		"https:id.example":                    "not an absolute URL",
		"https://id.example/#x":               "fragment",
		"https://id.example/#":                "fragment",
		"https://u@id.example":                "before the @",
		"https://id.example:0":                "is not a port",
		"https://id.example:99999":            "is not a port",
		"https://id.example:x":                "cannot be read",
		"https://exa mple":                    "cannot be read",
		"https://münchen.example":             "write it as xn--",
		"http://id.example":                   "not encrypted",
		"http://10.1.2.3":                     "not encrypted",
		"http://127.0.0.1.example":            "not encrypted",
		"http://127.1":                        "unusual notation",
		"http://2130706433":                   "unusual notation",
		"http://0x7f000001":                   "unusual notation",
		"http://0x7f.1":                       "unusual notation",
		"https://0177.0.0.1":                  "unusual notation",
		"https://0xA9FEA9FE":                  "unusual notation",
		"https://169.254.169.254":             "metadata",
		"https://[::ffff:169.254.169.254]":    "metadata",
		"https://[64:ff9b::a9fe:a9fe]":        "metadata",
		"https://[2002:a9fe:a9fe::1]":         "metadata",
		"https://[fe80::1]":                   "metadata",
		"https://[fe80::1%25eth0]":            "metadata",
		"https://[fd00:ec2::254]":             "metadata",
		"https://100.100.100.200":             "metadata",
		"https://metadata.google.internal":    "metadata",
		"https://METADATA.google.internal.":   "metadata",
		"https://0.0.0.0":                     "metadata",
		"http://metadata.google.internal/tok": "metadata",
	} {
		require.ErrorContains(t, CheckEndpoint(url, false), want, url)
	}
}

func TestReceivers(t *testing.T) {
	t.Parallel()
	none := []netip.Prefix(nil)
	own := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16")}
	for _, url := range []string{"https://hooks.example/x", "https://hooks.example:8443", "https://192.0.3.1", "https://[2606:4700::1]"} {
		require.NoError(t, CheckReceiver(url, none), url)
	}
	for _, url := range []string{"http://127.0.0.1:8080/x", "http://localhost:8080/x", "https://localhost", "https://10.1.2.3"} {
		require.NoError(t, CheckReceiver(url, own), url)
		require.ErrorContains(t, CheckReceiver(url, none), "add it to network.allow", url)
	}
	for url, want := range map[string]string{
		"http://hooks.example":             "not encrypted",
		"http://10.1.2.3":                  "not encrypted",
		"https://10.2.2.3":                 "network.allow",
		"https://192.168.1.1":              "network.allow",
		"https://172.16.0.1":               "network.allow",
		"https://100.64.0.1":               "network.allow",
		"https://0.0.0.0":                  "network.allow",
		"https://[::]":                     "network.allow",
		"https://[::1]":                    "network.allow",
		"https://[fd12::1]":                "network.allow",
		"https://[fe80::1]":                "network.allow",
		"https://[2001::1]":                "network.allow",
		"https://[::ffff:192.168.0.1]":     "network.allow",
		"https://[64:ff9b::c0a8:1]":        "network.allow",
		"https://[2002:c0a8:1::]":          "network.allow",
		"https://169.254.169.254":          "network.allow",
		"https://metadata.google.internal": "network.allow",
		"https://224.0.0.1":                "network.allow",
		"https://240.0.0.1":                "network.allow",
		"https://127.1":                    "unusual notation",
		"https://2130706433":               "unusual notation",
		"https://0x7f000001":               "unusual notation",
		"https://0x7f.1":                   "unusual notation",
		"https://0177.0.0.1":               "unusual notation",
		"https://127.0.0.1.":               "unusual notation",
		"https://hooks.example:6379":       "port 6379 is that of Redis",
		"https://127.0.0.1:6379":           "port 6379 is that of Redis",
		"http://localhost:11211/x":         "port 11211 is that of memcached",
		"https://hooks.example:22":         "port 22 is that of SSH",
		"https://u:p@hooks.example":        "before the @",
		"https://hööks.example":            "xn--",
	} {
		require.ErrorContains(t, CheckReceiver(url, own), want, url)
	}
	for _, url := range []string{"https://[::ffff:127.0.0.1]", "https://[::ffff:7f00:1]", "https://[64:ff9b::7f00:1]", "https://[2002:7f00:1::]"} {
		require.ErrorContains(t, CheckReceiver(url, none), "network.allow", url)
	}
}
