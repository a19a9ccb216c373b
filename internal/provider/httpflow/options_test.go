package httpflow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/httpflow"
)

const shopURL = "https://shop.example"

// Each mistake is told with the key that has to be changed, and what to do.
func TestCheck(t *testing.T) {
	t.Parallel()
	shopWith := func(change func(*httpflow.Options)) httpflow.Options {
		o := shop(shopURL)
		o.Name = "shop"
		change(&o)
		return o
	}
	login := func(change func(*httpflow.Request)) httpflow.Options {
		return shopWith(func(o *httpflow.Options) { change(&o.Login.Request) })
	}
	place := func(p httpflow.Place) httpflow.Options {
		return shopWith(func(o *httpflow.Options) { o.Login.Response.AccessToken = p })
	}
	failure := func(f httpflow.Failure) httpflow.Options {
		return shopWith(func(o *httpflow.Options) { o.Failures = []httpflow.Failure{f} })
	}
	for want, o := range map[string]httpflow.Options{
		"name: a provider needs a name":                                            shop(shopURL),
		"calls: no call is declared":                                               {Name: "x"},
		"login.request.url: it is not an absolute URL":                             login(func(r *httpflow.Request) { r.URL = "/authenticate" }),
		"login.request.url: it has scheme \"ftp\"; give https":                     login(func(r *httpflow.Request) { r.URL = "ftp://shop.example/" }),
		"login.request.url: it is http, which shows every token":                   login(func(r *httpflow.Request) { r.URL = "http://shop.example/" }),
		"login.request.url: it is refused: link-local and metadata":                login(func(r *httpflow.Request) { r.URL = "https://169.254.169.254/" }),
		"login.request.url: it has a template in its host":                         login(func(r *httpflow.Request) { r.URL = "https://{{.username}}.example/" }),
		"login.request.url: it has a template in its host, by which":               login(func(r *httpflow.Request) { r.URL = "https://shop.example:{{.username}}" }),
		"login.request.url: it has a fragment":                                     login(func(r *httpflow.Request) { r.URL = "https://shop.example/#{{.username}}" }),
		"login.request.url: it has a user in it; give the header":                  login(func(r *httpflow.Request) { r.URL = "https://u:secret@shop.example/" }),
		"login.request.url: \"{{.user}}\" is not a known field":                    login(func(r *httpflow.Request) { r.URL = "https://shop.example/{{.user}}" }),
		"login.request.url: it cannot be read as a URL":                            login(func(r *httpflow.Request) { r.URL = "https://shop.example/%zz" }),
		"login.request.url: a part of its path is . or ..":                         login(func(r *httpflow.Request) { r.URL = "https://shop.example/a/../b" }),
		"login.request.url: is not an absolute URL":                                {},
		"login.request.method: it is \"HEAD\"; give one of [GET POST PUT":          login(func(r *httpflow.Request) { r.Method = "HEAD" }),
		"login.request.method: it is GET, and there is a body":                     login(func(r *httpflow.Request) { r.Method = "GET" }),
		"login.request: it has more than one of form, json and graphql":            login(func(r *httpflow.Request) { r.JSON = 1 }),
		"login.request: it has no {{.password}} in it":                             login(func(r *httpflow.Request) { r.Form = map[string]string{"u": "{{.username}}"} }),
		"login.request.form.p: \"{{.pasword}}\" is not a known field":              login(func(r *httpflow.Request) { r.Form["p"] = "{{.pasword}}" }),
		"login.request.form.p: {{.access_token}} is not known to this call":        login(func(r *httpflow.Request) { r.Form["p"] = "{{.access_token}}" }),
		"login.request.form: a name is empty or has a template":                    login(func(r *httpflow.Request) { r.Form["{{.password}}"] = "x" }),
		"login.request.query: a name is empty or has a template":                   login(func(r *httpflow.Request) { r.Query = map[string]string{"": "x"} }),
		"login.request.headers.a b: \"a b\" is not the name of a header":           login(func(r *httpflow.Request) { r.Headers = map[string]string{"a b": "x"} }),
		"login.request.headers.A\r\nB: \"A\\r\\nB\" is not the name of a header":   login(func(r *httpflow.Request) { r.Headers = map[string]string{"A\r\nB": "x"} }),
		"login.request.headers.host: \"host\" says where":                          login(func(r *httpflow.Request) { r.Headers = map[string]string{"host": "x"} }),
		"login.request.headers.Idempotency-Key: \"Idempotency-Key\" says":          login(func(r *httpflow.Request) { r.Headers = map[string]string{"Idempotency-Key": "x"} }),
		"login.request.headers.Proxy-Authorization: \"Proxy-Authorization\" says":  login(func(r *httpflow.Request) { r.Headers = map[string]string{"Proxy-Authorization": "x"} }),
		"login.request.headers.X: it has a control character or a line":            login(func(r *httpflow.Request) { r.Headers = map[string]string{"X": "a\r\nb"} }),
		"login.request.headers.x-a: it is given twice":                             login(func(r *httpflow.Request) { r.Headers = map[string]string{"x-a": "1", "X-A": "2"} }),
		"login.response.access_token: it is missing; give the place":               place(httpflow.Place{}),
		"login.response.access_token: give one of a JSON path":                     place(httpflow.Place{JSON: "a", Header: "B"}),
		"login.response.access_token: the path \"a.\": its last part is empty":     place(httpflow.Place{JSON: "a."}),
		"login.response.access_token: it is not the name of a header":              place(httpflow.Place{Cookie: "a=b"}),
		"login.response.access_token: unit is \"s\"; an expiry has one":            place(httpflow.Place{JSON: "a", Unit: httpflow.UnitSeconds}),
		"refresh.response.expires_in: unit is \"min\"; an expiry has one of s, ms": shopWith(func(o *httpflow.Options) { o.Refresh.Response.ExpiresIn.Unit = "min" }),
		"refresh.request: it has no {{.refresh_token}} in it":                      shopWith(func(o *httpflow.Options) { o.Refresh.Request.JSON = map[string]any{"a": 1} }),
		"login.request.json: \"{{.pasword}}\" is not a known field; known are {{.username}}, {{.password}} and {{.subject}}": login(func(r *httpflow.Request) {
			r.Form, r.JSON = nil, "{{.pasword}}"
		}),
		"refresh.request.json.a[1].b: {{.password}} is not known to this call": shopWith(func(o *httpflow.Options) {
			o.Refresh.Request.JSON = map[string]any{"a": []any{1, map[string]string{"b": "{{.password}}"}}}
		}),
		"refresh.request.json: a name has a template in it":                           shopWith(func(o *httpflow.Options) { o.Refresh.Request.JSON = map[string]any{"{{.subject}}": 1} }),
		"refresh.request.json: it is no JSON value":                                   shopWith(func(o *httpflow.Options) { o.Refresh.Request.JSON = func() {} }),
		"logout.request.url: {{.subject}} is not known to this call; known are [acc":  shopWith(func(o *httpflow.Options) { o.Logout.Request.URL += "/{{.subject}}" }),
		"logout.request.headers.Authorization: the token would travel in this header": shopWith(func(o *httpflow.Options) { o.Logout.Request.Headers["Authorization"] = "Basic eDp5" }),
		"logout.request.headers.X-Session: the token would travel in this header": shopWith(func(o *httpflow.Options) {
			o.Send = httpflow.Send{As: httpflow.AsHeader, Name: "X-Session"}
			o.Logout.Request.Headers = map[string]string{"X-Session": "1"}
		}),
		"send: it has the name \"X\", but a bearer token":                              shopWith(func(o *httpflow.Options) { o.Send.Name = "X" }),
		"send: it is \"query\"; give bearer, a header or a cookie":                     shopWith(func(o *httpflow.Options) { o.Send.As = "query" }),
		"send.header: \"\" is not the name of a header":                                shopWith(func(o *httpflow.Options) { o.Send.As = httpflow.AsHeader }),
		"send.cookie: it is not the name of a cookie":                                  shopWith(func(o *httpflow.Options) { o.Send = httpflow.Send{As: httpflow.AsCookie, Name: "a b"} }),
		"errors[0]: invalid error matcher: it fits every reply":                        shopWith(func(o *httpflow.Options) { o.Matchers = []provider.Matcher{{Class: credential.ClassPermanent}} }),
		"refresh.failed_when[0]: it fits every reply":                                  shopWith(func(o *httpflow.Options) { o.Refresh.Failures = make([]httpflow.Failure, 1) }),
		"session.logged_out_when[0]: it fits every reply; give a status":               failure(httpflow.Failure{}),
		"session.logged_out_when[0]: equals has no json":                               failure(httpflow.Failure{Equals: "x"}),
		"session.logged_out_when[0]: status is 99 to 99; give one within 200 to 599":   failure(httpflow.Failure{StatusFrom: 99, StatusTo: 99}),
		"session.logged_out_when[0]: status is 500 to 400; give one within 200 to 599": failure(httpflow.Failure{StatusFrom: 500, StatusTo: 400}),
		"session.logged_out_when[0]: status is 401 to 401, and a redirect has one":     failure(httpflow.Failure{StatusFrom: 401, StatusTo: 401, Redirect: true}),
		"session.logged_out_when[0]: class is \"ok\"; give one of":                     failure(httpflow.Failure{StatusFrom: 401, StatusTo: 401, Class: credential.ClassOK}),
		"session.logged_out_when[0]: reason is \"odd\"; give one of":                   failure(httpflow.Failure{StatusFrom: 401, StatusTo: 401, Reason: "odd"}),
		"session.logged_out_when[0]: the path \"a)\": a ) has no (":                    failure(httpflow.Failure{JSON: "a)"}),
	} {
		if want == "login.request.url: is not an absolute URL" {
			o = login(func(r *httpflow.Request) { r.URL = "https:///x" })
			want = "login.request.url: it is not an absolute URL"
		}
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			err := httpflow.Check(o)
			require.ErrorIs(t, err, provider.ErrSettings)
			require.ErrorContains(t, err, "invalid provider settings: "+want)
			assert.NotContains(t, err.Error(), "secret")
			_, again := httpflow.New(o)
			require.EqualError(t, again, err.Error())
		})
	}
}

// TestBadNameHidesNoField: a template under a name that is refused is in the request
// all the same, so that nothing is said to be missing.
func TestBadNameHidesNoField(t *testing.T) {
	t.Parallel()
	err := httpflow.Check(httpflow.Options{Name: "shop", Login: &httpflow.Call{
		Request:  httpflow.Request{URL: shopURL, Form: map[string]string{"": "{{.password}}"}},
		Response: httpflow.Response{AccessToken: httpflow.Place{JSON: "t"}},
	}})
	require.ErrorContains(t, err, "login.request.form: a name is empty")
	assert.NotContains(t, err.Error(), "it has no {{.password}} in it")
}

func TestCheckGraphQL(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]httpflow.Request{
		"login.request.graphql.query: it is empty":               {GraphQL: &httpflow.GraphQL{Query: " "}},
		"login.request.graphql.query: it has a template in it":   {GraphQL: &httpflow.GraphQL{Query: `{login(p:"{{.password}}"){t}}`}},
		"login.request.graphql.operation_name: it has a":         {GraphQL: &httpflow.GraphQL{Query: "{a}", OperationName: "{{.username}}"}},
		"login.request.method: it is PUT, and GraphQL is a POST": {Method: "PUT", GraphQL: &httpflow.GraphQL{Query: "{a}"}},
		"login.request.graphql.variables.p: {{.refresh_token}}":  {GraphQL: &httpflow.GraphQL{Query: "{a}", Variables: map[string]any{"p": "{{.refresh_token}}"}}},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			r.URL = shopURL
			err := httpflow.Check(httpflow.Options{Name: "shop", Login: &httpflow.Call{
				Request: r, Response: httpflow.Response{AccessToken: httpflow.Place{JSON: "t"}},
			}})
			require.ErrorIs(t, err, provider.ErrSettings)
			require.ErrorContains(t, err, want)
		})
	}
}

// All mistakes are told at once.
func TestCheckTellsAll(t *testing.T) {
	t.Parallel()
	o := shop("http://shop.example")
	o.Failures = []httpflow.Failure{{}}
	err := httpflow.Check(o)
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	assert.Len(t, lines, 5, err)
}

func TestNewRefusesWhatOnlyItSees(t *testing.T) {
	t.Parallel()
	o := shop(shopURL)
	o.Name, o.Timeout = "shop", -time.Second
	require.NoError(t, httpflow.Check(o))
	_, err := httpflow.New(o)
	require.ErrorIs(t, err, provider.ErrSettings)
	require.ErrorContains(t, err, "-1s")
}

// The settings are not changed by being used, so that they can be used again.
func TestOptionsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	o := shop(shopURL)
	o.Name = "shop"
	o.Refresh.Request.JSON = map[string]any{"a": []any{"{{.refresh_token}}"}}
	require.NoError(t, httpflow.Check(o))
	assert.Equal(t, map[string]any{"a": []any{"{{.refresh_token}}"}}, o.Refresh.Request.JSON)
}
