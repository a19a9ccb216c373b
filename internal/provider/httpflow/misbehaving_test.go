package httpflow_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/httpflow"
	"github.com/refreshd/refreshd/internal/provider/providertest"
)

// Whatever a backend sends, the outcome has the class that fits, a refresh token
// that could be read is kept, and the request was made once.
func TestMisbehavingBackends(t *testing.T) {
	t.Parallel()
	const (
		whole = `{"token":"AT","data":{"refreshToken":"RT-new"},"expiresIn":3600}`
		ok    = "HTTP/1.1 200 OK\r\n"
		chunk = ok + "Transfer-Encoding: chunked\r\n\r\n200\r\n"
	)
	zipped := providertest.Gzip(t, whole)
	deep := `{"token":"AT","deep":` + strings.Repeat(`[{"a":`, 50_000) + `1` + strings.Repeat("}]", 50_000) + `,"data":{"refreshToken":"RT-new"}}`
	ambiguous, network, malformed := credential.ClassAmbiguous, credential.ReasonNetwork, credential.ReasonMalformedReply
	for name, row := range map[string]struct {
		answer  func(net.Conn)
		class   credential.Class
		refresh string // that is kept
		reason  credential.Reason
	}{
		"gzip":                           {providertest.Text(providertest.WithLength("Content-Encoding: gzip\r\n", zipped)), credential.ClassOK, "RT-new", ""},
		"gzip, not announced":            {providertest.Text(providertest.WithLength("", zipped)), credential.ClassOK, "RT-new", ""},
		"gzip, without its end":          {providertest.Text(providertest.WithLength("", zipped[:len(zipped)-8])), credential.ClassOK, "RT-new", ""},
		"gzip of nothing":                {providertest.Text(providertest.WithLength("", zipped[:10])), ambiguous, "", network},
		"a byte order mark":              {providertest.Text(providertest.WithLength("", "\xef\xbb\xbf"+whole)), credential.ClassOK, "RT-new", ""},
		"a guard in front":               {providertest.Text(providertest.WithLength("", ")]}',\n"+whole)), credential.ClassOK, "RT-new", ""},
		"deep":                           {providertest.Text(providertest.WithLength("", deep)), credential.ClassOK, "RT-new", ""},
		"no commas":                      {providertest.Text(providertest.WithLength("", strings.ReplaceAll(whole, ",", " "))), credential.ClassOK, "RT-new", ""},
		"chunks cut off":                 {providertest.Text(chunk + whole), credential.ClassOK, "RT-new", ""},
		"cut off behind the token":       {providertest.Text(chunk + whole[:50]), credential.ClassOK, "RT-new", ""},
		"cut off in the token":           {providertest.Text(chunk + whole[:42]), ambiguous, "", network},
		"cut off in an escape":           {providertest.Text(chunk + `{"token":"AT","data":{"refreshToken":"RT\"`), ambiguous, "", network},
		"cut off in a number":            {providertest.Text(chunk + `{"token":12`), ambiguous, "", network},
		"a bad escape":                   {providertest.Text(providertest.WithLength("", `{"token":"AT","data":{"refreshToken":"RT\-new"}}`)), credential.ClassOK, "RT-new", ""},
		"a length too long":              {providertest.Text(ok+"Content-Length: 4096\r\n\r\n", whole), credential.ClassOK, "RT-new", ""},
		"a length short of the token":    {providertest.Text(ok+"Content-Length: 30\r\n\r\n", whole), ambiguous, "", malformed},
		"two lengths":                    {providertest.Text(ok+"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", whole), ambiguous, "", network},
		"no length at all":               {providertest.Text(ok+"\r\n", whole), credential.ClassOK, "RT-new", ""},
		"a flood of interim replies":     {providertest.Text(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10_000), providertest.WithLength("", whole)), ambiguous, "", network},
		"endless headers":                {providertest.WithoutEnd(ok, "X-More: "+strings.Repeat("x", 8<<10)+"\r\n", time.Microsecond), ambiguous, "", network},
		"a body without end":             {providertest.WithoutEnd(ok+"\r\n"+whole, strings.Repeat(" ", 64<<10), time.Microsecond), credential.ClassOK, "RT-new", ""},
		"a body without end or token":    {providertest.WithoutEnd(ok+"\r\n{", strings.Repeat(`"x":1,`, 10<<10), time.Microsecond), ambiguous, "", malformed},
		"a page without end":             {providertest.WithoutEnd(ok+"\r\n<html>", strings.Repeat(`<p>`, 10<<10), time.Microsecond), ambiguous, "", malformed},
		"a byte now and then, no token":  {providertest.WithoutEnd(ok+"\r\n"+whole[:20], "x", 20*time.Millisecond), ambiguous, "", credential.ReasonTimeout},
		"nothing, and then nothing":      {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, ambiguous, "", credential.ReasonTimeout},
		"nothing":                        {func(net.Conn) {}, ambiguous, "", network},
		"another protocol":               {providertest.Text("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"), ambiguous, "", malformed},
		"two of them":                    {providertest.Text(providertest.WithLength("", `{"token":"AT","data":{"refreshToken":"RT-new","refreshToken":"RT-new"}}`)), credential.ClassOK, "RT-new", ""},
		"the token is an object":         {providertest.Text(providertest.WithLength("", `{"token":"AT","data":{"refreshToken":{"x":1}}}`)), credential.ClassOK, "", ""},
		"the place is something else":    {providertest.Text(providertest.WithLength("", `{"token":"AT","data":"x"}`)), credential.ClassOK, "", ""},
		"something behind the last byte": {providertest.Text(providertest.WithLength("", whole), "HTTP/1.1 200 OK\r\n\r\n"), credential.ClassOK, "RT-new", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := providertest.NewRaw(t, row.answer)
			o := shop(backend.URL)
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
			assert.EqualValues(t, 1, backend.Requests.Load())
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
			backend := providertest.NewRaw(t, providertest.Text("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"+row.body))
			o := airline(backend.URL)
			o.Failures = row.failures
			out, _ := present(t, newProvider(t, o), credential.MethodExtend)
			assert.Equal(t, row.class, out.Class, out.Detail)
			assert.Contains(t, out.Detail, "cut off: ")
			assert.EqualValues(t, 1, backend.Requests.Load())
		})
	}
}

// A reply that is longer than is read of any came all the same. Where what did come
// of it says enough it is a success; else it is of no use, and to a login, which was
// not lost, no reason to send the password again.
func TestReplyOverTheLimit(t *testing.T) {
	t.Parallel()
	const remedy = "the reply's body is longer than 1 MiB; give the request another path, with a shorter reply"
	page := otherPage + strings.Repeat("<p>Welcome</p>", 1<<17)
	list := func(rest string) string { return `{` + rest + `"list":["` + strings.Repeat("x", 1<<21) + `"]}` }
	body := func(o httpflow.Options) httpflow.Options {
		o.Extend = &httpflow.Call{Request: httpflow.Request{URL: o.Login.Request.URL, JSON: map[string]any{"ping": true}}}
		return o
	}
	told := func(f httpflow.Failure) func(httpflow.Options) httpflow.Options {
		return func(o httpflow.Options) httpflow.Options {
			o.Failures = []httpflow.Failure{f}
			return o
		}
	}
	place := func(r httpflow.Response) func(httpflow.Options) httpflow.Options {
		return func(o httpflow.Options) httpflow.Options {
			o.Extend.Response = r
			return o
		}
	}
	graph := func(o httpflow.Options) httpflow.Options {
		o.Extend.Request.GraphQL = &httpflow.GraphQL{Query: "{me{id}}"}
		return o
	}
	asIs := func(o httpflow.Options) httpflow.Options { return o }
	ambiguous, malformed := credential.ClassAmbiguous, credential.ReasonMalformedReply
	for name, test := range map[string]struct {
		use     func(url string) httpflow.Options
		method  credential.Method
		declare func(httpflow.Options) httpflow.Options
		answer  says
		class   credential.Class
		reason  credential.Reason
		access  string
	}{
		"a page to a session":              {airline, credential.MethodExtend, asIs, json(page), credential.ClassOK, "", ""},
		"a page with a new ID":             {airline, credential.MethodExtend, asIs, json(page).with("Set-Cookie", "sid=S2"), credential.ClassOK, "", "S2"},
		"JSON to a session that sent some": {airline, credential.MethodExtend, body, json(list("")), credential.ClassOK, "", ""},
		"a status that is told":            {airline, credential.MethodExtend, told(httpflow.Failure{StatusFrom: 204, StatusTo: 204}), json(page), credential.ClassOK, "", ""},
		"a place before the limit":         {airline, credential.MethodExtend, place(httpflow.Response{AccessToken: httpflow.Place{JSON: "id"}}), json(list(`"id":"S2",`)), credential.ClassOK, "", "S2"},
		"an expiry behind it":              {airline, credential.MethodExtend, place(httpflow.Response{ExpiresIn: httpflow.Place{JSON: "life"}}), json(list("")), credential.ClassOK, "", ""},
		"a login page":                     {airline, credential.MethodExtend, asIs, json(loginPage + page), credential.ClassPermanent, credential.ReasonSessionEnded, ""},
		"no session":                       {airline, credential.MethodExtend, asIs, status(401).saying(page), credential.ClassPermanent, credential.ReasonSessionEnded, ""},
		"an ID behind it":                  {airline, credential.MethodExtend, place(httpflow.Response{AccessToken: httpflow.Place{JSON: "id"}}), json(list("")), ambiguous, malformed, ""},
		"a refresh token behind it":        {airline, credential.MethodExtend, place(httpflow.Response{RefreshToken: httpflow.Place{JSON: "rt"}}), json(list("")), ambiguous, malformed, ""},
		"a text that is told":              {airline, credential.MethodExtend, told(httpflow.Failure{BodyContains: "log in"}), json(page), ambiguous, malformed, ""},
		"errors of GraphQL":                {airline, credential.MethodExtend, graph, json(list("")), ambiguous, malformed, ""},
		"a login":                          {shop, credential.MethodLogin, asIs, json(list("")), credential.ClassRefused, malformed, ""},
		"a page to a login":                {shop, credential.MethodLogin, asIs, json(page), credential.ClassRefused, malformed, ""},
		"a login with a token":             {shop, credential.MethodLogin, asIs, json(list(`"token":"AT","refreshToken":"RT",`)), credential.ClassOK, "", "AT"},
		"a login with a cookie":            {airline, credential.MethodLogin, asIs, json(page).with("Set-Cookie", "sid=S1"), credential.ClassOK, "", "S1"},
		"a refresh":                        {shop, credential.MethodRefresh, asIs, json(list("")), ambiguous, malformed, ""},
		"a refresh without its next":       {shop, credential.MethodRefresh, asIs, json(list(`"token":"AT",`)), ambiguous, malformed, "AT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, test.answer.ServeHTTP)
			out, k := present(t, newProvider(t, test.declare(test.use(s.URL))), test.method)
			assert.Equal(t, test.class, out.Class, out.Detail)
			assert.Equal(t, test.reason, out.Reason, out.Detail)
			assert.Equal(t, test.access, out.Token.Access.Reveal())
			assert.Equal(t, test.access, strings.Join(k.access(), ","))
			assert.Contains(t, out.Detail, "longer than 1 MiB")
			assert.Equal(t, test.reason == malformed, strings.Contains(out.Detail, remedy), out.Detail)
			assert.Len(t, s.Received(), 1)
		})
	}
}

// A user's data is the whole body unless a place is declared, and then what stands
// there.
func TestUserDataOverTheLimit(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, json(`{"user":{"name":"Jane"},"list":["`+strings.Repeat("x", 1<<21)+`"]}`).ServeHTTP)
	token := credential.Token{Access: credential.NewSecret("AT")}
	o := airline(s.URL)
	data, out := newProvider(t, o).UserData(t.Context(), token, "", nil)
	assert.Equal(t, credential.ReasonMalformedReply, out.Reason, out.Detail)
	assert.Contains(t, out.Detail, "longer than 1 MiB; give the request another path")
	assert.Nil(t, data)
	o.UserData.Response.UserData = httpflow.Place{JSON: "user"}
	data, out = newProvider(t, o).UserData(t.Context(), token, "", nil)
	assert.Equal(t, credential.ClassOK, out.Class, out.Detail)
	assert.JSONEq(t, `{"name":"Jane"}`, string(data))
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, status(200).ServeHTTP)
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
