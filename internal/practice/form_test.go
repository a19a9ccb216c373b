package practice

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseForm(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]form{
		"":                                {},
		"grant_type=refresh_token":        {grantType: "refresh_token"},
		"&&grant_type=a&":                 {grantType: "a"},
		"refresh%5Ftoken=a%2Bb+c":         {refreshToken: "a+b c"},
		"client_id=x&client_secret=":      {clientID: "x", hasClientSecret: true},
		"client_secret=a%3Db=c":           {clientSecret: "a=b=c", hasClientSecret: true},
		"unknown=1&unknown=2&scope=read":  {scope: "read"},
		"scope=&scope=read":               {scope: "read"},
		"token=rt_x&token_type_hint=what": {token: "rt_x"},
	} {
		got, err := parseForm(body)
		require.NoError(t, err, body)
		assert.Equal(t, want, got, body)
	}
	for _, body := range []string{
		"scope=a&scope=b",
		"client_secret=&client_secret=",
		"scope=%",
		"scope=%zz",
		"%=a",
		"scope=a;token=b",
	} {
		_, err := parseForm(body)
		require.Error(t, err, body)
	}
}

// FuzzParseForm compares with the standard library's parser.
func FuzzParseForm(f *testing.F) {
	for _, seed := range []string{
		"grant_type=refresh_token&refresh_token=rt_abc&client_id=a&client_secret=b",
		"scope=a+b%20c&scope=", "a;b", "%", "=&=", "client_secret", "\x00=\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, err := parseForm(body)
		want, wantErr := url.ParseQuery(body)
		if wantErr != nil {
			require.Error(t, err)
			return
		}
		if err != nil {
			assert.True(t, repeated(want), "refused: %v", err)
			return
		}
		for name, value := range map[string]string{
			"grant_type": got.grantType, "refresh_token": got.refreshToken, "client_id": got.clientID,
			"client_secret": got.clientSecret, "scope": got.scope, "token": got.token,
		} {
			assert.Equal(t, strings.Join(want[name], ""), value, name)
		}
		assert.Equal(t, want.Has("client_secret"), got.hasClientSecret)
	})
}

func repeated(v url.Values) bool {
	for _, values := range v {
		if len(values) > 1 {
			return true
		}
	}
	return false
}

func TestParseBasic(t *testing.T) {
	t.Parallel()
	for header, want := range map[string][2]string{
		"Basic ZGVtbzpkZW1vLXNlY3JldA==": {"demo", "demo-secret"},
		"basic YSUzQWI6YytkJTI1":         {"a:b", "c d%"},
		"Basic Og==":                     {"", ""},
		"Basic YTpiOmM=":                 {"a", "b:c"},
	} {
		id, secret, ok := parseBasic(header)
		require.True(t, ok, header)
		assert.Equal(t, want, [2]string{id, secret}, header)
	}
	for _, header := range []string{"", "Basic", "Basic ", "Basic YQ==", "Basic Og", "Basic JTo=", "Bearer Og=="} {
		_, _, ok := parseBasic(header)
		assert.False(t, ok, header)
	}
}

func FuzzParseBasic(f *testing.F) {
	f.Add("Basic ZGVtbzpkZW1vLXNlY3JldA==")
	f.Add("Basic JTo=")
	f.Fuzz(func(t *testing.T, header string) {
		_, _, ok := parseBasic(header)
		if ok {
			assert.True(t, strings.EqualFold(header[:6], "basic "))
		}
	})
}
