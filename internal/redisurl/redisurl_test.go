package redisurl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"redis://h":                          "redis://h:6379",
		"redis://u:pa55@h:1/3?pool_size=7":   "redis://h:1",
		"rediss://h:1":                       "rediss://h:1",
		"unix:///run/redis.sock":             "unix:///run/redis.sock",
		"redis+sentinel://a:1,b:2/main":      "redis+sentinel://a:1,b:2/main",
		"redis+sentinel://u:pa55@a,b/main/1": "redis+sentinel://a:26379,b:26379/main",
		"redis+sentinel://[::1]:1/main?sentinel_username=u&sentinel_password=pa55": "redis+sentinel://[::1]:1/main",
	} {
		got, err := Parse(credential.NewSecret(url))
		if assert.NoError(t, err, url) {
			assert.Equal(t, want, got.Name)
		}
	}
	got, err := Parse(credential.NewSecret("redis+sentinel://u:p%40ss@a:1/main/5?sentinel_username=su&sentinel_password=sp"))
	require.NoError(t, err)
	o := got.Sentinel
	assert.Equal(t, []any{"main", "u", "p@ss", 5, "su", "sp"}, []any{o.MasterName, o.Username, o.Password, o.DB, o.SentinelUsername, o.SentinelPassword})
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"redis+cluster://u:pa55@h:1":              "not supported by this version",
		"http://u:pa55@h:1":                       "it does not begin with redis://",
		"pa55":                                    "it does not begin with redis://",
		"redis://u:pa55 @h:1 x/%":                 "percent-encode",
		"redis://u:pa55@h:port":                   "cannot be read",
		"redis://u:pa55@h:65536":                  "ports from 1 to 65535",
		"redis://u:pa55@h/-1":                     "database number",
		"unix://u:pa55@":                          "names no socket",
		"unix://u:pa55@run/redis.sock":            "names no socket",
		"unix:///run/redis.sock?pool_size=pa55":   "options after the ? cannot be read",
		"redis+sentinel://u:pa55@a:1,b:70000/m":   "ports from 1 to 65535",
		"redis://h/pa55":                          "database number",
		"redis://h/1/pa55":                        "database number",
		"redis://h?password=pa55":                 "options after the ?",
		"redis://h?pool_size=pa55":                "options after the ? cannot be read",
		"redis+sentinel://u:pa55@a:1":             "names no master",
		"redis+sentinel://u:pa55@a:1/":            "names no master",
		"redis+sentinel://u:pa55@a:1/m/x":         "database number",
		"redis+sentinel://u:pa55@a:1/m/-1":        "database number",
		"redis+sentinel://u:pa55@:1/m":            "list of sentinels",
		"redis+sentinel://u:pa55@a:1,/m":          "list of sentinels",
		"redis+sentinel://a:1/m?password=pa55":    "option that is not",
		"redis+sentinel://u:%zz@a:1/m?x=pa55":     "cannot be read",
		"redis+sentinel://a:b:c/m?":               "list of sentinels",
		"redis+sentinel://u:pa55@a:1?db=1&m=pa55": "names no master",
	} {
		_, err := Parse(credential.NewSecret(url))
		require.ErrorContains(t, err, want, url)
		assert.NotContains(t, err.Error(), "pa55", url)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"redis://h", "redis+sentinel://u:p@a:1,b:2/m/0?sentinel_password=x", "unix:///x", "rediss://[::1]:1/2", "redis+sentinel:///?"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, url string) {
		got, err := Parse(credential.NewSecret(url))
		if err == nil && (got.Single == nil) == (got.Sentinel == nil) {
			t.Fatalf("%q: %+v", url, got)
		}
	})
}
