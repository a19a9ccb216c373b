package oauth2_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/oauth2"
	"github.com/refreshd/refreshd/internal/provider/providertest"
)

// Whatever a server sends, the outcome has the class that fits, a refresh token
// that could be read is kept, and the request was made once.
func TestMisbehavingServers(t *testing.T) {
	t.Parallel()
	const (
		whole = `{"access_token":"AT","token_type":"Bearer","refresh_token":"RT-new","expires_in":3600,"scope":"read"}`
		ok    = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
		pause = 20 * time.Millisecond
	)
	zipped := providertest.Gzip(t, whole)
	deep := `{"access_token":"AT","deep":` + strings.Repeat(`[{"a":`, 50_000) + `1` + strings.Repeat("}]", 50_000) + `,"refresh_token":"RT-new"}`
	utf16 := func(s string) string {
		out := []byte{0xff, 0xfe}
		for _, c := range []byte(s) {
			out = append(out, c, 0)
		}
		return string(out)
	}
	for name, row := range map[string]struct {
		answer  func(net.Conn)
		class   credential.Class
		refresh string // that is kept
		reason  credential.Reason
	}{
		"gzip":                            {providertest.Text(providertest.WithLength("Content-Encoding: gzip\r\n", zipped)), credential.ClassOK, "RT-new", ""},
		"gzip, not announced":             {providertest.Text(providertest.WithLength("", zipped)), credential.ClassOK, "RT-new", ""},
		"gzip, announced only":            {providertest.Text(providertest.WithLength("Content-Encoding: gzip\r\n", whole)), credential.ClassOK, "RT-new", ""},
		"gzip, without its end":           {providertest.Text(providertest.WithLength("Content-Encoding: gzip\r\n", zipped[:len(zipped)-8])), credential.ClassOK, "RT-new", ""},
		"gzip of nothing":                 {providertest.Text(providertest.WithLength("Content-Encoding: gzip\r\n", zipped[:10])), credential.ClassAmbiguous, "", credential.ReasonNetwork},
		"a byte order mark":               {providertest.Text(providertest.WithLength("", "\xef\xbb\xbf"+whole)), credential.ClassOK, "RT-new", ""},
		"UTF-16":                          {providertest.Text(providertest.WithLength("", utf16(whole))), credential.ClassAmbiguous, "", credential.ReasonMalformedReply},
		"form-encoded and called JSON":    {providertest.Text(providertest.WithLength("", "access_token=AT&refresh_token=RT-new&expires_in=60&scope=read")), credential.ClassOK, "RT-new", ""},
		"nested":                          {providertest.Text(providertest.WithLength("", `{"data":`+whole+`}`)), credential.ClassOK, "RT-new", ""},
		"nested deep":                     {providertest.Text(providertest.WithLength("", deep)), credential.ClassOK, "RT-new", ""},
		"the same refresh token again":    {providertest.Text(providertest.WithLength("", `{"access_token":"AT","refresh_token":"RT-old","scope":"read"}`)), credential.ClassOK, "RT-old", ""},
		"chunks cut off":                  {providertest.Text(ok + "Transfer-Encoding: chunked\r\n\r\n200\r\n" + whole), credential.ClassOK, "RT-new", ""},
		"chunks cut off before the token": {providertest.Text(ok + "Transfer-Encoding: chunked\r\n\r\n200\r\n" + whole[:50]), credential.ClassAmbiguous, "", credential.ReasonNetwork},
		"a chunk that is none":            {providertest.Text(ok + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x", len(whole)) + "\r\n" + whole + "XX\r\n"), credential.ClassOK, "RT-new", ""},
		"a chunk of no size":              {providertest.Text(ok + "Transfer-Encoding: chunked\r\n\r\n-1\r\n" + whole + "\r\n"), credential.ClassAmbiguous, "", credential.ReasonNetwork},
		"a length too long":               {providertest.Text(ok+"Content-Length: 4096\r\n\r\n", whole), credential.ClassOK, "RT-new", ""},
		"a length too short":              {providertest.Text(ok+"Content-Length: 90\r\n\r\n", whole), credential.ClassOK, "RT-new", ""},
		"a length short of the token":     {providertest.Text(ok+"Content-Length: 50\r\n\r\n", whole), credential.ClassAmbiguous, "", credential.ReasonMalformedReply},
		"a length below zero":             {providertest.Text(ok+"Content-Length: -5\r\n\r\n", whole), credential.ClassAmbiguous, "", credential.ReasonNetwork},
		"two lengths":                     {providertest.Text(ok+"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", whole), credential.ClassAmbiguous, "", credential.ReasonNetwork},
		"no length at all":                {providertest.Text(ok+"\r\n", whole), credential.ClassOK, "RT-new", ""},
		"a flood of interim replies":      {providertest.Text(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10_000), providertest.WithLength("", whole)), credential.ClassAmbiguous, "", credential.ReasonNetwork},
		"endless headers":                 {providertest.WithoutEnd(ok, "X-More: "+strings.Repeat("x", 8<<10)+"\r\n", time.Microsecond), credential.ClassAmbiguous, "", credential.ReasonNetwork},
		"a body without end":              {providertest.WithoutEnd(ok+"\r\n"+whole, strings.Repeat(" ", 64<<10), time.Microsecond), credential.ClassOK, "RT-new", ""},
		"a body without end or token":     {providertest.WithoutEnd(ok+"\r\n{", strings.Repeat(`"x":1,`, 10<<10), time.Microsecond), credential.ClassAmbiguous, "", credential.ReasonMalformedReply},
		"a byte now and then":             {providertest.WithoutEnd(ok+"\r\n"+whole[:len(whole)-1], " ", pause), credential.ClassOK, "RT-new", ""},
		"a byte now and then, no token":   {providertest.WithoutEnd(ok+"\r\n"+whole[:20], "x", pause), credential.ClassAmbiguous, "", credential.ReasonTimeout},
		"a header byte now and then":      {providertest.WithoutEnd(ok+"X: ", "x", pause), credential.ClassAmbiguous, "", credential.ReasonTimeout},
		"nothing, and then nothing":       {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, credential.ClassAmbiguous, "", credential.ReasonTimeout},
		"307 with a token":                {providertest.Text("HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 101\r\n\r\n" + whole), credential.ClassOperator, "RT-new", credential.ReasonClientMisconfigured},
		"308 with a token":                {providertest.Text("HTTP/1.1 308 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\n\r\n" + whole), credential.ClassOperator, "RT-new", credential.ReasonClientMisconfigured},
		"500 with a token":                {providertest.Text("HTTP/1.1 500 Oh\r\n\r\n" + whole), credential.ClassTransient, "RT-new", credential.ReasonUnavailable},
		"a status that is none":           {providertest.Text("HTTP/1.1 999 What\r\n\r\n" + whole), credential.ClassTransient, "RT-new", credential.ReasonUnavailable},
		"a status of two digits":          {providertest.Text("HTTP/1.1 20 What\r\n\r\n" + whole), credential.ClassAmbiguous, "", credential.ReasonNetwork},
		"HTTP/0.9":                        {providertest.Text(whole), credential.ClassAmbiguous, "", credential.ReasonNetwork},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewRaw(t, row.answer)
			timeout := time.Minute
			if row.reason == credential.ReasonTimeout || name == "a byte now and then" { // which end with it
				timeout = 2 * time.Second
			}
			out, k := exchange(t, newProvider(t, oauth2.Options{TokenURL: s.URL + "/token", Timeout: timeout}))
			assert.Equal(t, row.class, out.Class, out.Detail)
			assert.Equal(t, row.reason, out.Reason, out.Detail)
			assert.Equal(t, row.refresh, out.Token.Refresh.Reveal())
			var keeps string
			for _, found := range k.found {
				keeps += found.Token.Refresh.Reveal()
			}
			assert.Equal(t, row.refresh, keeps, "kept once, or there was nothing to keep")
			if row.class == credential.ClassOK {
				assert.Equal(t, "AT", out.Token.Access.Reveal())
			}
			for _, secret := range []string{"RT-new", "RT-old"} {
				assert.NotContains(t, out.Detail, secret)
			}
			assert.EqualValues(t, 1, s.Requests.Load())
		})
	}
}

// A scope that shrank is told, for the record and its event.
func TestScopeThatShrank(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, say(200, `{"access_token":"AT","refresh_token":"RT-new","scope":"read"}`))
	out := newProvider(t, oauth2.Options{TokenURL: s.URL}).Exchange(t.Context(), presenting(credential.NewSecret("RT-old"), new(kept).keep), "read write")
	assert.Equal(t, credential.ClassOK, out.Class)
	assert.Equal(t, "read", out.Token.Scope)
}

// What Retry-After asks for is bounded, in whatever form it comes.
func TestRetryAfterOnTheWire(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"30": 30 * time.Second, "-1": 0, "18000": 5 * time.Hour, "1000000000": 24 * time.Hour, "99999999999999999999999": 24 * time.Hour, "1e9": 0, "soon": 0, "": 0,
		"Tue, 01 Jan 2030 12:00:30 GMT": 30 * time.Second, "Mon, 01 Jan 2001 00:00:00 GMT": 0, "Tue, 01 Jan 2999 00:00:00 GMT": 24 * time.Hour,
	} {
		for status, class := range map[int]credential.Class{429: credential.ClassRateLimited, 503: credential.ClassTransient} {
			s := providertest.NewServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", "Tue, 01 Jan 2030 12:00:00 GMT")
				w.Header().Set("Retry-After", value)
				w.WriteHeader(status)
			})
			out, _ := exchange(t, newProvider(t, oauth2.Options{TokenURL: s.URL}))
			assert.Equal(t, class, out.Class, value)
			assert.Equal(t, want, out.RetryAfter, "%d %s", status, value)
		}
	}
}
