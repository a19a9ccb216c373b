package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOrigins(t *testing.T) {
	t.Parallel()
	cfg, err := Load("", nil, nil)
	require.NoError(t, err)
	assert.Empty(t, cfg.CORS.Origins, "none unless they are named")

	for _, origin := range []string{
		"https://app.example", "https://app.example:8443", "https://xn--bcher-kva.example", "https://a_b.app.example", "https://192.0.2.1",
		"https://[2001:db8::1]:8443", "http://localhost:3000", "http://localhost", "http://app.localhost:3000", "http://127.0.0.1:5173", "http://[::1]:3000",
	} {
		require.NoError(t, checkOrigin(origin), origin)
	}
	for origin, words := range map[string]string{
		"":                              "it cannot be read as an origin",
		"*":                             "list the origins of your pages one by one",
		"https://*.app.example":         "list the origins of your pages one by one",
		"null":                          "the origin of every sandboxed frame",
		"app.example":                   "it cannot be read as an origin",
		"//app.example":                 "does not begin with https://",
		"https://":                      "it cannot be read as an origin",
		"https://a b":                   "it cannot be read as an origin",
		"mailto:a@b.example":            "it cannot be read as an origin",
		"ftp://app.example":             "does not begin with https://",
		"capacitor://localhost":         "does not begin with https://",
		"https://me:canary@app.example": "a user or a password",
		"http://app.example":            "http://app.example is not encrypted",
		"http://192.168.0.7:3000":       "is not encrypted",
		"http://localhost.evil.example": "is not encrypted",
		"https://app.example/":          "no path and nothing behind it; write https://app.example",
		"https://app.example/login":     "no path and nothing behind it; write https://app.example",
		"https://app.example?x":         "no path and nothing behind it; write https://app.example",
		"https://app.example#":          "no path and nothing behind it; write https://app.example",
		"https://app.example:":          "is not a port",
		"https://app.example:0":         "is not a port",
		"https://app.example:08443":     "is not a port",
		"https://app.example:65536":     "is not a port",
		"https://app.example:443":       "leave out the port 443, which goes without saying; write https://app.example",
		"http://localhost:80":           "leave out the port 80",
		"https://App.example":           "in small letters; write https://app.example",
		"HTTPS://app.example":           "in small letters; write https://app.example",
		"https://b\u00fccher.example":   "xn-- form",
		"https://app.example.":          "is not a name as browsers write it",
		"https://127.1":                 "is not an address as browsers write it",
		"https://2130706433":            "is not an address as browsers write it",
		"https://[2001:DB8::1]":         "is not an address as browsers write it",
		"https://[::ffff:192.0.2.1]":    "is not an address as browsers write it",
	} {
		err := checkOrigin(origin)
		require.Error(t, err, origin)
		assert.Contains(t, err.Error(), words, origin)
		assert.NotContains(t, err.Error(), "canary")
	}
}

// FuzzOrigin: what is taken is what a browser sends: it reads back as it is.
func FuzzOrigin(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		if checkOrigin(text) != nil {
			return
		}
		scheme, host, ok := strings.Cut(text, "://")
		require.True(t, ok)
		assert.Contains(t, []string{"http", "https"}, scheme)
		assert.NotContains(t, host, "//")
		assert.False(t, strings.ContainsAny(host, "/?#@*% \\\"'<>,;\x00\r\n"), host)
		assert.Equal(t, strings.ToLower(text), text)
	})
}
