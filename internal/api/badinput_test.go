package api_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBadIDs(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for name, row := range map[string]struct {
		path   string
		status int
		code   string
	}{
		"NUL":                 {"a%00b", 422, "invalid"},
		"overlong UTF-8":      {"a%c0%af", 422, "invalid"},
		"not UTF-8":           {"%ff", 422, "invalid"},
		"CR LF":               {"a%0d%0aX:1", 422, "invalid"},
		"hash tag":            {"a%7Bb%7D", 422, "invalid"},
		"bare hash tag":       {"{a}", 422, "invalid"},
		"dot dot, escaped":    {"%2e%2e", 422, "invalid"},
		"dot dot":             {"../keys", 400, "bad_request"},
		"dot":                 {"./acct-1", 400, "bad_request"},
		"slash, escaped":      {"a%2Fb", 422, "invalid"},
		"climbing, escaped":   {"..%2f..%2fkeys", 422, "invalid"},
		"empty part":          {"/acct-1", 400, "bad_request"},
		"star":                {"*", 422, "invalid"},
		"space":               {"a%20b", 422, "invalid"},
		"first byte":          {"-a", 422, "invalid"},
		"129 bytes":           {strings.Repeat("a", 129), 422, "invalid"},
		"20 kB":               {strings.Repeat("a", 20_000), 422, "invalid"},
		"refreshd's own":      {"client:acme", 422, "invalid"},
		"refreshd's own, bad": {"client:", 422, "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, call := range []struct{ method, suffix, body string }{
				{"GET", "", ""},
				{"PUT", "", login},
				{"DELETE", "", ""},
				{"GET", "/token", ""},
				{"POST", "/refresh", ""},
				{"POST", "/logout", ""},
				{"POST", "/touch", ""},
				{"PUT", "/presence", `{"presence":"active"}`},
				{"POST", "/pause", ""},
				{"POST", "/resume", ""},
				{"GET", "/user-data", ""},
			} {
				got := b.call(t, call.method, "/v1/credentials/"+row.path+call.suffix, call.body)
				require.Equal(t, row.status, got.status, got.body)
				assert.Equal(t, row.code, got.problem(t).Code)
				assert.Less(t, len(got.body), 700, "it tells what was sent")
			}
			assert.Empty(t, b.engine.calls())
		})
	}
}

func TestBadBodies(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	token := func(field string) string { return `{"provider":"acme","token":{"access_token":"a",` + field + `}}` }
	for name, row := range map[string]struct {
		body     string
		status   int
		location string
	}{
		"empty":                  {" ", 400, "body"},
		"not JSON":               {`{"provider":`, 400, "body"},
		"two values":             {`{} {}`, 400, "body"},
		"a trailing comma":       {`{"provider":"acme",}`, 400, "body"},
		"a byte order mark":      {"\ufeff{}", 400, "body"},
		"UTF-16":                 {"\xff\xfe{\x00}\x00", 400, "body"},
		"overlong UTF-8":         {"{\"provider\":\"\xc0\xaf\"}", 400, "body"},
		"a NUL":                  {"{\"provider\":\"a\x00\"}", 400, "body"},
		"an escaped NUL":         {`{"provider":"a\u0000"}`, 422, "body.provider"},
		"half a surrogate":       {`{"provider":"a\ud800"}`, 422, "body.provider"},
		"a list":                 {`[]`, 422, "body"},
		"a text":                 {`"x"`, 422, "body"},
		"null":                   {`null`, 422, "body"},
		"deep":                   {strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), 422, "body"},
		"deeper":                 {strings.Repeat(`{"a":`, 10_001) + "1" + strings.Repeat("}", 10_001), 400, "body"},
		"deep in a free field":   {`{"user_data":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + `}`, 422, "body.user_data"},
		"twice":                  {`{"provider":"acme","provider":"b"}`, 422, "body.provider"},
		"twice in a free field":  {`{"user_data":{"a":1,"a":2}}`, 422, "body.user_data"},
		"a label twice":          {`{"provider":"acme","labels":{"a":"1","a":"2"}}`, 422, "body.labels"},
		"an unknown field":       {`{"provider":"acme","tokens":{}}`, 422, "body"},
		"another case":           {`{"Provider":"acme"}`, 422, "body"},
		"unknown in the token":   {token(`"expires":1`), 422, "body.token"},
		"no provider":            {`{"token":{"access_token":"a"}}`, 422, "body"},
		"provider null":          {`{"provider":null,"token":{"access_token":"a"}}`, 422, "body.provider"},
		"provider empty":         {`{"provider":"","token":{"access_token":"a"}}`, 422, "body.provider"},
		"provider a number":      {`{"provider":7,"token":{"access_token":"a"}}`, 422, "body.provider"},
		"provider long":          {`{"provider":"` + strings.Repeat("p", 129) + `","token":{"access_token":"a"}}`, 422, "body.provider"},
		"provider with CR LF":    {`{"provider":"a\r\nb","token":{"access_token":"a"}}`, 422, "body.provider"},
		"subject with a break":   {`{"provider":"acme","subject":"a\nb","token":{"access_token":"a"}}`, 422, "body.subject"},
		"no token":               {`{"provider":"acme"}`, 422, "body.token"},
		"neither token":          {`{"provider":"acme","token":{"token_type":"Bearer"}}`, 422, "body.token"},
		"access token empty":     {`{"provider":"acme","token":{"access_token":""}}`, 422, "body.token"},
		"access token a list":    {`{"provider":"acme","token":{"access_token":["a"]}}`, 422, "body.token.access_token"},
		"access token CR LF":     {`{"provider":"acme","token":{"access_token":"a\r\nX-Evil: 1"}}`, 422, "body.token.access_token"},
		"refresh token umlaut":   {token(`"refresh_token":"ä"`), 422, "body.token.refresh_token"},
		"refresh token too long": {token(`"refresh_token":"` + strings.Repeat("r", 65_537) + `"`), 422, "body.token.refresh_token"},
		"negative life":          {token(`"expires_in":-1`), 422, "body.token.expires_in"},
		"no life":                {token(`"expires_in":0`), 422, "body.token.expires_in"},
		"half a second":          {token(`"expires_in":0.5`), 422, "body.token.expires_in"},
		"1e400":                  {token(`"expires_in":1e400`), 422, "body.token.expires_in"},
		"1e18":                   {token(`"expires_in":1000000000000000000`), 422, "body.token.expires_in"},
		"more than 64 bits":      {token(`"expires_in":99999999999999999999999`), 422, "body.token.expires_in"},
		"life as a text":         {token(`"expires_in":"3600"`), 422, "body.token.expires_in"},
		"expiry not a time":      {token(`"expires_at":"tomorrow"`), 422, "body.token.expires_at"},
		"expiry a number":        {token(`"expires_at":1800003600`), 422, "body.token.expires_at"},
		"expiry in 1969":         {token(`"expires_at":"1969-12-31T23:59:59Z"`), 422, "body.token.expires_at"},
		"expiry in ten years":    {token(`"expires_at":"2037-01-01T00:00:00Z"`), 422, "body.token.expires_at"},
		"expiry in year 9999":    {token(`"expires_at":"9999-12-31T23:59:59Z"`), 422, "body.token.expires_at"},
		"both expiries":          {token(`"expires_in":60,"expires_at":"2027-01-15T08:01:00Z"`), 422, "body.token.expires_at"},
		"1e400 in a free field":  {`{"provider":"acme","user_data":{"x":1e400}}`, 422, "body.user_data"},
		"33 labels":              {`{"provider":"acme","token":{"access_token":"a"},"labels":{` + manyLabels(33) + `}}`, 422, "body.labels"},
		"a label with =":         {`{"provider":"acme","token":{"access_token":"a"},"labels":{"a=b":"1"}}`, 422, "body.labels"},
		"a label with a break":   {`{"provider":"acme","token":{"access_token":"a"},"labels":{"a":"1\n2"}}`, 422, "body.labels.a"},
		"a long label":           {`{"provider":"acme","token":{"access_token":"a"},"labels":{"a":"` + strings.Repeat("v", 257) + `"}}`, 422, "body.labels.a"},
		"a label that is none":   {`{"provider":"acme","token":{"access_token":"a"},"labels":{"a":1}}`, 422, "body.labels"},
		"login a text":           {`{"provider":"acme","login":"canary"}`, 422, "body.login"},
		"login null":             {`{"provider":"acme","login":null}`, 422, "body.login"},
		"login a list":           {`{"provider":"acme","login":["canary"]}`, 422, "body.login"},
		"no password":            {`{"provider":"acme","login":{"username":"canary"}}`, 422, "body.login"},
		"no user name":           {`{"provider":"acme","login":{"password":"canary"}}`, 422, "body.login"},
		"password empty":         {`{"provider":"acme","login":{"username":"canary","password":""}}`, 422, "body.login.password"},
		"password a number":      {`{"provider":"acme","login":{"username":"canary","password":12345678}}`, 422, "body.login.password"},
		"password twice":         {`{"provider":"acme","login":{"username":"canary","password":"canary","password":"b"}}`, 422, "body.login.password"},
		"password with a NUL":    {`{"provider":"acme","login":{"username":"u","password":"canary\u0000"}}`, 422, "body.login.password"},
		"password too long":      {`{"provider":"acme","login":{"username":"u","password":"` + strings.Repeat("canary", 700) + `"}}`, 422, "body.login.password"},
		"user name too long":     {`{"provider":"acme","login":{"password":"u","username":"` + strings.Repeat("canary", 200) + `"}}`, 422, "body.login.username"},
		"user name with CR LF":   {`{"provider":"acme","login":{"username":"canary\r\nX: 1","password":"canary"}}`, 422, "body.login.username"},
		"unknown in the login":   {`{"provider":"acme","login":{"username":"canary","password":"canary","canary":"1"}}`, 422, "body.login"},
		"bad token and a login":  {`{"provider":"acme","token":{},"login":{"username":"canary","password":"canary"}}`, 422, "body.token"},
		"user data null":         {`{"provider":"acme","token":{"access_token":"a"},"user_data":null}`, 422, "body.user_data"},
		"user data too long":     {`{"provider":"acme","token":{"access_token":"a"},"user_data":"` + strings.Repeat("d", 65_536) + `"}`, 422, "body.user_data"},
		"user data alone":        {`{"provider":"acme","user_data":{"x":"canary"}}`, 422, "body.token"},
		"1e400 in user data":     {`{"provider":"acme","token":{"access_token":"a"},"user_data":[1e400]}`, 422, "body.user_data"},
		"negative refresh life":  {token(`"refresh_expires_in":-1`), 422, "body.token.refresh_expires_in"},
		"refresh life 1e18":      {token(`"refresh_expires_in":1000000000000000000`), 422, "body.token.refresh_expires_in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := row.body
			if body == " " {
				body = ""
			}
			got := b.call(t, http.MethodPut, "/v1/credentials/x", body)
			require.Equal(t, row.status, got.status, got.body)
			p := got.problem(t)
			require.NotEmpty(t, p.Errors, got.body)
			assert.Equal(t, row.location, p.Errors[0].Location, got.body)
			assert.NotEmpty(t, p.Errors[0].Message)
			assert.Less(t, len(got.body), 700, "it tells what was sent")
			assert.NotContains(t, got.body, "canary")
			assert.Empty(t, b.engine.calls())
		})
	}
}

func manyLabels(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"l%d":"v"`, i))
	}
	return strings.Join(list, ",")
}

func TestBadRefreshBodies(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for body, location := range map[string]string{
		`{"rejected_generation": -1}`:                        "body.rejected_generation",
		`{"rejected_generation": 1.5}`:                       "body.rejected_generation",
		`{"rejected_generation": "7"}`:                       "body.rejected_generation",
		`{"rejected_generation": 1e3}`:                       "body.rejected_generation",
		`{"rejected_generation": 18446744073709551616}`:      "body.rejected_generation",
		`{"rejected_generation": 1, "access_token": "x"}`:    "body",
		`{"rejected_generation": 1,"rejected_generation":2}`: "body.rejected_generation",
		`[1]`:                "body",
		`{"after": 10}`:      "body.after",
		`{"after": ""}`:      "body.after",
		`{"after": null}`:    "body.after",
		`{"after": "soon"}`:  "body.after",
		`{"after": "-1s"}`:   "body.after",
		`{"after": "1e400"}`: "body.after",
		`{"after": "367d"}`:  "body.after",
		`{"after": "9000h"}`: "body.after",
		`{"after": "10m", "at": "2027-01-15T08:10:00Z"}`: "body.at",
		`{"rejected_generation": 4, "after": "10m"}`:     "body.after",
		`{"rejected_generation": 4, "cancel": true}`:     "body.cancel",
		`{"cancel": "yes"}`:                              "body.cancel",
		`{"after": "10m", "cancel": true}`:               "body.cancel",
		`{"at": "tomorrow"}`:                             "body.at",
		`{"at": 1800000000}`:                             "body.at",
		`{"at": "2027-01-15T07:58:00Z"}`:                 "body.at",
		`{"at": "2029-01-15T08:00:00Z"}`:                 "body.at",
		`{"at": null}`:                                   "body.at",
	} {
		got := b.call(t, http.MethodPost, "/v1/credentials/acct-1/refresh", body)
		require.Equal(t, http.StatusUnprocessableEntity, got.status, body)
		assert.Equal(t, location, got.problem(t).Errors[0].Location, body)
		assert.Empty(t, b.engine.calls())
	}
	got := b.call(t, http.MethodPost, "/v1/credentials/acct-1/refresh", `{"after": "1y"}`).problem(t)
	assert.Contains(t, got.Errors[0].Message, `or a number of seconds as text, such as "600"`)
}

func TestBadTouches(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for name, row := range map[string]struct{ body, location string }{
		"none":             {`{"ids":[]}`, "body.ids"},
		"null":             {`{"ids":null}`, "body.ids"},
		"no list":          {`{"ids":"acct-1"}`, "body.ids"},
		"nothing":          {`{}`, "body"},
		"an ID twice":      {`{"ids":["a"],"ids":["b"]}`, "body.ids"},
		"a number":         {`{"ids":["a",1]}`, "body.ids[1]"},
		"null within":      {`{"ids":[null]}`, "body.ids[0]"},
		"a hash tag":       {`{"ids":["acct-1","{canary}"]}`, "body.ids[1]"},
		"empty":            {`{"ids":[""]}`, "body.ids[0]"},
		"NUL":              {`{"ids":["a\u0000"]}`, "body.ids[0]"},
		"refreshd's own":   {`{"ids":["client:acme"]}`, "body.ids[0]"},
		"too long":         {`{"ids":["` + strings.Repeat("a", 129) + `"]}`, "body.ids[0]"},
		"1001":             {`{"ids":["a"` + strings.Repeat(`,"a"`, 1000) + `]}`, "body.ids"},
		"an unknown field": {`{"ids":["a"],"id":"canary"}`, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := b.call(t, http.MethodPost, "/v1/touches", row.body)
			require.Equal(t, http.StatusUnprocessableEntity, got.status, got.body)
			assert.Equal(t, row.location, got.problem(t).Errors[0].Location)
			assert.NotContains(t, got.body, "canary")
			assert.Empty(t, b.engine.calls())
		})
	}
}

func TestBadPresences(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for body, location := range map[string]string{
		`{}`:                                   "body",
		`{"presence":""}`:                      "body.presence",
		`{"presence":"Active"}`:                "body.presence",
		`{"presence":"away"}`:                  "body.presence",
		`{"presence":["active"]}`:              "body.presence",
		`{"presence":null}`:                    "body.presence",
		`{"presence":"active","for":"10m"}`:    "body",
		`{"presence":"active","presence":"x"}`: "body.presence",
		`"active"`:                             "body",
	} {
		got := b.call(t, http.MethodPut, "/v1/credentials/acct-1/presence", body)
		require.Equal(t, http.StatusUnprocessableEntity, got.status, body)
		assert.Equal(t, location, got.problem(t).Errors[0].Location, body)
		assert.Empty(t, b.engine.calls())
	}
}

func TestBadQueries(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for path, location := range map[string]string{
		"/v1/credentials?limit=0":                          "query.limit",
		"/v1/credentials?limit=1001":                       "query.limit",
		"/v1/credentials?limit=-1":                         "query.limit",
		"/v1/credentials?limit=ten":                        "query.limit",
		"/v1/credentials?limit=1&limit=2":                  "query.limit",
		"/v1/credentials?state=well":                       "query.state",
		"/v1/credentials?state=deleted":                    "query.state",
		"/v1/credentials?label=team":                       "query.label",
		"/v1/credentials?label=%3Dblue":                    "query.label",
		"/v1/credentials?label=a%3D1&label=a%3D2":          "query.label",
		"/v1/credentials?prefix=a%00":                      "query.prefix",
		"/v1/credentials?prefix=a%0d%0ab":                  "query.prefix",
		"/v1/credentials?prefix=%7Ba%7D":                   "query.prefix",
		"/v1/credentials?prefix=..":                        "query.prefix",
		"/v1/credentials?provider=%ff":                     "query.provider",
		"/v1/credentials?cursor=%c0%af":                    "query.cursor",
		"/v1/credentials?secret-in-a-name=1":               "query",
		"/v1/credentials?%00=1":                            "query",
		"/v1/credentials?limit=%zz":                        "",
		"/v1/credentials?limit=1;prefix=a":                 "",
		"/v1/credentials/acct-1?x=1":                       "query",
		"/v1/credentials/acct-1/token?min_tll=60s":         "query",
		"/v1/credentials/acct-1/token?min_ttl=1&min_ttl=2": "query.min_ttl",
		"/v1/events?cursor=a%00":                           "query.cursor",
		"/v1/events?cursor=nonsense":                       "query.cursor",
		"/v1/events?type=credential.refreshd":              "query.type",
		"/v1/events?wait=61s":                              "query.wait",
		"/v1/events?wait=-1s":                              "query.wait",
		"/v1/events?label=x":                               "query.label",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			got := b.call(t, http.MethodGet, path, "", "Accept", "application/json")
			p := got.problem(t)
			if location == "" {
				assert.Equal(t, http.StatusBadRequest, got.status)
				return
			}
			require.Equal(t, http.StatusUnprocessableEntity, got.status, got.body)
			assert.Equal(t, location, p.Errors[0].Location)
			assert.NotContains(t, got.body, "secret-in-a-name")
			assert.Empty(t, b.engine.calls())
		})
	}
	t.Run("33 labels", func(t *testing.T) {
		t.Parallel()
		got := b.call(t, http.MethodGet, "/v1/credentials?"+strings.Repeat("label=a%3D1&", 33), "")
		assert.Equal(t, http.StatusUnprocessableEntity, got.status)
	})
	t.Run("revoke", func(t *testing.T) {
		t.Parallel()
		got := b.call(t, http.MethodDelete, "/v1/credentials/acct-1?revoke=perhaps", "")
		assert.Equal(t, http.StatusUnprocessableEntity, got.status)
		assert.Empty(t, b.engine.calls())
	})
}

func TestBodyLimits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, row := range []struct {
		method, path string
		limit        int
	}{
		{"PUT", "/v1/credentials/x", 1 << 20},
		{"POST", "/v1/credentials/acct-1/refresh", 64 << 10},
		{"POST", "/v1/keys", 64 << 10},
	} {
		body := `{"` + strings.Repeat("a", row.limit)
		got := b.call(t, row.method, row.path, body)
		assert.Equal(t, http.StatusRequestEntityTooLarge, got.status, row.path)
		assert.Equal(t, "too_large", got.problem(t).Code)

		// The same without telling its length.
		r, err := http.NewRequestWithContext(t.Context(), row.method, b.server.URL+row.path, io.MultiReader(strings.NewReader(body)))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+b.admin)
		res, err := b.server.Client().Do(r)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		assert.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode, row.path)
	}
	// A body of just the limit is looked at.
	got := b.call(t, http.MethodPost, "/v1/keys", `{"`+strings.Repeat("a", 64<<10-2))
	assert.Equal(t, http.StatusBadRequest, got.status)
	assert.Empty(t, b.engine.calls())
}

func TestMediaTypes(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for kind, ok := range map[string]bool{
		"":                                    true,
		"application/json":                    true,
		"application/json; charset=utf-8":     true,
		"Application/JSON; charset=\"UTF-8\"": true,
		"application/json; charset=latin1":    false,
		"application/x-www-form-urlencoded":   false,
		"text/plain":                          false,
		"application/merge-patch+json":        false,
		"application/json; charset":           false,
		"json":                                false,
		";":                                   false,
	} {
		got := b.call(t, http.MethodPut, "/v1/credentials/x", login, "Content-Type", kind)
		if !ok {
			assert.Equal(t, "media_type", got.problem(t).Code, kind)
			assert.Equal(t, 415, got.status, kind)
			continue
		}
		assert.Less(t, got.status, 300, "%s: %s", kind, got.body)
	}
}

// TestCompressedBodies: what is compressed is not even read.
func TestCompressedBodies(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	_, err := w.Write(bytes.Repeat([]byte("{"), 2<<20))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	b := setup(t)
	for _, encoding := range []string{"gzip", "deflate", "br", "gzip, gzip", "GZIP"} {
		got := b.call(t, http.MethodPut, "/v1/credentials/x", bomb.String(), "Content-Encoding", encoding)
		assert.Equal(t, http.StatusUnsupportedMediaType, got.status, encoding)
		assert.Equal(t, "identity", got.header.Get("Accept-Encoding"))
	}
	assert.Less(t, b.call(t, http.MethodPut, "/v1/credentials/x", login, "Content-Encoding", "identity").status, 300)
}

// raw sends bytes as they are and returns the statuses of all answers, until
// the connection ends.
func raw(t *testing.T, b *bundle, text string) []int {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, text)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite()) //nolint:errcheck,forcetypeassert // tcp was dialled
	var statuses []int
	in := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		statuses = append(statuses, res.StatusCode)
	}
}

// TestSmuggling: whatever the two lengths of one message say, what follows it
// is never taken for a second request.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	b := setup(t)
	auth := "Host: x\r\nAuthorization: Bearer " + b.admin + "\r\n"
	hidden := "DELETE /v1/credentials/acct-1 HTTP/1.1\r\n" + auth + "\r\n"
	for name, text := range map[string]string{
		"both lengths": "POST /v1/credentials/acct-1/refresh HTTP/1.1\r\n" + auth +
			fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", len(hidden)+5) + hidden,
		"both lengths, the other way": "POST /v1/credentials/acct-1/refresh HTTP/1.1\r\n" + auth +
			"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + hidden,
		"two Content-Lengths":       "POST /v1/credentials/acct-1/refresh HTTP/1.1\r\n" + auth + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}" + hidden,
		"a negative Content-Length": "POST /v1/credentials/acct-1/refresh HTTP/1.1\r\n" + auth + "Content-Length: -2\r\n\r\n{}" + hidden,
		"another coding":            "POST /v1/credentials/acct-1/refresh HTTP/1.1\r\n" + auth + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + hidden,
		"two codings":               "POST /v1/credentials/acct-1/refresh HTTP/1.1\r\n" + auth + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden,
		"a space before the colon":  "POST /v1/credentials/acct-1/refresh HTTP/1.1\r\n" + auth + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			statuses := raw(t, b, text)
			assert.Len(t, statuses, 1)
			for _, call := range b.engine.calls() {
				assert.NotContains(t, call, "delete")
			}
		})
	}
}

func TestRawRequests(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, row := range map[string]struct {
		text   string
		status int
	}{
		"a bearer of 1 MB":      {"GET /v1/credentials HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + strings.Repeat("a", 1<<20) + "\r\n\r\n", 431},
		"a target of 1 MB":      {"GET /v1/credentials/" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431},
		"a NUL in a header":     {"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400},
		"no host":               {"GET /healthz HTTP/1.1\r\n\r\n", 400},
		"a star":                {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		"CONNECT":               {"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", 400},
		"another host's target": {"GET http://example.com/healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		"no HTTP":               {"hello\r\n\r\n", 400},
		"dots":                  {"GET /v1/../healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, []int{row.status}, raw(t, b, row.text))
		})
	}
}

func TestRoutesThatAreNone(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for _, path := range []string{"/", "/v1", "/v2/credentials", "/docs", "/openapi.yaml", "/schemas/Record", "/v1/credentials/", "/v1/credentials/a/b", "/monitoring/"} {
		got := b.call(t, http.MethodGet, path, "")
		require.Equal(t, http.StatusNotFound, got.status, path)
		assert.Equal(t, "no_such_route", got.problem(t).Code)
	}
	got := b.call(t, http.MethodPatch, "/v1/credentials/acct-1", "")
	require.Equal(t, http.StatusMethodNotAllowed, got.status)
	assert.Equal(t, "DELETE, GET, PUT", got.header.Get("Allow"))
	assert.Equal(t, "bad_method", got.problem(t).Code)
	assert.Equal(t, "GET", b.call(t, http.MethodPost, "/v1/events", "").header.Get("Allow"))
	assert.Equal(t, http.StatusOK, b.call(t, http.MethodHead, "/v1/credentials/acct-1", "").status)
}
