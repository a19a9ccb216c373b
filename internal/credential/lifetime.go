package credential

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseExpiresIn reads the value of expires_in as providers really send it:
// 3600, "3600", "3600s", 3.6e3. RFC 6749 section 5.1 asks for a number of
// seconds. What cannot be read, is not positive or is no number at all counts
// as not told: 0. What is absurdly long is cut to [MaxLifetime].
func ParseExpiresIn(raw string) time.Duration {
	text := strings.TrimSuffix(strings.TrimSpace(strings.Trim(raw, `"`)), "s")
	if strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune("0123456789+-.eE", r) }) {
		return 0 // ParseFloat would also take "inf", hexadecimals and underscores
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if (err != nil && !errors.Is(err, strconv.ErrRange)) || math.IsNaN(seconds) || seconds <= 0 {
		return 0
	}
	if seconds >= MaxLifetime.Seconds() {
		return MaxLifetime
	}
	return time.Duration(seconds * float64(time.Second)).Truncate(time.Millisecond)
}

// JWTExpiry returns the exp claim (RFC 7519 section 4.1.4) of an access token
// that is a JWT, 0 if it is none or has none. The signature is not checked:
// the token came from its issuer, and the worst that a wrong claim can do is
// to move our own refresh.
func JWTExpiry(access Secret) Millis {
	var seconds float64
	if json.Unmarshal(expClaim(access), &seconds) != nil || seconds <= 0 || seconds > 1e11 {
		return 0
	}
	return Millis(seconds * 1000)
}

// OddJWTExpiry reports whether an access token is a JWT whose exp claim is there,
// and is no moment after now that [JWTExpiry] can read: a span, perhaps.
func OddJWTExpiry(access Secret, now Millis) bool {
	return expClaim(access) != nil && JWTExpiry(access) <= now
}

// expClaim returns the exp claim as it is written, nil if there is none.
func expClaim(access Secret) json.RawMessage {
	_, rest, ok := strings.Cut(access.Reveal(), ".")
	if !ok {
		return nil
	}
	payload, _, ok := strings.Cut(rest, ".")
	if !ok {
		return nil
	}
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil {
		return nil
	}
	var claims struct {
		Exp json.RawMessage `json:"exp"`
	}
	if json.Unmarshal(data, &claims) != nil {
		return nil
	}
	return claims.Exp
}
