package httpflow_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/httpflow"
)

// text is an answer of those bytes.
func text(parts ...string) func(net.Conn) {
	return func(c net.Conn) {
		for _, part := range parts {
			if _, err := io.WriteString(c, part); err != nil {
				return
			}
		}
	}
}

// withLength is a reply of 200 with a header more and a body.
func withLength(header, body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", header, len(body), body)
}

func packed(t *testing.T, body string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

// withoutEnd goes on writing until the client has gone, every now and then a
// piece.
func withoutEnd(start, piece string, every time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for next := start; ; next = piece {
			if _, err := io.WriteString(c, next); err != nil {
				return
			}
			<-tick.C
		}
	}
}

// Whatever a backend sends, the outcome has the class that fits, a refresh token
// that could be read is kept, and the request was made once.
func TestMisbehavingBackends(t *testing.T) {
	t.Parallel()
	const (
		whole = `{"token":"AT","data":{"refreshToken":"RT-new"},"expiresIn":3600}`
		ok    = "HTTP/1.1 200 OK\r\n"
		chunk = ok + "Transfer-Encoding: chunked\r\n\r\n200\r\n"
	)
	zipped := packed(t, whole)
	deep := `{"token":"AT","deep":` + strings.Repeat(`[{"a":`, 50_000) + `1` + strings.Repeat("}]", 50_000) + `,"data":{"refreshToken":"RT-new"}}`
	ambiguous, network, malformed := credential.ClassAmbiguous, credential.ReasonNetwork, credential.ReasonMalformedReply
	for name, row := range map[string]struct {
		answer  func(net.Conn)
		class   credential.Class
		refresh string // that is kept
		reason  credential.Reason
	}{
		"gzip":                           {text(withLength("Content-Encoding: gzip\r\n", zipped)), credential.ClassOK, "RT-new", ""},
		"gzip, not announced":            {text(withLength("", zipped)), credential.ClassOK, "RT-new", ""},
		"gzip, without its end":          {text(withLength("", zipped[:len(zipped)-8])), credential.ClassOK, "RT-new", ""},
		"gzip of nothing":                {text(withLength("", zipped[:10])), ambiguous, "", network},
		"a byte order mark":              {text(withLength("", "\xef\xbb\xbf"+whole)), credential.ClassOK, "RT-new", ""},
		"a guard in front":               {text(withLength("", ")]}',\n"+whole)), credential.ClassOK, "RT-new", ""},
		"deep":                           {text(withLength("", deep)), credential.ClassOK, "RT-new", ""},
		"no commas":                      {text(withLength("", strings.ReplaceAll(whole, ",", " "))), credential.ClassOK, "RT-new", ""},
		"chunks cut off":                 {text(chunk + whole), credential.ClassOK, "RT-new", ""},
		"cut off behind the token":       {text(chunk + whole[:50]), credential.ClassOK, "RT-new", ""},
		"cut off in the token":           {text(chunk + whole[:42]), ambiguous, "", network},
		"cut off in an escape":           {text(chunk + `{"token":"AT","data":{"refreshToken":"RT\"`), ambiguous, "", network},
		"cut off in a number":            {text(chunk + `{"token":12`), ambiguous, "", network},
		"a bad escape":                   {text(withLength("", `{"token":"AT","data":{"refreshToken":"RT\-new"}}`)), credential.ClassOK, "RT-new", ""},
		"a length too long":              {text(ok+"Content-Length: 4096\r\n\r\n", whole), credential.ClassOK, "RT-new", ""},
		"a length short of the token":    {text(ok+"Content-Length: 30\r\n\r\n", whole), ambiguous, "", malformed},
		"two lengths":                    {text(ok+"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", whole), ambiguous, "", network},
		"no length at all":               {text(ok+"\r\n", whole), credential.ClassOK, "RT-new", ""},
		"a flood of interim replies":     {text(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10_000), withLength("", whole)), ambiguous, "", network},
		"endless headers":                {withoutEnd(ok, "X-More: "+strings.Repeat("x", 8<<10)+"\r\n", time.Microsecond), ambiguous, "", network},
		"a body without end":             {withoutEnd(ok+"\r\n"+whole, strings.Repeat(" ", 64<<10), time.Microsecond), credential.ClassOK, "RT-new", ""},
		"a body without end or token":    {withoutEnd(ok+"\r\n{", strings.Repeat(`"x":1,`, 10<<10), time.Microsecond), ambiguous, "", malformed},
		"a page without end":             {withoutEnd(ok+"\r\n<html>", strings.Repeat(`<p>`, 10<<10), time.Microsecond), ambiguous, "", malformed},
		"a byte now and then, no token":  {withoutEnd(ok+"\r\n"+whole[:20], "x", 20*time.Millisecond), ambiguous, "", credential.ReasonTimeout},
		"nothing, and then nothing":      {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, ambiguous, "", credential.ReasonTimeout},
		"nothing":                        {func(net.Conn) {}, ambiguous, "", network},
		"another protocol":               {text("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"), ambiguous, "", malformed},
		"two of them":                    {text(withLength("", `{"token":"AT","data":{"refreshToken":"RT-new","refreshToken":"RT-new"}}`)), credential.ClassOK, "RT-new", ""},
		"the token is an object":         {text(withLength("", `{"token":"AT","data":{"refreshToken":{"x":1}}}`)), credential.ClassOK, "", ""},
		"the place is something else":    {text(withLength("", `{"token":"AT","data":"x"}`)), credential.ClassOK, "", ""},
		"something behind the last byte": {text(withLength("", whole), "HTTP/1.1 200 OK\r\n\r\n"), credential.ClassOK, "RT-new", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, requests := raw(t, row.answer)
			o := shop(at)
			o.Refresh.Response.RefreshToken = httpflow.Place{JSON: "data.refreshToken"}
			o.Timeout = time.Minute
			if row.reason == credential.ReasonTimeout { // it ends with it
				o.Timeout = 2 * time.Second
			}
			out, k := present(t, newProvider(t, o), credential.MethodRefresh)
			assert.Equal(t, row.class, out.Class, out.Detail)
			assert.Equal(t, row.reason, out.Reason, out.Detail)
			assert.Equal(t, row.refresh, out.Token.Refresh.Reveal())
			if len(k.found) > 0 {
				assert.Equal(t, []string{row.refresh}, k.refresh())
				assert.Equal(t, out.Token, k.found[0].Token)
			} else {
				assert.Empty(t, row.refresh)
			}
			assert.EqualValues(t, 1, requests.Load())
		})
	}
}

// A session's call whose reply is cut off worked, unless what was cut off may
// have said otherwise.
func TestCutOffSession(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		body     string
		failures []httpflow.Failure
		class    credential.Class
	}{
		"whatever":         {"some", nil, credential.ClassOK},
		"a page":           {"<html>", nil, credential.ClassAmbiguous},
		"a status is told": {"some", []httpflow.Failure{{StatusFrom: 204, StatusTo: 204}}, credential.ClassOK},
		"a text is told":   {"some", []httpflow.Failure{{BodyContains: "log in"}}, credential.ClassAmbiguous},
		"a text that came": {"please log in", []httpflow.Failure{{BodyContains: "log in"}}, credential.ClassPermanent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, requests := raw(t, text("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"+row.body))
			o := airline(at)
			o.Failures = row.failures
			out, _ := present(t, newProvider(t, o), credential.MethodExtend)
			assert.Equal(t, row.class, out.Class, out.Detail)
			assert.Contains(t, out.Detail, "cut off: ")
			assert.EqualValues(t, 1, requests.Load())
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := newServer(t, status(200).ServeHTTP)
	s.Close()
	p := newProvider(t, airline(s.URL))
	out, k := present(t, p, credential.MethodLogin)
	assert.Equal(t, credential.ClassNotSent, out.Class)
	assert.Equal(t, credential.MethodLogin, out.Method)
	assert.Empty(t, k.found)
	require.Error(t, p.Revoke(t.Context(), credential.Token{Access: credential.NewSecret("AT")}))
	p.Close()
	out, _ = present(t, p, credential.MethodLogin)
	assert.Equal(t, credential.ClassNotSent, out.Class)
}
