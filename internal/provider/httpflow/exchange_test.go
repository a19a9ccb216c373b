package httpflow_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/httpflow"
	"github.com/refreshd/refreshd/internal/provider/providertest"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, json(`{"token":"AT","refreshToken":"RT","expiresIn":3600,"user":{"id":42,"name":"Jane","tags":["a", 1.50]}}`).ServeHTTP)
	p := newProvider(t, shop(s.URL))
	require.NoError(t, p.Prepare(t.Context()))
	assert.Equal(t, "shop", p.Name())
	out, k := present(t, p, credential.MethodLogin)
	assert.Equal(t, credential.Outcome{
		Method: credential.MethodLogin, Class: credential.ClassOK, Detail: "HTTP 200",
		Token:     credential.Token{Access: credential.NewSecret("AT"), Refresh: credential.NewSecret("RT")},
		ExpiresIn: time.Hour, Subject: "42", UserData: credential.UserData(`{"id":42,"name":"Jane","tags":["a", 1.50]}`),
	}, out)
	require.Len(t, k.found, 1)
	assert.Equal(t, credential.Found{Token: out.Token, ExpiresIn: "3600", Complete: true}, k.found[0])
	got := s.Received()
	require.Len(t, got, 1)
	assert.Equal(t, "POST", got[0].Method)
	assert.Equal(t, "/authenticate", got[0].URI)
	assert.Equal(t, "password=pass+word%26%3D%2B%22%3C&username=jane", got[0].Body)
	assert.Equal(t, "application/x-www-form-urlencoded", got[0].Header.Get("Content-Type"))
	assert.Equal(t, "refreshd", got[0].Header.Get("User-Agent"))
	assert.Equal(t, "application/json", got[0].Header.Get("Accept"))
	assert.Empty(t, got[0].Header.Get("Authorization"))
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, json(`{"token":"Bearer AT","refreshToken":"RT-new"}`).ServeHTTP)
	p := newProvider(t, shop(s.URL))
	out, k := present(t, p, credential.MethodRefresh)
	assert.Equal(t, credential.ClassOK, out.Class)
	assert.Equal(t, "HTTP 200, expires_in (json expiresIn) was not found", out.Detail)
	assert.Equal(t, []string{"AT"}, k.access())
	assert.Equal(t, []string{"RT-new"}, k.refresh())
	got := s.Received()
	require.Len(t, got, 1)
	assert.JSONEq(t, `{"refreshToken":"RT-old"}`, got[0].Body)
	assert.Equal(t, "application/json", got[0].Header.Get("Content-Type"))
}

// What is kept does not depend on whether keeping it worked.
func TestKeepFails(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, json(`{"token":"AT","refreshToken":"RT-new"}`).ServeHTTP)
	k := &kept{err: errors.New("disk full")}
	out := newProvider(t, shop(s.URL)).Exchange(t.Context(), credential.Presentation{
		Method: credential.MethodRefresh, Keep: k.keep, MaySend: func() error { return nil },
		Token: credential.Token{Refresh: credential.NewSecret("RT-old")},
	})
	assert.Equal(t, credential.ClassOK, out.Class)
	assert.Equal(t, "RT-new", out.Token.Refresh.Reveal())
}

func TestMaySend(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, json(`{"token":"AT"}`).ServeHTTP)
	p := newProvider(t, airline(s.URL))
	for _, m := range []credential.Method{credential.MethodLogin, credential.MethodExtend} {
		out := p.Exchange(t.Context(), credential.Presentation{
			Method: m, Keep: new(kept).keep, MaySend: func() error { return errors.New("too late") },
			Token:  credential.Token{Access: credential.NewSecret("AT")},
			SignIn: credential.SignIn{Username: credential.NewSecret("u"), Password: credential.NewSecret("p")},
		})
		assert.Equal(t, credential.ClassNotSent, out.Class)
		assert.Equal(t, credential.ReasonTimeout, out.Reason)
		assert.Equal(t, m, out.Method)
	}
	assert.Empty(t, s.Received())
}

// How a session travels, and how its ID changes.
func TestSession(t *testing.T) {
	t.Parallel()
	answers := map[string]says{
		"/account/login": {status: 302, header: []string{"Set-Cookie", "sid=S1; Path=/; HttpOnly", "Location", "/home"}},
		"/me":            {status: 200, header: []string{"Set-Cookie", "theme=dark", "Set-Cookie", "sid=S2; Max-Age=900"}, body: `{"id":"u-1"}`},
		"/ping":          {status: 204},
		"/logout":        {status: 302, header: []string{"Location", "/account/login"}},
	}
	s := providertest.NewServer(t, func(w http.ResponseWriter, r *http.Request) { answers[r.URL.Path].ServeHTTP(w, r) })
	p := newProvider(t, airline(s.URL))

	out, k := present(t, p, credential.MethodLogin)
	assert.Equal(t, credential.ClassOK, out.Class)
	assert.Equal(t, "S1", out.Token.Access.Reveal())
	assert.Equal(t, []string{"S1"}, k.access())

	out, k = present(t, p, credential.MethodExtend)
	assert.Equal(t, credential.ClassOK, out.Class)
	assert.Equal(t, "S2", out.Token.Access.Reveal())
	assert.Equal(t, 15*time.Minute, out.ExpiresIn)
	assert.Equal(t, []string{"S2"}, k.access())

	token := credential.Token{Access: credential.NewSecret("S2")}
	assert.Equal(t, credential.Outcome{Class: credential.ClassOK, Detail: "HTTP 204"}, p.Verify(t.Context(), token, "", nil))
	data, out := p.UserData(t.Context(), token, "", nil)
	assert.Equal(t, credential.ClassOK, out.Class)
	assert.Equal(t, credential.UserData(`{"id":"u-1"}`), data)
	assert.Equal(t, "S2", out.Token.Access.Reveal(), "a session's ID may change with any use")
	require.NoError(t, p.Revoke(t.Context(), token))

	got := s.Received()
	require.Len(t, got, 5)
	assert.JSONEq(t, `{"user":"jane","password":"pass word&=+\"<"}`, got[0].Body)
	assert.Contains(t, got[0].Body, "<", "nothing is escaped that need not be")
	for i, want := range []string{"", "GET sid=AT-old", "GET sid=S2", "GET sid=S2", "DELETE sid=S2"} {
		if i > 0 {
			assert.Equal(t, want, got[i].Method+" "+got[i].Header.Get("Cookie"))
		}
	}
}

// Where nobody logs in here, a session's ID is looked for where it is sent.
func TestSessionOfElsewhere(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, status(200).with("Set-Cookie", "sid=S2", "X-Session", "S3").ServeHTTP)
	for want, send := range map[string]httpflow.Send{
		"S2": {As: httpflow.AsCookie, Name: "sid"},
		"S3": {As: httpflow.AsHeader, Name: "X-Session"},
		"":   {As: httpflow.AsBearer},
	} {
		o := httpflow.Options{Send: send, Extend: airline(s.URL).Extend}
		out, _ := present(t, newProvider(t, o), credential.MethodExtend)
		assert.Equal(t, credential.ClassOK, out.Class)
		assert.Equal(t, want, out.Token.Access.Reveal())
	}
	o := airline(s.URL)
	o.Login.Response.AccessToken = httpflow.Place{JSON: "sid"}
	out, _ := present(t, newProvider(t, o), credential.MethodExtend)
	assert.True(t, out.Token.Access.IsZero(), "a login that has it elsewhere says so")
}

// The ways for a token to travel.
func TestSend(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		send    httpflow.Send
		request httpflow.Request
		want    func(*testing.T, providertest.Request)
	}{
		"as a bearer token": {want: func(t *testing.T, r providertest.Request) {
			t.Helper()
			assert.Equal(t, "Bearer AT-old", r.Header.Get("Authorization"))
		}},
		"in a header": {send: httpflow.Send{As: httpflow.AsHeader, Name: "X-Session-Token"}, want: func(t *testing.T, r providertest.Request) {
			t.Helper()
			assert.Equal(t, "AT-old", r.Header.Get("X-Session-Token"))
			assert.Empty(t, r.Header.Get("Authorization"))
		}},
		"in a cookie beside others": {
			send:    httpflow.Send{As: httpflow.AsCookie, Name: "sid"},
			request: httpflow.Request{Headers: map[string]string{"cookie": "lang=en"}},
			want: func(t *testing.T, r providertest.Request) {
				t.Helper()
				assert.Equal(t, "lang=en; sid=AT-old", r.Header.Get("Cookie"))
			},
		},
		"where the request says": {
			request: httpflow.Request{Headers: map[string]string{"Accept": "text/plain"}, Query: map[string]string{"t": "{{.access_token}}", "a": "&"}},
			want: func(t *testing.T, r providertest.Request) {
				t.Helper()
				assert.Empty(t, r.Header.Get("Authorization"))
				assert.Equal(t, "/use/u-1?x=1&a=%26&t=AT-old", r.URI)
				assert.Equal(t, "text/plain", r.Header.Get("Accept"))
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, says{status: 200}.ServeHTTP)
			test.request.URL = s.URL + "/use/{{.subject}}?x=1"
			p := newProvider(t, httpflow.Options{Send: test.send, Extend: &httpflow.Call{Request: test.request}})
			out, k := present(t, p, credential.MethodExtend)
			assert.Equal(t, credential.ClassOK, out.Class)
			assert.Empty(t, k.found)
			got := s.Received()
			require.Len(t, got, 1)
			test.want(t, got[0])
		})
	}
}

func TestBasicLogin(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, says{status: 200, header: []string{"X-Session-Token", "S1"}}.ServeHTTP)
	p := newProvider(t, httpflow.Options{Login: &httpflow.Call{
		Request:  httpflow.Request{URL: s.URL, Headers: map[string]string{"Authorization": "Basic {{.username}}:{{.password}}"}},
		Response: httpflow.Response{AccessToken: httpflow.Place{Header: "x-session-token"}},
	}})
	out, _ := present(t, p, credential.MethodLogin)
	assert.Equal(t, "S1", out.Token.Access.Reveal())
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("jane:pass word&=+\"<"))
	assert.Equal(t, want, s.Received()[0].Header.Get("Authorization"))
}

func TestGraphQLLogin(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, json(`{"data":{"login":{"token":"AT","expiresAt":"2099-01-02T03:04:05Z"}}}`).ServeHTTP)
	query := "mutation Login($u: String!) { login(user: $u) { token } }"
	p := newProvider(t, httpflow.Options{Login: &httpflow.Call{
		Request: httpflow.Request{URL: s.URL, GraphQL: &httpflow.GraphQL{
			Query: query, OperationName: "Login",
			Variables: map[string]any{"u": "{{.username}}", "p": map[string]string{"x": "{{.password}}"}, "n": []any{1, 12345678901234567, true, nil}},
		}},
		Response: httpflow.Response{AccessToken: httpflow.Place{JSON: "data.login.token"}, ExpiresAt: httpflow.Place{JSON: "data.login.expiresAt"}},
	}})
	out, _ := present(t, p, credential.MethodLogin)
	assert.Equal(t, credential.ClassOK, out.Class)
	assert.Equal(t, credential.MaxLifetime, out.ExpiresIn)
	assert.JSONEq(t, `{"query":"`+query+`","operationName":"Login","variables":{"u":"jane","p":{"x":"pass word&=+\"<"},"n":[1,12345678901234567,true,null]}}`,
		s.Received()[0].Body)
	assert.Contains(t, s.Received()[0].Body, "12345678901234567")
}

// A value that is not there, or does not fit where it has to stand, is not sent.
func TestNothingIsSent(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, says{status: 200}.ServeHTTP)
	login := func(r httpflow.Request) httpflow.Options {
		r.URL = s.URL + r.URL
		if r.Form == nil && r.JSON == nil {
			r.Form = map[string]string{"p": "{{.password}}"}
		}
		return httpflow.Options{Login: &httpflow.Call{Request: r, Response: httpflow.Response{AccessToken: httpflow.Place{JSON: "t"}}}}
	}
	header := func(text string) httpflow.Options {
		return login(httpflow.Request{Headers: map[string]string{"X-User": text}})
	}
	extend := func(send httpflow.Send) httpflow.Options {
		return httpflow.Options{Send: send, Extend: &httpflow.Call{Request: httpflow.Request{URL: s.URL}}}
	}
	tests := map[string]struct {
		options  httpflow.Options
		method   credential.Method
		username string
		access   string
		class    credential.Class
		detail   string
	}{
		"no refresh token": {shop(s.URL), credential.MethodRefresh, "", "", credential.ClassNotSent, "there is no refresh_token"},
		"no password":      {shop(s.URL), credential.MethodLogin, "", "", credential.ClassNotSent, "there is no username"},
		"no session":       {extend(httpflow.Send{}), credential.MethodExtend, "", "", credential.ClassNotSent, "there is no access_token"},
		"no such call":     {shop(s.URL), credential.MethodExtend, "", "AT", credential.ClassOperator, "declare no such call"},
		"no method":        {shop(s.URL), credential.MethodNone, "", "AT", credential.ClassOperator, "declare no such call"},
		"CR LF":            {header("{{.username}}"), credential.MethodLogin, "u\r\nX-Evil: 1", "", credential.ClassPermanent, "login.request.headers.X-User"},
		"NUL":              {header("{{.username}}"), credential.MethodLogin, "u\x00", "", credential.ClassPermanent, "control character"},
		"a second cookie": {
			login(httpflow.Request{Headers: map[string]string{"Cookie": "u={{.username}}"}}), credential.MethodLogin, "u; admin=1", "",
			credential.ClassPermanent, "semicolon",
		},
		"upwards": {
			login(httpflow.Request{URL: "/users/{{.username}}/session"}), credential.MethodLogin, "..", "", credential.ClassPermanent, "another path",
		},
		"upwards and on": {
			login(httpflow.Request{URL: "/users/{{.username}}/session"}), credential.MethodLogin, "../admin", "", credential.ClassPermanent, "another path",
		},
		"upwards in pieces": {
			login(httpflow.Request{URL: "/users/.{{.username}}/session"}), credential.MethodLogin, ".", "", credential.ClassPermanent, "another path",
		},
		"no UTF-8": {
			login(httpflow.Request{JSON: []any{"{{.username}}", "{{.password}}"}}), credential.MethodLogin, "\xff", "", credential.ClassPermanent, "UTF-8",
		},
		"a colon": {
			login(httpflow.Request{Headers: map[string]string{"Authorization": "Basic {{.username}}:{{.password}}"}}), credential.MethodLogin, "a:b", "",
			credential.ClassPermanent, "colon",
		},
		"bearer CR": {extend(httpflow.Send{}), credential.MethodExtend, "", "a\rb", credential.ClassNotSent, "send cannot be made: access_token has a character"},
		"cookie ;": {
			extend(httpflow.Send{As: httpflow.AsCookie, Name: "sid"}), credential.MethodExtend, "", "a;b", credential.ClassNotSent, "send cannot be made",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, test.options)
			out := p.Exchange(t.Context(), credential.Presentation{
				Method: test.method, MaySend: func() error { return nil }, Keep: new(kept).keep,
				Token:  credential.Token{Access: credential.NewSecret(test.access)},
				SignIn: credential.SignIn{Username: credential.NewSecret(test.username), Password: credential.NewSecret("p")},
			})
			assert.Equal(t, test.class, out.Class)
			assert.Contains(t, out.Detail, test.detail)
			assert.Equal(t, test.method, out.Method)
			assert.Empty(t, s.Received())
		})
	}
}

// What a provider was not asked it has not called dead, whatever is missing or does
// not fit.
func TestWhatWasNotSentEndsNothing(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, says{status: 200}.ServeHTTP)
	o := shop(s.URL)
	o.Refresh.Request.URL = s.URL + "/users/{{.subject}}/token"
	o.Extend = &httpflow.Call{Request: httpflow.Request{URL: s.URL + "/users/{{.subject}}"}}
	o.UserData = &httpflow.Call{Request: httpflow.Request{URL: s.URL + "/users/{{.subject}}"}}
	p := newProvider(t, o)
	token := credential.Token{Access: credential.NewSecret("AT"), Refresh: credential.NewSecret("RT")}
	for subject, why := range map[string]string{"": "there is no subject, which ", "uid/../x": "leads to another path"} {
		for _, m := range []credential.Method{credential.MethodRefresh, credential.MethodExtend} {
			out := p.Exchange(t.Context(), credential.Presentation{
				Method: m, Token: token, Subject: subject, MaySend: func() error { return nil }, Keep: new(kept).keep,
			})
			assert.Equal(t, credential.ClassNotSent, out.Class, m)
			assert.Equal(t, credential.ReasonInvalidRequest, out.Reason, m)
			assert.Contains(t, out.Detail, why)
			assert.Contains(t, out.Detail, "; nothing was sent")
		}
		_, out := p.UserData(t.Context(), token, subject, nil)
		assert.Equal(t, credential.ClassNotSent, out.Class)
	}
	assert.Empty(t, s.Received())
}

// A token that cannot be put into the question was not refused by anybody.
func TestAVerificationThatCannotBeMadeIsNoRefusal(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, says{status: 200}.ServeHTTP)
	o := shop(s.URL)
	o.Verify = &httpflow.Call{Request: httpflow.Request{URL: s.URL}}
	out := newProvider(t, o).Verify(t.Context(), credential.Token{Access: credential.NewSecret("a\rb")}, "", nil)
	assert.Equal(t, credential.ClassNotSent, out.Class)
	assert.Equal(t, credential.ReasonInvalidRequest, out.Reason)
	assert.Contains(t, out.Detail, "send cannot be made")
	assert.Empty(t, s.Received())
}

// Values stay where they are put.
func TestValuesAreEncoded(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, json(`{"t":"AT"}`).ServeHTTP)
	p := newProvider(t, httpflow.Options{Login: &httpflow.Call{
		Request: httpflow.Request{
			URL: s.URL + "/u/{{.username}}/x?q={{.username}}", Query: map[string]string{"r s": "{{.username}}"},
			Form: map[string]string{"p": "{{.password}}"},
		},
		Response: httpflow.Response{AccessToken: httpflow.Place{JSON: "t"}},
	}})
	out := p.Exchange(t.Context(), credential.Presentation{
		Method: credential.MethodLogin, MaySend: func() error { return nil }, Keep: new(kept).keep,
		SignIn: credential.SignIn{Username: credential.NewSecret("a/b?c#d&e=f%2e{{.password}}"), Password: credential.NewSecret("p\r\n")},
	})
	assert.Equal(t, credential.ClassOK, out.Class)
	got := s.Received()[0]
	assert.Equal(t, "/u/a%2Fb%3Fc%23d&e=f%252e%7B%7B.password%7D%7D/x?q=a%2Fb%3Fc%23d%26e%3Df%252e%7B%7B.password%7D%7D"+
		"&r+s=a%2Fb%3Fc%23d%26e%3Df%252e%7B%7B.password%7D%7D", got.URI)
	assert.Equal(t, "p=p%0D%0A", got.Body)
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	token := credential.Token{Access: credential.NewSecret("AT")}
	tests := map[string]struct {
		answer says
		class  credential.Class // "" if there is no error
	}{
		"done":          {says{status: 204}, ""},
		"is over":       {says{status: 401}, ""},
		"to login page": {says{status: 302, header: []string{"Location", "/login"}}, ""},
		"no such page":  {says{status: 404}, credential.ClassOperator},
		"unavailable":   {says{status: 503}, credential.ClassTransient},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, test.answer.ServeHTTP)
			err := newProvider(t, shop(s.URL)).Revoke(t.Context(), token)
			assert.Equal(t, "Bearer AT", s.Received()[0].Header.Get("Authorization"))
			if test.class == "" {
				require.NoError(t, err)
				return
			}
			var failed *provider.CallError
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, test.class, failed.Outcome.Class)
			assert.True(t, strings.HasPrefix(err.Error(), "provider shop: logout: "+string(test.class)), err.Error())
		})
	}
	p := newProvider(t, httpflow.Options{Extend: &httpflow.Call{Request: httpflow.Request{URL: "https://air.example/me"}}})
	require.ErrorIs(t, p.Revoke(t.Context(), token), provider.ErrNoRevocation)
	assert.Equal(t, credential.Outcome{Class: credential.ClassOK}, p.Verify(t.Context(), token, "", nil))
	data, out := p.UserData(t.Context(), token, "", nil)
	assert.Nil(t, data)
	assert.Equal(t, credential.Outcome{Class: credential.ClassOK}, out)
}

func TestUserData(t *testing.T) {
	t.Parallel()
	long := `"` + strings.Repeat("x", credential.MaxUserData) + `"`
	tests := map[string]struct {
		place  httpflow.Place
		answer says
		data   string
		detail string
	}{
		"the whole body": {httpflow.Place{}, json(" {\"a\": [1, null]}\n"), `{"a": [1, null]}`, "HTTP 200"},
		"a list":         {httpflow.Place{JSON: "users.#.id"}, json(`{"users":[{"id":1},{"id":2}]}`), `[1,2]`, "HTTP 200"},
		"a number":       {httpflow.Place{JSON: "n"}, json(`{"n":-1.50e3}`), `-1.50e3`, "HTTP 200"},
		"false":          {httpflow.Place{JSON: "n"}, json(`{"n":false}`), `false`, "HTTP 200"},
		"null":           {httpflow.Place{JSON: "n"}, json(`{"n":null}`), "", "HTTP 200, user_data (json n) was not found"},
		"a header":       {httpflow.Place{Header: "X-User"}, says{status: 200, header: []string{"X-User", `{"a":1}`}}, `{"a":1}`, "HTTP 200"},
		"text":           {httpflow.Place{Header: "X-User"}, says{status: 200, header: []string{"X-User", `Jane "J"`}}, `"Jane \"J\""`, "HTTP 200"},
		"a cookie":       {httpflow.Place{Cookie: "u"}, says{status: 200, header: []string{"Set-Cookie", `u=7; Path=/`}}, `7`, "HTTP 200"},
		"too long":       {httpflow.Place{}, json(long), "", "HTTP 200, user_data (json @this) has 65538 bytes and is not kept, for at most 65536 are"},
		"empty":          {httpflow.Place{}, json(""), "", "HTTP 200, user_data (json @this) was not found"},
		"broken":         {httpflow.Place{}, json(`{"a":`), "", "HTTP 200, user_data (json @this) was not found"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, test.answer.ServeHTTP)
			p := newProvider(t, httpflow.Options{UserData: &httpflow.Call{
				Request: httpflow.Request{URL: s.URL}, Response: httpflow.Response{UserData: test.place},
			}})
			data, out := p.UserData(t.Context(), credential.Token{Access: credential.NewSecret("AT")}, "", nil)
			assert.Equal(t, test.data, string(data))
			assert.Equal(t, test.detail, out.Detail)
			assert.Equal(t, test.data != "", out.Class == credential.ClassOK)
		})
	}
}

// Where expiries, subjects and the rest come from.
func TestPlaces(t *testing.T) {
	t.Parallel()
	jwt := "h." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":4102444800}`)) + ".s"
	in := func(seconds int) string {
		return time.Now().Add(time.Duration(seconds) * time.Second).UTC().Format(http.TimeFormat)
	}
	type exchange struct {
		places httpflow.Response
		answer says
		check  func(*testing.T, credential.Outcome)
	}
	tests := map[string]exchange{
		"milliseconds": {
			httpflow.Response{ExpiresIn: httpflow.Place{JSON: "e", Unit: httpflow.UnitMillis}},
			json(`{"t":"AT","e":90000}`),
			func(t *testing.T, o credential.Outcome) { t.Helper(); assert.Equal(t, 90*time.Second, o.ExpiresIn) },
		},
		"a date by the server's clock": {
			httpflow.Response{ExpiresAt: httpflow.Place{Header: "Expires"}},
			says{200, []string{"Date", "Fri, 02 Jan 2015 15:04:05 GMT", "Expires", "Fri, 02 Jan 2015 15:14:05 GMT"}, `{"t":"AT"}`},
			func(t *testing.T, o credential.Outcome) { t.Helper(); assert.Equal(t, 10*time.Minute, o.ExpiresIn) },
		},
		"a JWT": {
			httpflow.Response{},
			json(`{"t":"` + jwt + `"}`),
			func(t *testing.T, o credential.Outcome) {
				t.Helper()
				assert.Zero(t, o.ExpiresIn)
				assert.Equal(t, credential.Millis(4102444800_000), o.ExpiresAt)
			},
		},
		"a JWT for a refresh token": {
			httpflow.Response{RefreshToken: httpflow.Place{JSON: "r"}},
			json(`{"t":"AT","r":"` + jwt + `"}`),
			func(t *testing.T, o credential.Outcome) {
				t.Helper()
				assert.Greater(t, o.RefreshExpiresIn, 24*time.Hour)
			},
		},
		"a refresh token's expiry": {
			httpflow.Response{RefreshToken: httpflow.Place{JSON: "r"}, RefreshExpiresIn: httpflow.Place{JSON: "re"}},
			json(`{"t":"AT","r":"R","re":"30d"}`),
			func(t *testing.T, o credential.Outcome) {
				t.Helper()
				assert.Equal(t, 30*24*time.Hour, o.RefreshExpiresIn)
			},
		},
		"a refresh token's cookie": {
			httpflow.Response{RefreshToken: httpflow.Place{Cookie: "rt"}},
			says{200, []string{"Set-Cookie", "rt=R1; Expires=" + in(60), "Set-Cookie", "rt=R2; Max-Age=120; Expires=" + in(60)}, `{"t":"AT"}`},
			func(t *testing.T, o credential.Outcome) {
				t.Helper()
				assert.Equal(t, "R2", o.Token.Refresh.Reveal())
				assert.Equal(t, 2*time.Minute, o.RefreshExpiresIn)
			},
		},
		"type and scope": {
			httpflow.Response{TokenType: httpflow.Place{JSON: "k"}, Scope: httpflow.Place{JSON: "s"}},
			json(`{"t":"AT","k":"MAC","s":"a b"}`),
			func(t *testing.T, o credential.Outcome) {
				t.Helper()
				assert.Equal(t, "MAC", o.Token.Type)
				assert.Equal(t, "a b", o.Token.Scope)
			},
		},
		"a type and a scope that are none": {
			httpflow.Response{TokenType: httpflow.Place{JSON: "k"}, Scope: httpflow.Place{JSON: "s"}},
			json(`{"t":"AT","k":"M C","s":"a\r\nb"}`),
			func(t *testing.T, o credential.Outcome) { t.Helper(); assert.Empty(t, o.Token.Type+o.Token.Scope) },
		},
		"a subject that is none": {
			httpflow.Response{Subject: httpflow.Place{JSON: "id"}},
			json(`{"t":"AT","id":"a\nb"}`),
			func(t *testing.T, o credential.Outcome) { t.Helper(); assert.Empty(t, o.Subject) },
		},
		"an expiry that is past": {
			httpflow.Response{ExpiresAt: httpflow.Place{JSON: "e"}},
			json(`{"t":"AT","e":"2001-01-01T00:00:00Z"}`),
			func(t *testing.T, o credential.Outcome) {
				t.Helper()
				assert.Zero(t, o.ExpiresIn)
				assert.Equal(t, "HTTP 200, expires_at (json e) tells no time to come", o.Detail)
			},
		},
	}
	for text, why := range map[string]string{
		`true`: "tells no time to come", `[60]`: "tells no time to come", `{"s":60}`: "tells no time to come",
		`"soon"`: "tells no time to come", `-1`: "tells no time to come", `null`: "was not found", `""`: "was not found",
	} {
		tests["an expiry that is "+text] = exchange{
			httpflow.Response{ExpiresIn: httpflow.Place{JSON: "e"}},
			json(`{"t":"AT","e":` + text + `}`),
			func(t *testing.T, o credential.Outcome) {
				t.Helper()
				assert.Zero(t, o.ExpiresIn)
				assert.Equal(t, credential.ClassOK, o.Class)
				assert.Equal(t, "HTTP 200, expires_in (json e) "+why, o.Detail)
			},
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, test.answer.ServeHTTP)
			test.places.AccessToken = httpflow.Place{JSON: "t"}
			p := newProvider(t, httpflow.Options{Login: &httpflow.Call{
				Request: httpflow.Request{URL: s.URL, JSON: "{{.password}}"}, Response: test.places,
			}})
			out, k := present(t, p, credential.MethodLogin)
			assert.Equal(t, credential.ClassOK, out.Class)
			require.Len(t, k.found, 1)
			assert.Equal(t, out.Token, k.found[0].Token)
			assert.Equal(t, out.ExpiresIn, credential.ParseExpiresIn(k.found[0].ExpiresIn), "what is kept says the same")
			test.check(t, out)
		})
	}
}
