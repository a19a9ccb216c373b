package httpflow

import (
	"cmp"
	"iter"
	"net/http"
	"net/url"
	"slices"
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

// setCookie is a cookie with what tells it from others of its name (RFC 6265
// section 5.3).
type setCookie struct {
	cookie

	domain, path string
	here         bool // the request is on its path
}

// cookie returns what the reply does to the cookie of that name. One that lives
// counts before one that is deleted, then one whose path the request is on, then
// the last. Domain and flags do not matter: it goes where the settings send it.
func (r *reply) cookie(name string) (setCookie, bool) {
	var best setCookie
	found := false
	for _, c := range r.cookies(name) {
		if !found || c.rank() >= best.rank() {
			best, found = c, true
		}
	}
	return best, found
}

// rank is the higher, the more a cookie counts beside others of its name.
func (c *setCookie) rank() int {
	switch {
	case c.deleted:
		return 0
	case !c.here:
		return 1
	}
	return 2
}

// deletes reports whether the reply deletes the cookie of that name and sets no
// other that takes its place. Alone, a deletion counts whatever its path and domain
// are, for a backend behind a proxy names those of the proxy. used tells that the
// cookie is the session's that the call uses: if it is deleted where the request
// is, one that is set elsewhere is another, such as a guest's. One that is issued
// may be set for where it will be used alone, and an older one deleted here.
func (r *reply) deletes(name string, used bool) bool {
	c, _ := r.cookie(name)
	return c.deleted || used && !c.here && slices.ContainsFunc(r.cookies(name), func(other setCookie) bool { return other.deleted && other.here })
}

// cookies returns the cookies of that name as the Set-Cookie of the reply leave
// them, in their order. They are read as RFC 6265 section 5.2 says; one takes the
// place of another of its domain and path alone.
func (r *reply) cookies(name string) []setCookie {
	var all []setCookie
	for _, line := range r.header["Set-Cookie"] {
		pair, attributes, _ := strings.Cut(line, ";")
		key, text, ok := strings.Cut(pair, "=")
		text = strings.Trim(text, " \t")
		if !ok || strings.Trim(key, " \t") != name || !printable(text) {
			continue
		}
		c := setCookie{cookie: cookie{value: text}}
		c.life(attributes, r.now)
		if text == "" {
			c.cookie = cookie{deleted: true}
		}
		c.scope(attributes, r.at)
		all = slices.DeleteFunc(all, func(old setCookie) bool { return old.domain == c.domain && old.path == c.path })
		all = append(all, c)
	}
	return all
}

// scope reads the attributes that say where a cookie belongs, in the reply of a
// URL; of each the last counts.
func (c *setCookie) scope(attributes string, at *url.URL) {
	c.domain, c.path = at.Hostname(), defaultPath(at.Path)
	for name, text := range eachAttribute(attributes) {
		switch {
		case name == "domain" && text != "":
			c.domain = strings.TrimPrefix(text, ".")
		case name == "path" && strings.HasPrefix(text, "/"):
			c.path = text
		case name == "path":
			c.path = defaultPath(at.Path)
		}
	}
	c.domain = strings.ToLower(c.domain)
	c.here = onPath(at.Path, c.path)
}

// defaultPath is that of a cookie that names none (RFC 6265 section 5.1.4).
func defaultPath(at string) string {
	if end := strings.LastIndexByte(at, '/'); end > 0 {
		return at[:end]
	}
	return "/"
}

// onPath reports whether a request's path is on a cookie's (RFC 6265 section
// 5.1.4).
func onPath(at, path string) bool {
	rest, ok := strings.CutPrefix(cmp.Or(at, "/"), path)
	return ok && (rest == "" || strings.HasSuffix(path, "/") || rest[0] == '/')
}

// eachAttribute walks the attributes of a cookie, their names in small letters.
func eachAttribute(attributes string) iter.Seq2[string, string] {
	return func(yield func(name, text string) bool) {
		for text := range strings.SplitSeq(attributes, ";") {
			name, text, _ := strings.Cut(text, "=")
			if !yield(strings.ToLower(strings.Trim(name, " \t")), strings.Trim(text, " \t")) {
				return
			}
		}
	}
}

// life reads the attributes that say how long a cookie lives. Max-Age wins over
// Expires (RFC 6265 section 5.3), and of each the last.
func (c *cookie) life(attributes string, now time.Time) {
	var age, until *time.Duration
	for name, text := range eachAttribute(attributes) {
		switch name {
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
