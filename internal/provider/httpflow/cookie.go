package httpflow

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// cookie is what a reply does to a cookie.
type cookie struct {
	value   string
	deleted bool
	lasts   time.Duration // from the reply's time; 0 if it does not say
}

// findCookie returns what a reply that came at now does to the cookie of that
// name; the last Set-Cookie counts. It is read as RFC 6265 section 5.2 says. Its
// Domain, Path and flags do not matter: it goes where the settings send it.
func findCookie(header http.Header, name string, now time.Time) (cookie, bool) {
	var last cookie
	found := false
	for _, line := range header["Set-Cookie"] {
		pair, attributes, _ := strings.Cut(line, ";")
		key, text, ok := strings.Cut(pair, "=")
		text = strings.Trim(text, " \t")
		if !ok || strings.Trim(key, " \t") != name || !printable(text) {
			continue
		}
		last, found = cookie{value: text}, true
		last.life(attributes, now)
		if text == "" {
			last = cookie{deleted: true}
		}
	}
	return last, found
}

// life reads the attributes that say how long a cookie lives. Max-Age wins over
// Expires (RFC 6265 section 5.3), and of each the last.
func (c *cookie) life(attributes string, now time.Time) {
	var age, until *time.Duration
	for text := range strings.SplitSeq(attributes, ";") {
		name, text, _ := strings.Cut(text, "=")
		text = strings.Trim(text, " \t")
		switch strings.ToLower(strings.Trim(name, " \t")) {
		case "max-age":
			if d, ok := maxAge(text); ok {
				age = &d
			}
		case "expires":
			if at, ok := cookieDate(text); ok {
				until = new(at.Sub(now))
			}
		}
	}
	if age == nil {
		age = until
	}
	if age != nil {
		c.deleted = *age <= 0
		c.lasts = min(max(*age, 0), credential.MaxLifetime)
	}
}

// maxAge reads the Max-Age of RFC 6265 section 5.2.2.
func maxAge(text string) (time.Duration, bool) {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	switch {
	case digits != text:
		return 0, true
	case err != nil || seconds > int64(credential.MaxLifetime/time.Second):
		return credential.MaxLifetime, true
	}
	return time.Duration(seconds) * time.Second, true
}

// cookieDate reads the dates that servers write into Expires: those of HTTP, and
// the older one of Netscape with dashes. Others count as none.
func cookieDate(text string) (time.Time, bool) {
	if at, err := http.ParseTime(text); err == nil {
		return at, true
	}
	for _, layout := range []string{
		"Mon, 02-Jan-2006 15:04:05 MST", "Mon, 02-Jan-06 15:04:05 MST", "Monday, 02-Jan-2006 15:04:05 MST",
		time.RFC1123Z, "Mon, 2 Jan 2006 15:04:05 MST",
	} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// printable reports whether s has no control character.
func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}
