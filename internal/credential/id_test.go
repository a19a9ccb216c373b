package credential_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestParseID(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", credential.MaxIDLen)
	for _, good := range []string{"a", "0", "Z", "user-7", "a.b_c:d@e-f", "client:acme", long} {
		id, err := credential.ParseID(good)
		require.NoError(t, err, good)
		assert.Equal(t, credential.ID(good), id)
	}
	for name, bad := range map[string]string{
		"empty": "", "one too long": long + "a", "dot first": ".a", "climbing": "../a", "dots": "..", "colon first": ":a",
		"hash tag": "a{b}", "tag alone": "{}", "slash": "a/b", "backslash": `a\b`, "space": "a b", "leading space": " a",
		"NUL": "a\x00", "CR LF": "a\r\nSET x", "tab": "a\t", "DEL": "a\x7f", "umlaut": "ä", "overlong slash": "a\xc0\xaf",
		"full-width digit": "a\uff10", "invisible": "a\u200b", "star": "a*", "question": "a?", "bracket": "a[b]", "percent": "a%2e",
		"quote": `a"b`, "plus": "a+b", "comma": "a,b", "equals": "a=b",
	} {
		id, err := credential.ParseID(bad)
		require.ErrorIs(t, err, credential.ErrInvalidID, name)
		assert.Empty(t, id, name)
	}
}

// The message names one byte and no more: what was pasted by mistake may be a
// token.
func TestParseIDDoesNotEcho(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"sekret+tail", strings.Repeat("sekret", 40), "\nsekret"} {
		_, err := credential.ParseID(bad)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "sekret")
		assert.NotContains(t, err.Error(), "tail")
	}
	_, err := credential.ParseID("ab\nc")
	assert.ErrorContains(t, err, "byte 0x0a at position 2")
}

func TestClientID(t *testing.T) {
	t.Parallel()
	id := credential.ClientID("acme")
	assert.Equal(t, credential.ID("client:acme"), id)
	assert.True(t, id.IsClient())
	for _, owners := range []credential.ID{"acme", "client", "clients:acme", "my-client:acme"} {
		assert.False(t, owners.IsClient(), owners)
	}
}

func FuzzParseID(f *testing.F) {
	for _, seed := range []string{"", "a", "user-7", "..", "a{b}", "a\r\n", "a\x00", "ä", "\xc0\xaf", strings.Repeat("x", 129)} {
		f.Add(seed)
	}
	shape := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$`)
	f.Fuzz(func(t *testing.T, s string) {
		id, err := credential.ParseID(s)
		// Go's $ matches at the end of the text alone, not before a line break.
		if shape.MatchString(s) != (err == nil) {
			t.Fatalf("ParseID(%q) = %v, against its documented shape", s, err)
		}
		if err == nil && string(id) != s {
			t.Fatalf("ParseID(%q) = %q", s, id)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Fatalf("a message of %d bytes", len(err.Error()))
		}
	})
}

func TestNonce(t *testing.T) {
	t.Parallel()
	n := nonceOf(1)
	assert.Len(t, n.String(), 32)
	assert.Equal(t, n.String()[:8], n.Short())
	back, err := credential.ParseNonce(n.String())
	require.NoError(t, err)
	assert.Equal(t, n, back)
	assert.False(t, n.IsZero())
	assert.True(t, credential.Nonce{}.IsZero())
	for _, bad := range []string{"", "00", n.String() + "00", n.String()[:31] + "g", strings.Repeat(" ", 32)} {
		got, err := credential.ParseNonce(bad)
		require.Error(t, err, bad)
		assert.True(t, got.IsZero(), bad)
	}
}

func FuzzParseNonce(f *testing.F) {
	f.Add("")
	f.Add(nonceOf(1).String())
	f.Add(strings.ToUpper(nonceOf(2).String()))
	f.Fuzz(func(t *testing.T, s string) {
		n, err := credential.ParseNonce(s)
		if err == nil && n.String() != strings.ToLower(s) {
			t.Fatalf("ParseNonce(%q) = %s", s, n)
		}
		if err != nil && !n.IsZero() {
			t.Fatalf("ParseNonce(%q) = %s beside an error", s, n)
		}
	})
}
