package credential_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestParseExpiresIn(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]time.Duration{
		"3600": time.Hour, `"3600"`: time.Hour, "3600s": time.Hour, `"3600s"`: time.Hour, "3.6e3": time.Hour, " 3600 ": time.Hour,
		"3600.0": time.Hour, "1": time.Second, "0.5": 500 * time.Millisecond, "0.0015": time.Millisecond,
		"31622400": credential.MaxLifetime, "31622401": credential.MaxLifetime, "31622399": credential.MaxLifetime - time.Second,
		"1e18": credential.MaxLifetime, "1e400": credential.MaxLifetime, "9223372036854775808": credential.MaxLifetime,
		// not told
		"": 0, "0": 0, "-1": 0, "-1e400": 0, "0.0001": 0, "NaN": 0, "nan": 0, "inf": 0, "0x10": 0, "1_000": 0, "3600ss": 0, "null": 0, "true": 0, "{}": 0, `{"a":1}`: 0, "[3600]": 0,
		"3600 s x": 0, "1h": 0, "soon": 0, "s": 0, `"`: 0, "\uff13": 0,
	} {
		assert.Equal(t, want, credential.ParseExpiresIn(raw), raw)
	}
}

func FuzzParseExpiresIn(f *testing.F) {
	for _, seed := range []string{"3600", `"3600s"`, "-1", "1e400", "inf", "nan", "0x1p9", "{}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got := credential.ParseExpiresIn(raw)
		if got < 0 || got > credential.MaxLifetime || got%time.Millisecond != 0 {
			t.Fatalf("ParseExpiresIn(%q) = %s", raw, got)
		}
	})
}

// jwt makes an unsigned token with that payload.
func jwt(payload string) credential.Secret {
	part := base64.RawURLEncoding.EncodeToString
	return credential.NewSecret(part([]byte(`{"alg":"none"}`)) + "." + part([]byte(payload)) + ".c2ln")
}

func TestJWTExpiry(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]credential.Millis{
		`{"exp":1800003600}`: 1_800_003_600_000, `{"exp":1.8e9}`: 1_800_000_000_000, `{"exp":1800000000.25}`: 1_800_000_000_250,
		`{"sub":"u","exp":1,"iat":0}`: 1000, `{"exp":32503680000}`: 32_503_680_000_000,
		`{}`: 0, `{"exp":0}`: 0, `{"exp":-5}`: 0, `{"exp":"1800003600"}`: 0, `{"exp":null}`: 0, `{"exp":1e18}`: 0, `{"exp":1e400}`: 0,
		`{"exp":{}}`: 0, `[]`: 0, `"exp"`: 0, ``: 0, `{"exp":1`: 0, strings.Repeat(`{"a":`, 20_000): 0,
	} {
		assert.Equal(t, want, credential.JWTExpiry(jwt(payload)), payload[:min(len(payload), 60)])
	}
	padded := "a." + base64.URLEncoding.EncodeToString([]byte(`{"exp":1700000000}`)) + ".s"
	assert.Equal(t, credential.Millis(1_700_000_000_000), credential.JWTExpiry(credential.NewSecret(padded)))
	for _, opaque := range []string{"", "opaque", ".", "..", "a.b", "a.b.c", "a.!!!.c", "a." + strings.Repeat("A", 5) + ".c"} {
		assert.Zero(t, credential.JWTExpiry(credential.NewSecret(opaque)), opaque)
	}
}

func TestOddJWTExpiry(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]bool{
		`{"exp":"soon"}`: true, `{"exp":"1800003600"}`: true, `{"exp":0}`: true, `{"exp":-5}`: true, `{"exp":1e18}`: true, `{"exp":{}}`: true, `{"exp":null}`: true,
		`{"exp":3600}`: true, `{"exp":1800000000}`: true,
		`{"exp":1800003600}`: false, `{"sub":"u"}`: false, `[]`: false, ``: false,
	} {
		assert.Equal(t, want, credential.OddJWTExpiry(jwt(payload), 1_800_000_000_000), payload)
	}
	for _, opaque := range []string{"", "opaque", "a.b.c"} {
		assert.False(t, credential.OddJWTExpiry(credential.NewSecret(opaque), 0), opaque)
	}
}

func FuzzJWTExpiry(f *testing.F) {
	f.Add(jwt(`{"exp":1800003600}`).Reveal())
	f.Add("a.b.c")
	f.Add("..")
	f.Fuzz(func(t *testing.T, access string) {
		if got := credential.JWTExpiry(credential.NewSecret(access)); got < 0 || got > 1e14 {
			t.Fatalf("JWTExpiry(%q) = %d", access, got)
		}
	})
}

func TestLifetimeOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		told    time.Duration
		exp     credential.Millis
		assumed time.Duration
		want    time.Duration
	}{
		"told wins":                        {time.Minute, issued + hour, 2 * time.Hour, time.Minute},
		"told for ever":                    {10 * credential.MaxLifetime, 0, 0, credential.MaxLifetime},
		"told at the cap":                  {credential.MaxLifetime, 0, 0, credential.MaxLifetime},
		"the token's own":                  {0, issued + 5*minute, 2 * time.Hour, 5 * time.Minute},
		"told below zero":                  {-time.Second, issued + 5*minute, 0, 5 * time.Minute},
		"the token's own, one ms":          {0, issued + 1, 2 * time.Hour, time.Millisecond},
		"the token's own for ever":         {0, issued.Add(2 * credential.MaxLifetime), 0, credential.MaxLifetime},
		"the token's own in the year 3000": {0, 32_503_680_000_000, 0, credential.MaxLifetime},
		"the token's own is now":           {0, issued, 2 * time.Hour, 2 * time.Hour},
		"the token's own is past":          {0, issued - hour, 2 * time.Hour, 2 * time.Hour},
		"the provider's":                   {0, 0, 30 * 24 * time.Hour, 30 * 24 * time.Hour},
		"nothing":                          {0, 0, 0, credential.FallbackLifetime},
		"all below zero":                   {-1, -1, -1, credential.FallbackLifetime},
	} {
		p := credential.Policy{DefaultLifetime: c.assumed}
		assert.Equal(t, c.want, p.Lifetime(c.told, c.exp, issued), name)
	}
}
