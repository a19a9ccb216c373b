package provider

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// RetryAfter reads the Retry-After field (RFC 9110 section 10.2.3) of a reply
// that came at now: seconds, or a date, which is compared with the reply's own
// Date so that the two clocks need not agree. It is never negative and at most
// [credential.MaxRetryAfter]; 0 if there is none that can be read.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	if strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds > int64(credential.MaxRetryAfter/time.Second) {
			return credential.MaxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), credential.MaxRetryAfter)
}
