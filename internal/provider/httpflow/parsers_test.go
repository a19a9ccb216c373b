package httpflow

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/wire"
	"github.com/refreshd/refreshd/internal/reqtemplate"
)

// now is when the replies of these tests come: 2026-01-02T15:04:05Z.
func now() time.Time { return time.Unix(1767366245, 0) }

func TestParseExpiry(t *testing.T) {
	t.Parallel()
	const longest = credential.MaxRefreshLifetime
	for _, row := range []struct {
		text string
		unit Unit
		want time.Duration
	}{
		{"3600", UnitAuto, time.Hour},
		{" 3600.5 ", UnitAuto, time.Hour + 500*time.Millisecond},
		{"3.6e3", UnitAuto, time.Hour},
		{"0", UnitAuto, 0},
		{"-1", UnitAuto, 0},
		{"999999999", UnitAuto, longest},
		{"1767366305", UnitAuto, time.Minute},
		{"1767366305.25", UnitAuto, time.Minute + 250*time.Millisecond},
		{"1767366305000", UnitAuto, time.Minute},
		{"1000000000", UnitAuto, 0},
		{"1e18", UnitAuto, longest},
		{"1e400", UnitAuto, longest},
		{"-1e400", UnitAuto, 0},
		{"3600s", UnitAuto, time.Hour},
		{"1500ms", UnitAuto, 1500 * time.Millisecond},
		{"15m", UnitAuto, 15 * time.Minute},
		{"1h30m", UnitAuto, 90 * time.Minute},
		{"7d", UnitAuto, 7 * day},
		{"-7d", UnitAuto, 0},
		{"d", UnitAuto, 0},
		{"2026-01-02T15:05:05Z", UnitAuto, time.Minute},
		{"2026-01-02T15:05:05.123456789Z", UnitAuto, time.Minute + 123*time.Millisecond},
		{"2026-01-02T17:05:05+02:00", UnitAuto, time.Minute},
		{"2026-01-02T17:05:05+0200", UnitAuto, time.Minute},
		{"2026-01-02T15:05:05", UnitAuto, time.Minute},
		{"2026-01-02 15:05:05", UnitAuto, time.Minute},
		{"2026-01-02 15:05:05Z", UnitAuto, time.Minute},
		{"2026-01-02 15:05:05 +0000 UTC", UnitAuto, time.Minute},
		{"2001-01-02T15:05:05Z", UnitAuto, 0},
		{"9999-12-31T23:59:59Z", UnitAuto, longest},
		{"Fri, 02 Jan 2026 15:05:05 GMT", UnitAuto, time.Minute},
		{"Friday, 02-Jan-26 15:05:05 GMT", UnitAuto, time.Minute},
		{"Fri Jan  2 15:05:05 2026", UnitAuto, time.Minute},
		{"Fri, 02 Jan 2026 16:05:05 +0100", UnitAuto, time.Minute},
		{"", UnitAuto, 0},
		{"soon", UnitAuto, 0},
		{"0x10", UnitAuto, 0},
		{"inf", UnitAuto, 0},
		{"nan", UnitAuto, 0},
		{"1_000", UnitAuto, 0},
		{"٣٦٠٠", UnitAuto, 0},
		{"1767366305", UnitSeconds, longest},
		{"60", UnitSeconds, time.Minute},
		{"60s", UnitSeconds, time.Minute},
		{"soon", UnitSeconds, 0},
		{"60000", UnitMillis, time.Minute},
		{"-5", UnitMillis, 0},
		{"1e300", UnitMillis, longest},
		{"1767366305", UnitUnix, time.Minute},
		{"60", UnitUnix, 0},
		{"1e300", UnitUnix, longest},
		{"-1e300", UnitUnix, 0},
		{"1767366305000", UnitUnixMillis, time.Minute},
		{"1767366305", UnitUnixMillis, 0},
		{"2026-01-02T15:05:05Z", UnitRFC3339, time.Minute},
		{"60", UnitRFC3339, 0},
		{"Fri, 02 Jan 2026 15:05:05 GMT", UnitHTTP, time.Minute},
		{"2026-01-02T15:05:05Z", UnitHTTP, 0},
	} {
		assert.Equal(t, row.want, parseExpiry(row.text, row.unit, now()), "%q %q", row.text, row.unit)
	}
}

func FuzzExpiry(f *testing.F) {
	for _, text := range []string{"3600", "3.6e3", "1767366305000", "7d", "1h30m", "2026-01-02T15:05:05Z", "Fri, 02 Jan 2026 15:05:05 GMT", "1e400", "-1"} {
		for i := range Units() {
			f.Add(text, uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, text string, unit uint8) {
		u := Units()[int(unit)%len(Units())]
		d := parseExpiry(text, u, now())
		assert.False(t, d < 0 || d > credential.MaxRefreshLifetime, "%s", d)
		assert.Zero(t, d%time.Millisecond)
		// What is kept of it is read as the same again, rounding aside.
		assert.InDelta(t, min(d, credential.MaxLifetime), credential.ParseExpiresIn(seconds(d)), float64(time.Millisecond))
	})
}

func TestFindCookie(t *testing.T) {
	t.Parallel()
	year := 366 * day
	for _, row := range []struct {
		lines []string
		want  cookie
		found bool
	}{
		{nil, cookie{}, false},
		{[]string{"sid=x"}, cookie{value: "x"}, true},
		{[]string{" sid = x y ; Path=/; HttpOnly"}, cookie{value: "x y"}, true},
		{[]string{`sid="x"`}, cookie{value: `"x"`}, true},
		{[]string{"sid=a=b=c"}, cookie{value: "a=b=c"}, true},
		{[]string{"sid"}, cookie{}, false},
		{[]string{"SID=x"}, cookie{}, false},
		{[]string{"xsid=x", "sidx=y", "x=sid=z"}, cookie{}, false},
		{[]string{"sid=a\x01b"}, cookie{}, false},
		{[]string{"sid=x", "sid=y"}, cookie{value: "y"}, true},
		{[]string{"sid="}, cookie{deleted: true}, true},
		{[]string{"sid=x; max-age=60"}, cookie{value: "x", lasts: time.Minute}, true},
		{[]string{"sid=x; Max-Age=0"}, cookie{value: "x", deleted: true}, true},
		{[]string{"sid=x; Max-Age=-999999999999999999999"}, cookie{value: "x", deleted: true}, true},
		{[]string{"sid=x; Max-Age=999999999999999999999"}, cookie{value: "x", lasts: year}, true},
		{[]string{"sid=x; Max-Age=1h"}, cookie{value: "x"}, true},
		{[]string{"sid=x; Max-Age=+1"}, cookie{value: "x"}, true},
		{[]string{"sid=x; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}, cookie{value: "x", lasts: time.Minute}, true},
		{[]string{"sid=x; Max-Age=60; Max-Age=120"}, cookie{value: "x", lasts: 2 * time.Minute}, true},
		{[]string{"sid=x; Expires=Fri, 02 Jan 2026 15:05:05 GMT"}, cookie{value: "x", lasts: time.Minute}, true},
		{[]string{"sid=x; Expires=Fri, 02-Jan-2026 15:05:05 GMT"}, cookie{value: "x", lasts: time.Minute}, true},
		{[]string{"sid=x; Expires=Fri, 02-Jan-26 15:05:05 GMT"}, cookie{value: "x", lasts: time.Minute}, true},
		{[]string{"sid=x; Expires=Friday, 02-Jan-26 15:05:05 GMT"}, cookie{value: "x", lasts: time.Minute}, true},
		{[]string{"sid=x; Expires=Thu, 01-Jan-70 00:00:01 GMT"}, cookie{value: "x", deleted: true}, true},
		{[]string{"sid=x; Expires=0"}, cookie{value: "x"}, true},
		{[]string{"sid=x; Expires=Fri, 31 Dec 9999 23:59:59 GMT"}, cookie{value: "x", lasts: year}, true},
		{[]string{"sid=x; Max-Age=0", "sid=y"}, cookie{value: "y"}, true},
		{[]string{"sid=y", "sid=x; Max-Age=0"}, cookie{value: "x", deleted: true}, true},
		{[]string{"sid=y; Path=/", "sid=; Path=/old; Max-Age=0"}, cookie{value: "y"}, true},
		{[]string{"sid=y; Path=/old", "sid=; Path=/old; Max-Age=0"}, cookie{deleted: true}, true},
		{[]string{"sid=y; Path=/a; Path=/old", "sid=; Path=/old/; Path=/old"}, cookie{deleted: true}, true},
		{[]string{"sid=y", "sid=; Path=/account"}, cookie{deleted: true}, true},
		{[]string{"sid=y; Path=", "sid=; Path=account"}, cookie{deleted: true}, true},
		{[]string{"sid=y", "sid=; Path=/"}, cookie{value: "y"}, true},
		{[]string{"sid=y; Path=/", "sid=x; Domain=old.example; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}, cookie{value: "y"}, true},
		{[]string{"sid=y; Domain=.Air.example", "sid=; domain=AIR.example"}, cookie{deleted: true}, true},
		{[]string{"sid=y; Domain=", "sid=; Domain=air.example"}, cookie{deleted: true}, true},
		{[]string{"sid=x; Path=/a", "sid=y; Path=/b", "sid=z; Path=/a"}, cookie{value: "z"}, true},
		{[]string{"sid=x; Path=/a", "sid=y; Path=/b", "sid=; Path=/b"}, cookie{value: "x"}, true},
		{[]string{"sid=x; Path=/", "sid=y; Path=/account", "sid=z; Path=/public"}, cookie{value: "y"}, true},
		{[]string{"sid=x; Path=/a", "sid=y; Path=/b"}, cookie{value: "y"}, true},
		{[]string{"sid=x; Path=/public", "sid=; Path=/"}, cookie{value: "x"}, true},
		{[]string{"sid=; Path=/shop"}, cookie{deleted: true}, true},
	} {
		r := reply{at: &url.URL{Host: "air.example:8443", Path: "/account/me"}, header: http.Header{"Set-Cookie": row.lines}, now: now()}
		got, found := r.cookie("sid")
		assert.Equal(t, row.want, got.cookie, "%q", row.lines)
		assert.Equal(t, row.found, found, "%q", row.lines)
	}
}

// Where a session is used, its deletion there outdoes a cookie that is set
// elsewhere; where one is issued it does not.
func TestDeletedCookie(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		lines                  []string
		whereUsed, whereIssued bool
	}{
		{nil, false, false},
		{[]string{"sid=x"}, false, false},
		{[]string{"flash=; Max-Age=0"}, false, false},
		{[]string{"sid=; Max-Age=0"}, true, true},
		{[]string{"sid=; Path=/shop; Max-Age=0"}, true, true},
		{[]string{"sid=; Path=/; Max-Age=0", "sid=; Path=/shop; Max-Age=0"}, true, true},
		{[]string{"sid=x; Path=/shop", "sid=; Path=/shop; Max-Age=0"}, true, true},
		{[]string{"sid=guest; Path=/public", "sid=; Path=/; Max-Age=0"}, true, false},
		{[]string{"sid=; Path=/; Max-Age=0", "sid=guest; Path=/public"}, true, false},
		{[]string{"sid=guest; Path=/public", "sid=; Path=/; Max-Age=0", "sid=x; Path=/account"}, false, false},
		{[]string{"sid=x; Path=/account", "sid=guest; Path=/public", "sid=; Path=/; Max-Age=0"}, false, false},
		{[]string{"sid=x; Path=/", "sid=; Path=/old; Max-Age=0"}, false, false},
		{[]string{"sid=; Path=/old; Max-Age=0", "sid=x; Path=/"}, false, false},
		{[]string{"sid=x; Path=/shop", "sid=; Path=/old; Max-Age=0"}, false, false},
		{[]string{"sid=x; Path=/", "sid=; Domain=old.example; Path=/; Max-Age=0"}, false, false},
	} {
		r := reply{at: &url.URL{Host: "air.example:8443", Path: "/account/me"}, header: http.Header{"Set-Cookie": row.lines}, now: now()}
		assert.Equal(t, row.whereUsed, r.deletes("sid", true), "used: %q", row.lines)
		assert.Equal(t, row.whereIssued, r.deletes("sid", false), "issued: %q", row.lines)
	}
}

func FuzzCookie(f *testing.F) {
	for _, line := range []string{
		"sid=x", "sid=x; Path=/; Max-Age=60", "sid=; Expires=Thu, 01-Jan-1970 00:00:00 GMT", "sid", "=", ";;;", "sid=x;max-age==;expires", "sid=\xff",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r := reply{at: new(url.URL), header: http.Header{"Set-Cookie": {line}}, now: now()}
		c, found := r.cookie("sid")
		if !found {
			assert.Equal(t, setCookie{}, c)
			return
		}
		assert.NotContains(t, c.value, ";")
		assert.True(t, printable(c.value))
		assert.Contains(t, line, c.value)
		assert.False(t, c.lasts < 0 || c.lasts > credential.MaxLifetime)
		assert.False(t, c.deleted && c.lasts > 0)
		// net/http takes less, and what it takes it takes for the same, up to space
		// in front, which is none of the value's (RFC 6265 section 5.2).
		if std, err := http.ParseSetCookie(line); err == nil && std.Name == "sid" && !std.Quoted {
			assert.Equal(t, strings.Trim(std.Value, " \t"), c.value)
		}
	})
}

func TestCheckPath(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"@this", "a", "user.id", "errors.0.extensions.code", "errors.#.code", `errors.#(code=="A.b)").x`, `errors.#(a.b>1)#.c`,
		`\@odata\.context`, `a\.b`, "a*.b?", "a|b", "ключ", "a b", "x@y", "#",
	} {
		require.NoError(t, checkPath(path), "%q", path)
	}
	for path, want := range map[string]string{
		"@pretty":                "no path to a value",
		"a.@this":                "no path to a value",
		"a|@reverse":             "no path to a value",
		`{"a":b}`:                "no path to a value",
		"[a,b]":                  "no path to a value",
		"a.{b}":                  "no path to a value",
		`!"x"`:                   "no path to a value",
		"#(@this)":               "no path to a value",
		"..0.a":                  "is empty",
		".a":                     "is empty",
		"a..b":                   "is empty",
		"a.":                     "last part is empty",
		"":                       "last part is empty",
		`a\`:                     "backslash",
		"#(a":                    "within a query",
		`#(a=="b`:                "within a query",
		"a)":                     "has no (",
		"a\nb":                   "control",
		strings.Repeat("a", 257): "at most 256",
	} {
		require.ErrorContains(t, checkPath(path), want, "%q", path)
	}
}

// Whatever the body and wherever it was cut off: what is found is what is there.
func FuzzPlace(f *testing.F) {
	for _, body := range []string{
		`{"a":{"b":"x"}}`, `{"a":[{"b":1},{"b":"y"}]}`, `{"a":{"b":"x\"`, `{"a":{"b":12`, `)]}'{"a":{"b":null}}`, `[1,2`, `"text"`, "<html>", "\xff\xfe{", `{"a":{"b":"\u00"}}`,
	} {
		for _, path := range []string{"a.b", "a.#.b", "@this", `a.#(b==1).b`, "0", "*"} {
			f.Add(body, path, false)
			f.Add(body, path, true)
		}
	}
	f.Fuzz(func(t *testing.T, body, path string, cut bool) {
		if checkPath(path) != nil {
			return
		}
		in := &wire.Reply{Status: http.StatusOK, Header: http.Header{}, Body: []byte(body)}
		if cut {
			in.Cut = new(wire.Error)
		}
		r := read(in, new(url.URL), now())
		p := Place{JSON: path}
		v, found := r.json.find(path)
		text, _ := r.text(p)
		if !found {
			assert.Empty(t, text)
			return
		}
		if r.json.valid {
			assert.True(t, json.Valid([]byte(v.Raw)), "%q", v.Raw)
			if text != "" && v.Raw[0] == '"' {
				var want string
				require.NoError(t, json.Unmarshal([]byte(v.Raw), &want))
				if !strings.ContainsRune(want, '\ufffd') { // for what is no Unicode ours keeps the bytes
					assert.Equal(t, want, text)
				}
			}
			return
		}
		assert.Contains(t, body, v.Raw)
		if v.Raw[0] == '"' {
			assert.GreaterOrEqual(t, len(v.Raw), 2)
		}
		_, _ = r.userData(p)
		found = v.equals("x")
		assert.False(t, found && !strings.Contains(v.Raw, "x"))
	})
}

// Wherever a body is cut off, a place is found whole or not at all.
func TestPlaceOfCutBody(t *testing.T) {
	t.Parallel()
	const body = `{"user":{"id":12345,"name":"J\"ane"},"n":-1.5e10,"ok":true,"list":[1,{"t":"tok\\en"}],"token":"AT-1234567890"}`
	want := map[string]string{"user.id": "12345", "user.name": `J"ane`, "n": "-1.5e10", "list.1.t": `tok\en`, "token": "AT-1234567890"}
	for end := range len(body) + 1 {
		r := read(&wire.Reply{Status: http.StatusOK, Body: []byte(body[:end]), Cut: new(wire.Error)}, new(url.URL), now())
		for path, whole := range want {
			got, found := r.text(Place{JSON: path})
			if found {
				assert.Equal(t, whole, got, "%s of %s", path, body[:end])
			}
			assert.True(t, found || path != "token" || !strings.Contains(body[:end], `"AT-1234567890"`), "what is whole is found")
		}
		if data, _ := r.userData(Place{JSON: "user"}); data != nil {
			assert.JSONEq(t, `{"id":12345,"name":"J\"ane"}`, string(data))
		}
	}
}

// Whatever a value is, it stays where it is put.
func FuzzRender(f *testing.F) {
	for _, value := range []string{"jane", "a b&c=d", "a\r\nb: c", "../x", "..", "\x00", "\xff", `"`, "{{.password}}", "a;b", "ü", "%2e%2e", "\\..\\"} {
		f.Add(value)
	}
	built, err := build(Options{Name: "x", Login: &Call{
		Request: Request{
			URL: "https://shop.example/u/{{.username}}/s?a={{.username}}", Query: map[string]string{"q": "{{.username}}"},
			Headers: map[string]string{"X-U": "<{{.username}}>"}, JSON: map[string]any{"k": []any{"<{{.username}}>", "{{.password}}"}},
		},
		Response: Response{AccessToken: Place{JSON: "t"}},
	}})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, value string) {
		got, err := built.login.request.render(func(field reqtemplate.Field) string {
			if field == reqtemplate.Password {
				return "p"
			}
			return value
		})
		if err != nil {
			assert.NotContains(t, err.Error(), "CANARY"+value)
			return
		}
		assert.Equal(t, "shop.example", got.URL.Host)
		assert.Equal(t, "/u/"+value+"/s", got.URL.Path)
		assert.Equal(t, 4, strings.Count(got.URL.EscapedPath()+"/", "/"))
		query := got.URL.Query()
		assert.Len(t, query, 2)
		assert.Equal(t, value, query.Get("a"))
		assert.Equal(t, value, query.Get("q"))
		assert.Equal(t, "<"+value+">", got.Header.Get("X-U"))
		assert.True(t, printable(got.Header.Get("X-U")))
		var body struct {
			K []string `json:"k"`
		}
		require.NoError(t, json.Unmarshal([]byte(got.Body), &body))
		assert.Equal(t, []string{"<" + value + ">", "p"}, body.K)
	})
}

// Whatever an accepted URL is, no value changes where it leads.
func FuzzURL(f *testing.F) {
	for _, text := range []string{
		"https://shop.example", "https://shop.example/{{.username}}", "https://shop.example?a={{.username}}", "https://{{.username}}/",
		"https://shop.example\\@evil.example/{{.username}}", "https://shop.example:443{{.username}}", "https://a/{{.username}}/../b", "//x", "https:///x",
	} {
		f.Add(text, "../..//@evil.example:80?#\r\n")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		built, err := build(Options{Name: "x", Login: &Call{
			Request: Request{URL: text, Form: map[string]string{"p": "{{.password}}"}}, Response: Response{AccessToken: Place{JSON: "t"}},
		}})
		if err != nil {
			return
		}
		q := built.login.request
		plain, err := q.render(func(reqtemplate.Field) string { return "x" })
		require.NoError(t, err)
		got, err := q.render(func(reqtemplate.Field) string { return value })
		if err != nil {
			return
		}
		assert.Equal(t, plain.URL.Scheme, got.URL.Scheme)
		assert.Equal(t, plain.URL.Host, got.URL.Host)
		assert.NotEmpty(t, got.URL.Host)
		assert.Nil(t, got.URL.User)
		assert.Empty(t, got.URL.Fragment)
		assert.Equal(t, strings.Count(plain.URL.EscapedPath(), "/"), strings.Count(got.URL.EscapedPath(), "/"))
		assert.Len(t, got.URL.Query(), len(plain.URL.Query()))
	})
}
