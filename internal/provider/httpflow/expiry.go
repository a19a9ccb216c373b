package httpflow

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	firstMoment = 1e9  // as seconds since 1970: 2001
	firstMillis = 1e11 // as milliseconds since 1970: 1973; as seconds the year 5138
	lastMoment  = 1e14 // as milliseconds since 1970: the year 5138
	day         = 24 * time.Hour
)

// parseExpiry reads an expiry that was told at now, and returns how long it is
// until then: at most [credential.MaxRefreshLifetime], and 0 for what cannot be
// read or is not in the future.
func parseExpiry(text string, unit Unit, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	number, isNumber := parseNumber(text)
	switch unit {
	case UnitSeconds:
		if !isNumber {
			return credential.ParseExpiresIn(text)
		}
		return scaled(number, time.Second)
	case UnitMillis:
		return scaled(number, time.Millisecond)
	case UnitUnix:
		return until(number, time.Second, now)
	case UnitUnixMillis:
		return until(number, time.Millisecond, now)
	case UnitRFC3339:
		at, _ := parseISO(text)
		return clip(at.Sub(now))
	case UnitHTTP:
		return clip(parseHTTPDate(text).Sub(now))
	case UnitAuto:
	}
	if isNumber {
		switch {
		case number < firstMoment:
			return scaled(number, time.Second)
		case number < firstMillis:
			return until(number, time.Second, now)
		default:
			return until(number, time.Millisecond, now)
		}
	}
	if d, ok := parseSpan(text); ok {
		return clip(d)
	}
	if at, ok := parseISO(text); ok {
		return clip(at.Sub(now))
	}
	return clip(parseHTTPDate(text).Sub(now))
}

// clip bounds a time from now.
func clip(d time.Duration) time.Duration {
	return min(max(d, 0), credential.MaxRefreshLifetime).Truncate(time.Millisecond)
}

// parseNumber reads a decimal number, also one with an exponent.
func parseNumber(text string) (float64, bool) {
	if text == "" || strings.Trim(text, "0123456789+-.eE") != "" {
		return 0, false // ParseFloat would also take "inf", hexadecimals and underscores
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil && math.IsInf(n, 0) {
		return n, true
	}
	return n, err == nil
}

// scaled is a number of units from now.
func scaled(number float64, unit time.Duration) time.Duration {
	if number >= float64(credential.MaxRefreshLifetime/unit) {
		return credential.MaxRefreshLifetime
	}
	return clip(time.Duration(max(number, 0) * float64(unit)))
}

// until is the time from now to a number of units after 1970.
func until(number float64, unit time.Duration, now time.Time) time.Duration {
	millis := number * float64(unit/time.Millisecond)
	if millis > lastMoment {
		return credential.MaxRefreshLifetime
	}
	return clip(time.UnixMilli(int64(max(millis, 0))).Sub(now))
}

// parseSpan reads a time with its unit, as Go writes it and also in days.
func parseSpan(text string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, isNumber := parseNumber(days)
		return scaled(n, day), isNumber
	}
	d, err := time.ParseDuration(text)
	return d, err == nil
}

// parseISO reads a moment as RFC 3339 writes it, and as it is often written
// instead: without a zone, which is UTC then, and with a space for the T.
func parseISO(text string) (time.Time, bool) {
	for _, layout := range []string{
		time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", time.DateTime, "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05 Z0700 MST",
	} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// parseHTTPDate reads a date in one of the three forms of RFC 9110 section
// 5.6.7, or with a numeric zone as in mail. What cannot be read is the zero time,
// which lies in the past.
func parseHTTPDate(text string) time.Time {
	for _, layout := range []string{http.TimeFormat, time.RFC850, time.ANSIC, time.RFC1123, time.RFC1123Z} {
		if at, err := time.Parse(layout, text); err == nil {
			return at
		}
	}
	return time.Time{}
}
