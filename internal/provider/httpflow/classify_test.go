package httpflow_test

import (
	"maps"
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

const (
	loginPage = `<!DOCTYPE html><html><form><input name="p" type="password"></form></html>`
	otherPage = "\n<!-- x --><HTML><body>Welcome</body></HTML>"
	noUser    = `{"errors":[{"message":"x"},{"extensions":{"code":"UNAUTHENTICATED"}}],"data":{"me":null}}`
)

// row is a reply to a call, and what it means.
type row struct {
	answer says
	class  credential.Class
	reason credential.Reason
	access string // that is kept
}

func dead(reason credential.Reason, answer says) row {
	return row{answer: answer, class: credential.ClassPermanent, reason: reason}
}

func other(class credential.Class, reason credential.Reason, answer says) row {
	return row{answer: answer, class: class, reason: reason}
}

func status(n int) says { return says{status: n} }

func to(n int, location string) says { return says{status: n, header: []string{"Location", location}} }

func (a says) with(header ...string) says {
	a.header = append(append([]string(nil), a.header...), header...)
	return a
}

func (a says) saying(body string) says {
	a.body = body
	return a
}

// same are the rows that hold for every call.
func same() map[string]row {
	return map[string]row{
		"too many requests":  other(credential.ClassRateLimited, credential.ReasonRateLimited, status(429).with("Retry-After", "7")),
		"timeout":            other(credential.ClassTransient, credential.ReasonUnavailable, status(408)),
		"internal error":     other(credential.ClassTransient, credential.ReasonUnavailable, status(500).saying(loginPage)),
		"unavailable":        other(credential.ClassTransient, credential.ReasonUnavailable, status(503).with("Set-Cookie", "sid=anonymous")),
		"not found":          other(credential.ClassOperator, credential.ReasonClientMisconfigured, status(404)),
		"method not allowed": other(credential.ClassOperator, credential.ReasonClientMisconfigured, status(405)),
		"moved":              other(credential.ClassOperator, credential.ReasonClientMisconfigured, to(301, "https://elsewhere.example/")),
		"moved for good":     other(credential.ClassOperator, credential.ReasonClientMisconfigured, to(308, "/login")),
		"conflict":           other(credential.ClassRefused, credential.ReasonInvalidRequest, status(409)),
		"conflict, in words": other(credential.ClassRefused, credential.ReasonInvalidRequest, status(409).saying(`{"error":"conflict","message":"try again"}`)),
		"gone":               other(credential.ClassRefused, credential.ReasonInvalidRequest, status(410)),
		"unprocessable":      other(credential.ClassRefused, credential.ReasonInvalidRequest, status(422)),
		"too early":          other(credential.ClassRefused, credential.ReasonInvalidRequest, status(425)),
		"bad request":        other(credential.ClassRefused, credential.ReasonInvalidRequest, status(400)),
		"teapot":             other(credential.ClassRefused, credential.ReasonInvalidRequest, status(418).with("Set-Cookie", "sid=anonymous")),
	}
}

func checkRows(t *testing.T, m credential.Method, use func(url string) httpflow.Options, rows map[string]row) {
	t.Helper()
	for name, test := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, test.answer.ServeHTTP)
			out, k := present(t, newProvider(t, use(s.URL)), m)
			assert.Equal(t, test.class, out.Class, out.Detail)
			assert.Equal(t, test.reason, out.Reason, out.Detail)
			assert.Equal(t, test.access, out.Token.Access.Reveal())
			assert.Equal(t, test.access, strings.Join(k.access(), ","))
			assert.Len(t, s.Received(), 1)
			if test.answer.status == 429 {
				assert.Equal(t, 7*time.Second, out.RetryAfter)
			}
			assert.True(t, strings.HasPrefix(out.Detail, "HTTP "), out.Detail)
		})
	}
}

func TestClassifyLogin(t *testing.T) {
	t.Parallel()
	refused, locked := credential.ReasonLoginRefused, credential.ReasonAccountLocked
	rows := same()
	maps.Copy(rows, map[string]row{
		"a cookie":                     {answer: status(200).with("Set-Cookie", "sid=S1"), class: credential.ClassOK, access: "S1"},
		"a cookie and a page":          {answer: status(200).with("Set-Cookie", "sid=S1").saying(otherPage), class: credential.ClassOK, access: "S1"},
		"a cookie and a way on":        {answer: to(303, "/home").with("Set-Cookie", "sid=S1"), class: credential.ClassOK, access: "S1"},
		"unauthorized":                 dead(refused, status(401)),
		"with an anonymous session":    dead(refused, status(401).with("Set-Cookie", "sid=anonymous")),
		"forbidden":                    dead(refused, status(403)),
		"locked":                       dead(locked, status(423)),
		"locked, as a code":            dead(locked, status(403).saying(`{"error":{"code":"ACCOUNT_LOCKED"}}`)),
		"a code":                       dead(refused, status(400).saying(`{"error":"invalid_credentials"}`)),
		"a code of OAuth":              dead(refused, status(400).saying(`{"error":"invalid_grant"}`)),
		"a code of 422":                dead(refused, status(422).saying(`{"code":"wrong-password"}`)),
		"a code of 200":                dead(refused, json(`{"error":"InvalidPassword"}`)),
		"being processed":              other(credential.ClassNotProcessed, credential.ReasonUnavailable, status(409).saying(`{"error":"unauthorized","message":"a login is already being processed"}`)),
		"MFA":                          dead(credential.ReasonInteractionRequired, status(401).saying(`{"error":"mfa_required"}`)),
		"a login page":                 dead(refused, json(loginPage).with("Set-Cookie", "sid=anonymous")),
		"another page":                 other(credential.ClassRefused, credential.ReasonMalformedReply, json(otherPage)),
		"a page that says so":          other(credential.ClassRefused, credential.ReasonMalformedReply, json("<p>no").with("Content-Type", "text/html; charset=utf-8")),
		"to a login page":              dead(refused, to(302, "/sign-in?error=1").with("Set-Cookie", "sid=anonymous")),
		"back to where it was":         dead(refused, to(302, "login").with("Set-Cookie", "sid=anonymous")),
		"back to where it was, in all": dead(refused, to(303, "https://air.example/account/login/?e=1").with("Set-Cookie", "sid=anonymous")),
		"GraphQL":                      dead(refused, json(noUser)),
		"the cookie is deleted":        dead(refused, json("{}").with("Set-Cookie", "sid=x; Max-Age=0")),
		"nothing":                      other(credential.ClassRefused, credential.ReasonMalformedReply, json("")),
		"no content":                   other(credential.ClassRefused, credential.ReasonMalformedReply, status(204)),
		"JSON without it":              other(credential.ClassRefused, credential.ReasonMalformedReply, json(`{"ok":true}`)),
		"another cookie":               other(credential.ClassRefused, credential.ReasonMalformedReply, json(`{}`).with("Set-Cookie", "SID=x")),
		"an operator's code":           other(credential.ClassOperator, credential.ReasonClientMisconfigured, status(401).saying(`{"error":"invalid_client"}`)),
		"session expired":              other(credential.ClassRefused, credential.ReasonInvalidRequest, status(419)),
		"deleted where it is used":     dead(refused, status(200).with("Set-Cookie", "sid=; Path=/app; Max-Age=0")),
	})
	checkRows(t, credential.MethodLogin, airline, rows)
}

// A redirect is a refusal where it leads back to a form, and nowhere else: where
// it leads elsewhere without the token, nothing was said of name and password.
func TestClassifyLoginRedirect(t *testing.T) {
	t.Parallel()
	refused := credential.ReasonLoginRefused
	away := func(answer says) row { return other(credential.ClassTransient, credential.ReasonUnavailable, answer) }
	unread := func(answer says) row { return other(credential.ClassRefused, credential.ReasonMalformedReply, answer) }
	moved := func(answer says) row {
		return other(credential.ClassOperator, credential.ReasonClientMisconfigured, answer)
	}
	checkRows(t, credential.MethodLogin, airline, map[string]row{
		"a maintenance page":            away(to(302, "https://status.example/maintenance")),
		"a maintenance page of its own": away(to(302, "/maintenance.html")),
		"the same path elsewhere":       away(to(302, "https://status.example/")),
		"for now":                       away(to(307, "https://status.example/maintenance")),
		"for now, with a cookie":        away(to(307, "/home").with("Set-Cookie", "sid=S1")),
		"nowhere":                       away(status(302)),
		"no address":                    away(to(302, "http://a b/%zz")),
		"another cookie":                unread(to(303, "/home").with("Set-Cookie", "SID=x", "Set-Cookie", "theme=dark")),
		"another cookie, elsewhere":     unread(to(302, "https://app.example/home").with("Set-Cookie", "SID=x")),
		"the cookie is deleted":         unread(to(302, "/?error=1").with("Set-Cookie", "sid=; Max-Age=0")),
		"with the cookie, elsewhere":    {answer: to(302, "https://app.example/home").with("Set-Cookie", "sid=S1"), class: credential.ClassOK, access: "S1"},
		"a login page elsewhere":        dead(refused, to(302, "https://sso.example/auth/login?next=x")),
		"a failure of the login":        dead(refused, to(302, "/login-failed")),
		"a form":                        dead(refused, to(303, "/login_form.php")),
		"where it was, with a query":    dead(refused, to(302, "?error=1")),
		"moved, with a slash":           moved(to(307, "/account/login/")),
		"moved":                         moved(to(301, "/login")),
		"not modified":                  moved(status(304)),
	})
	atRoot := func(url string) httpflow.Options {
		o := airline(url)
		o.Login.Request.URL, o.Login.Response.AccessToken = url+"/", httpflow.Place{Header: "X-Session"}
		return o
	}
	checkRows(t, credential.MethodLogin, atRoot, map[string]row{
		"the same path elsewhere": away(to(302, "https://status.example/")),
		"where it was":            dead(refused, to(302, "/")),
		"another header":          unread(to(303, "/home").with("X-Sesion", "x")),
		"a maintenance page":      away(to(302, "https://status.example/maintenance")),
		"the header":              {answer: to(303, "/home").with("X-Session", "S1"), class: credential.ClassOK, access: "S1"},
		"moved to TLS":            moved(to(302, "https://127.0.0.1/")),
	})
}

func TestClassifyRefresh(t *testing.T) {
	t.Parallel()
	gone := credential.ReasonInvalidGrant
	rows := same()
	maps.Copy(rows, map[string]row{
		"tokens":              {answer: json(`{"token":"AT","refreshToken":"RT"}`), class: credential.ClassOK, access: "AT"},
		"no new one":          {answer: json(`{"token":"AT"}`), class: credential.ClassOK, access: "AT"},
		"something behind it": {answer: json(`{"token":"AT"} ;`), class: credential.ClassOK, access: "AT"},
		"tokens with 500":     {answer: status(500).saying(`{"token":"AT"}`), class: credential.ClassTransient, reason: credential.ReasonUnavailable, access: "AT"},
		"tokens with 401":     {answer: status(401).saying(`{"token":"AT"}`), class: credential.ClassPermanent, reason: gone, access: "AT"},
		"unauthorized":        dead(gone, status(401)),
		"forbidden":           dead(gone, status(403)),
		"session expired":     dead(gone, status(419)),
		"a code":              dead(gone, status(400).saying(`{"error":"invalid_grant"}`)),
		"a code of its own":   dead(gone, status(400).saying(`{"error":{"code":"RefreshTokenExpired"}}`)),
		"a code with 200":     dead(gone, json(`{"error":"bad_refresh_token"}`)),
		"a code in words":     dead(gone, json(`{"error":"session expired"}`)),
		"GraphQL":             dead(gone, json(noUser)),
		"being processed":     other(credential.ClassNotProcessed, credential.ReasonUnavailable, status(400).saying(`{"error":"invalid_grant","error_description":"token request is already being processed"}`)),
		"so, with 409":        other(credential.ClassNotProcessed, credential.ReasonUnavailable, status(409).saying(`{"error":{"code":"invalid_token","message":"Refresh Already being processed"}}`)),
		"so, with 401":        other(credential.ClassNotProcessed, credential.ReasonUnavailable, status(401).saying(`{"message":"this refresh is already being processed"}`)),
		"wrong client":        other(credential.ClassOperator, credential.ReasonClientMisconfigured, status(401).saying(`{"error":"invalid_client"}`)),
		"slow down":           other(credential.ClassRateLimited, credential.ReasonRateLimited, status(400).saying(`{"error":"slow_down"}`)),
		"a redirect":          other(credential.ClassTransient, credential.ReasonUnavailable, to(302, "/login")),
		"a redirect for once": other(credential.ClassTransient, credential.ReasonUnavailable, to(307, "/elsewhere")),
		"moved":               other(credential.ClassOperator, credential.ReasonClientMisconfigured, to(308, "/v2/token")),
		"a login page":        other(credential.ClassAmbiguous, credential.ReasonMalformedReply, json(loginPage)),
		"nothing":             other(credential.ClassAmbiguous, credential.ReasonMalformedReply, json("")),
		"a number":            other(credential.ClassAmbiguous, credential.ReasonMalformedReply, json(`{"token":5,"refreshToken":6}`)),
		"a truth value":       other(credential.ClassAmbiguous, credential.ReasonMalformedReply, json(`{"token":true,"refreshToken":null}`)),
		"an empty token":      other(credential.ClassAmbiguous, credential.ReasonMalformedReply, json(`{"token":""}`)),
		"a line in it":        other(credential.ClassAmbiguous, credential.ReasonMalformedReply, json(`{"token":"a\nb"}`)),
		"UTF-16":              other(credential.ClassAmbiguous, credential.ReasonMalformedReply, json("\xff\xfe{\x00}\x00")),
		"broken, with one":    {answer: json(`{"token":"AT","refreshToken":"RT`), class: credential.ClassAmbiguous, reason: credential.ReasonMalformedReply, access: "AT"},
	})
	checkRows(t, credential.MethodRefresh, shop, rows)
}

// That another request with the same token, or for the same user, is being served
// means that nothing was spent by this one, wherever the words stand and whatever
// status and codes are beside them. A reply that is a success is one all the same.
func TestClassifyBeingProcessed(t *testing.T) {
	t.Parallel()
	graph := func(url string) httpflow.Options {
		call := func(query string, variables map[string]any) *httpflow.Call {
			return &httpflow.Call{
				Request:  httpflow.Request{URL: url, GraphQL: &httpflow.GraphQL{Query: query, Variables: variables}},
				Response: httpflow.Response{AccessToken: httpflow.Place{JSON: "data.login.token"}, RefreshToken: httpflow.Place{JSON: "data.login.refresh"}},
			}
		}
		return httpflow.Options{
			Login:   call("mutation($u:String!,$p:String!){login(u:$u,p:$p){token}}", map[string]any{"u": "{{.username}}", "p": "{{.password}}"}),
			Refresh: call("mutation($r:String!){login(r:$r){token}}", map[string]any{"r": "{{.refresh_token}}"}),
		}
	}
	later := func(answer says) row {
		return other(credential.ClassNotProcessed, credential.ReasonUnavailable, answer)
	}
	graphQL := func(status int, code string) says {
		return says{status: status, body: `{"errors":[{"message":"x"},{"message":"This token is already being processed","extensions":{"code":"` + code + `"}}],"data":null}`}
	}
	plain := func(status int, body string) says {
		return says{status: status, body: body, header: []string{"Content-Type", "text/plain; charset=utf-8"}}
	}
	rows := map[string]row{
		"GraphQL":                later(graphQL(200, "UNAUTHENTICATED")),
		"GraphQL with 400":       later(graphQL(400, "UNAUTHENTICATED")),
		"GraphQL with 401":       later(graphQL(401, "UNAUTHENTICATED")),
		"GraphQL, another code":  later(graphQL(200, "CONFLICT")),
		"GraphQL, the server":    later(graphQL(200, "INTERNAL_SERVER_ERROR")),
		"GraphQL, the query":     later(graphQL(200, "GRAPHQL_VALIDATION_FAILED")),
		"detail":                 later(status(401).saying(`{"code":"invalid_grant","detail":"Request already being processed"}`)),
		"title":                  later(status(409).saying(`{"type":"about:blank","title":"Already Being Processed","detail":"try again"}`)),
		"detail in an error":     later(status(401).saying(`{"error":{"code":"invalid_grant","detail":"already being processed"}}`)),
		"detail in a list":       later(status(409).saying(`{"errors":[{"status":"409","title":"Conflict","detail":"already being processed"}]}`)),
		"title in a list":        later(status(409).saying(`{"errors":[{"title":"already being processed"}]}`)),
		"a list of texts":        later(status(401).saying(`{"errors":["Request already being processed"]}`)),
		"as the error":           later(status(401).saying(`{"error":"Request already being processed"}`)),
		"behind another text":    later(status(401).saying(`{"error":"unauthorized","error_description":"no","message":"already being processed"}`)),
		"a text that is escaped": later(status(401).saying(`{"detail":"already\u0020being processed"}`)),
		"a text in JSON":         later(status(401).saying(`"Request already being processed"`)),
		"plain text":             later(plain(401, "already being processed")),
		"plain text with 200":    later(plain(200, "Request already being processed\n")),
		"with 404":               later(plain(404, "already being processed")),
		"with 503":               later(status(503).saying(`{"message":"already being processed"}`)),
		"with 302":               later(to(302, "/login").saying(`{"message":"already being processed"}`)),
		"with 429":               other(credential.ClassRateLimited, credential.ReasonRateLimited, status(429).with("Retry-After", "7").saying(`{"message":"already being processed"}`)),
		"a success":              {answer: json(`{"data":{"login":{"token":"AT","refresh":"RT"}},"message":"an earlier one is already being processed"}`), class: credential.ClassOK, access: "AT"},
	}
	refused := func(reason credential.Reason) map[string]row {
		return map[string]row{
			"a page":        dead(reason, status(401).saying("<html>already being processed</html>")),
			"a long text":   dead(reason, plain(401, strings.Repeat("x", 1024)+"already being processed")),
			"a cut text":    dead(reason, plain(401, "already being processed").with("Content-Length", "100")),
			"another place": dead(reason, status(401).saying(`{"help":"already being processed"}`)),
			"other words":   dead(reason, status(401).saying(`{"detail":"processed"}`)),
		}
	}
	login := refused(credential.ReasonLoginRefused)
	maps.Copy(login, rows)
	checkRows(t, credential.MethodLogin, graph, login)
	refresh := refused(credential.ReasonInvalidGrant)
	maps.Copy(refresh, rows)
	checkRows(t, credential.MethodRefresh, graph, refresh)
}

func TestClassifySession(t *testing.T) {
	t.Parallel()
	over := credential.ReasonSessionEnded
	rows := same()
	maps.Copy(rows, map[string]row{
		"no content":                {answer: status(204), class: credential.ClassOK},
		"a page":                    {answer: json(otherPage), class: credential.ClassOK},
		"JSON":                      {answer: json(`{"error":"unauthorized","errors":[{"extensions":{"code":"FORBIDDEN"}}]}`), class: credential.ClassOK},
		"a new ID":                  {answer: status(200).with("Set-Cookie", "sid=S2"), class: credential.ClassOK, access: "S2"},
		"two new IDs":               {answer: status(200).with("Set-Cookie", "sid=S2", "Set-Cookie", "sid=S3"), class: credential.ClassOK, access: "S3"},
		"unauthorized":              dead(over, status(401)),
		"with a new session":        dead(over, status(401).with("Set-Cookie", "sid=anonymous")),
		"forbidden":                 dead(over, status(403)),
		"not for this token":        other(credential.ClassRefused, credential.ReasonInvalidRequest, status(403).with("WWW-Authenticate", `Bearer error="insufficient_scope"`)),
		"page expired":              dead(over, status(419)),
		"login timeout":             dead(over, status(440)),
		"found":                     dead(over, to(302, "/login").with("Set-Cookie", "sid=anonymous")),
		"see other":                 dead(over, to(303, "/account/sign-in")),
		"temporarily":               dead(over, to(307, "https://sso.example/login")),
		"elsewhere, deleted":        dead(over, to(302, "/").with("Set-Cookie", "sid=; Max-Age=0")),
		"elsewhere":                 other(credential.ClassTransient, credential.ReasonUnavailable, to(302, "/")),
		"maintenance":               other(credential.ClassTransient, credential.ReasonUnavailable, to(307, "https://status.example/maintenance")),
		"a login page":              dead(over, json(loginPage)),
		"a login page in quotes":    dead(over, json("<html><INPUT TYPE='password'>")),
		"a login page of its own":   dead(over, json("<html><input\ttype = pass&#119;ord\n/>")),
		"a commented one":           {answer: json(`<html><!-- <input type="password"> --><p>Hello`), class: credential.ClassOK},
		"another attribute":         {answer: json(`<html><input type="text" placeholder='type="password"' data-type=password><p>Hello`), class: credential.ClassOK},
		"a script about one":        {answer: json(`<html><script>const field = '<input type="password">'</script><p>Hello`), class: credential.ClassOK},
		"GraphQL":                   dead(over, json(noUser)),
		"GraphQL with 400":          dead(over, status(400).saying(noUser)),
		"deleted":                   dead(over, status(200).with("Set-Cookie", "sid=; Path=/")),
		"deleted long ago":          dead(over, status(200).with("Set-Cookie", "sid=x; Expires=Thu, 01-Jan-1970 00:00:00 GMT")),
		"deleted and then set":      {answer: status(200).with("Set-Cookie", "sid=; Max-Age=-1", "Set-Cookie", "sid=S2"), class: credential.ClassOK, access: "S2"},
		"set, another path deleted": {answer: status(200).with("Set-Cookie", "sid=S2; Path=/", "Set-Cookie", "sid=; Path=/old; Max-Age=0"), class: credential.ClassOK, access: "S2"},
		"deleted at a proxy's path": dead(over, status(200).with("Set-Cookie", "sid=; Path=/shop; Max-Age=0")),
		"guest elsewhere, deleted":  dead(over, status(200).with("Set-Cookie", "sid=guest; Path=/public", "Set-Cookie", "sid=; Path=/; Max-Age=0")),
		"deleted, guest elsewhere":  dead(over, status(200).with("Set-Cookie", "sid=; Path=/; Max-Age=0", "Set-Cookie", "sid=guest; Path=/public")),
		"set at a proxy's path":     {answer: status(200).with("Set-Cookie", "sid=S2; Path=/shop", "Set-Cookie", "sid=; Path=/old; Max-Age=0"), class: credential.ClassOK, access: "S2"},
		"another domain deleted":    dead(over, status(200).with("Set-Cookie", "sid=; Domain=air.example; Max-Age=0")),
		"a code that is no state":   other(credential.ClassRefused, credential.ReasonInvalidRequest, status(400).saying(`{"error":"invalid_grant"}`)),
	})
	checkRows(t, credential.MethodExtend, airline, rows)
}

// A session whose ID came in a body and travels in a cookie is over when that
// cookie is deleted.
func TestClassifyDeletedCookieOfSend(t *testing.T) {
	t.Parallel()
	body := func(url string) httpflow.Options {
		o := airline(url)
		o.Login.Response.AccessToken = httpflow.Place{JSON: "token"}
		o.Refresh = shop(url).Refresh
		return o
	}
	declared := func(url string) httpflow.Options {
		o := body(url)
		o.Extend.Response.AccessToken = httpflow.Place{JSON: "token"}
		return o
	}
	gone := func(body string) says { return json(body).with("Set-Cookie", "sid=; Max-Age=0") }
	rows := map[string]row{
		"deleted":           dead(credential.ReasonSessionEnded, gone(`{}`)),
		"deleted long ago":  dead(credential.ReasonSessionEnded, json(`{}`).with("Set-Cookie", "sid=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT")),
		"another's deleted": {answer: json(`{}`).with("Set-Cookie", "flash=; Max-Age=0"), class: credential.ClassOK},
		"nothing":           {answer: json(`{}`), class: credential.ClassOK},
	}
	checkRows(t, credential.MethodExtend, body, rows)
	checkRows(t, credential.MethodRefresh, body, map[string]row{
		"deleted by a refresh": dead(credential.ReasonInvalidGrant, gone(`{}`)),
		"a newer token":        {answer: gone(`{"token":"AT","refreshToken":"RT"}`), class: credential.ClassOK, access: "AT"},
	})
	checkRows(t, credential.MethodLogin, body, map[string]row{
		"an older one deleted": {answer: gone(`{"token":"AT"}`), class: credential.ClassOK, access: "AT"},
	})
	checkRows(t, credential.MethodExtend, declared, map[string]row{
		"deleted, and told": dead(credential.ReasonSessionEnded, gone(`{"token":"AT"}`)),
	})
}

// A token that is issued in a cookie for where it will be used is not undone by
// the deletion of an older one where it is issued.
func TestClassifyIssuedCookie(t *testing.T) {
	t.Parallel()
	renewed := func(url string) httpflow.Options {
		o := airline(url)
		o.Refresh = shop(url).Refresh
		o.Refresh.Response.AccessToken = httpflow.Place{Cookie: "sid"}
		return o
	}
	extended := func(url string) httpflow.Options {
		o := airline(url)
		o.Extend.Response.RefreshToken = httpflow.Place{Cookie: "rt"}
		return o
	}
	checkRows(t, credential.MethodLogin, airline, map[string]row{
		"login": {answer: status(200).with("Set-Cookie", "sid=S1; Path=/app", "Set-Cookie", "sid=; Path=/; Max-Age=0"), class: credential.ClassOK, access: "S1"},
	})
	checkRows(t, credential.MethodRefresh, renewed, map[string]row{
		"refresh": {answer: json(`{"refreshToken":"RT"}`).with("Set-Cookie", "sid=S2; Path=/app", "Set-Cookie", "sid=; Path=/; Max-Age=0"), class: credential.ClassOK, access: "S2"},
	})
	checkRows(t, credential.MethodExtend, extended, map[string]row{
		"refresh token of a session": {answer: status(200).with("Set-Cookie", "rt=RT; Path=/refresh", "Set-Cookie", "rt=; Path=/; Max-Age=0"), class: credential.ClassOK},
	})
}

// A session call that is answered in JSON has no page for an answer.
func TestClassifyJSONSession(t *testing.T) {
	t.Parallel()
	graph := func(url string) httpflow.Options {
		return httpflow.Options{Extend: &httpflow.Call{
			Request:  httpflow.Request{URL: url, GraphQL: &httpflow.GraphQL{Query: "{me{token}}"}},
			Response: httpflow.Response{AccessToken: httpflow.Place{JSON: "data.me.token"}},
		}}
	}
	const code = `{"errors":[{"extensions":{"code":"%"}}],"data":{"me":null}}`
	failing := func(name string) says { return json(strings.Replace(code, "%", name, 1)) }
	checkRows(t, credential.MethodExtend, graph, map[string]row{
		"a token":     {answer: json(`{"data":{"me":{"token":"AT"}}}`), class: credential.ClassOK, access: "AT"},
		"a page":      other(credential.ClassAmbiguous, credential.ReasonMalformedReply, json(otherPage)),
		"none":        other(credential.ClassAmbiguous, credential.ReasonMalformedReply, json(`{"data":{"me":{}}}`)),
		"a session":   dead(credential.ReasonSessionEnded, failing("UNAUTHENTICATED")),
		"a field":     other(credential.ClassRefused, credential.ReasonInvalidRequest, failing("FORBIDDEN")),
		"the server":  other(credential.ClassTransient, credential.ReasonUnavailable, failing("INTERNAL_SERVER_ERROR")),
		"the query":   other(credential.ClassOperator, credential.ReasonClientMisconfigured, failing("GRAPHQL_VALIDATION_FAILED")),
		"who knows":   other(credential.ClassAmbiguous, credential.ReasonMalformedReply, failing("ODD")),
		"no code":     other(credential.ClassAmbiguous, credential.ReasonMalformedReply, json(`{"errors":[{"message":"x"}]}`)),
		"partly":      {answer: json(`{"errors":[{"message":"x"}],"data":{"me":{"token":"AT"}}}`), class: credential.ClassOK, access: "AT"},
		"a 503 of it": other(credential.ClassTransient, credential.ReasonUnavailable, status(503).saying(`{"data":{"me":{"token":"AT"}}}`)),
		"a 401 of it": dead(credential.ReasonSessionEnded, status(401).saying(`{"data":{"me":{"token":"AT"}}}`)),
	})
}

// What the settings declare comes before everything else.
func TestDeclaredFailures(t *testing.T) {
	t.Parallel()
	answer := says{status: 200, header: []string{"Location", "https://air.example/login?x"}, body: `{"token":"AT","errors":[{"code":"A"},{"code":7}],"ok":false,"text":"Please log in"}`}
	tests := map[string]struct {
		status int // 0: 200
		f      httpflow.Failure
		fits   bool
	}{
		"status":              {0, httpflow.Failure{StatusFrom: 200, StatusTo: 200}, true},
		"other status":        {0, httpflow.Failure{StatusFrom: 201, StatusTo: 201}, false},
		"range":               {0, httpflow.Failure{StatusFrom: 200, StatusTo: 299}, true},
		"other range":         {0, httpflow.Failure{StatusFrom: 400, StatusTo: 499}, false},
		"equals":              {0, httpflow.Failure{JSON: "text", Equals: "Please log in"}, true},
		"equals not":          {0, httpflow.Failure{JSON: "text", Equals: "please log in"}, false},
		"a truth value":       {0, httpflow.Failure{JSON: "ok", Equals: "false"}, true},
		"a number":            {0, httpflow.Failure{JSON: "errors.1.code", Equals: "7"}, true},
		"in a list":           {0, httpflow.Failure{JSON: "errors.#.code", Equals: "7"}, true},
		"in a list, text":     {0, httpflow.Failure{JSON: "errors.#.code", Equals: "A"}, true},
		"not in a list":       {0, httpflow.Failure{JSON: "errors.#.code", Equals: "B"}, false},
		"by a query":          {0, httpflow.Failure{JSON: `errors.#(code=="A").code`}, true},
		"exists":              {0, httpflow.Failure{JSON: "errors"}, true},
		"exists not":          {0, httpflow.Failure{JSON: "error"}, false},
		"contains":            {0, httpflow.Failure{BodyContains: "Please log"}, true},
		"contains not":        {0, httpflow.Failure{BodyContains: "Please  log"}, false},
		"both":                {0, httpflow.Failure{StatusFrom: 200, StatusTo: 200, BodyContains: "log in"}, true},
		"one of both":         {0, httpflow.Failure{StatusFrom: 201, StatusTo: 201, BodyContains: "log in"}, false},
		"no redirect":         {0, httpflow.Failure{Redirect: true}, false},
		"redirect":            {303, httpflow.Failure{Redirect: true}, true},
		"redirect there":      {302, httpflow.Failure{Location: "*/login*"}, true},
		"redirect elsewhere":  {302, httpflow.Failure{Location: "*/home"}, false},
		"its whole URL":       {302, httpflow.Failure{Location: "https://air.example/login*"}, true},
		"its path elsewhere":  {302, httpflow.Failure{Location: "/login*"}, false},
		"redirect and status": {302, httpflow.Failure{Redirect: true, StatusFrom: 307, StatusTo: 307}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := answer
			if test.status != 0 {
				answer.status = test.status
			}
			s := providertest.NewServer(t, answer.ServeHTTP)
			test.f.Class, test.f.Reason = credential.ClassRefused, credential.ReasonPaused // nothing else gives these
			o := shop(s.URL)
			o.Refresh.Failures = []httpflow.Failure{test.f}
			out, _ := present(t, newProvider(t, o), credential.MethodRefresh)
			assert.Equal(t, test.fits, out.Reason == credential.ReasonPaused, "%+v", out)
			if test.fits {
				assert.Contains(t, out.Detail, "refresh.failed_when[0]")
			}
		})
	}
}

// A redirect is known by where it leads, however its Location is written.
func TestDeclaredRedirects(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		location, pattern string // BASE stands for the scheme and the host that are asked
		fits              bool
	}{
		"a path, by its path":          {"/denied?x=1", "/denied*", true},
		"a path, by its URL":           {"/denied?x=1", "BASE/denied*", true},
		"a path, by another host":      {"/denied", "https://elsewhere.example/denied", false},
		"a path, by any host":          {"/denied", "*://*/denied", true},
		"a path, by a part of no path": {"/home", "*127.0.0.1*", false},
		"a URL, by its path":           {"BASE/denied?x=1", "/denied*", true},
		"a URL, by itself":             {"BASE/denied?x=1", "BASE/denied*", true},
		"a URL without its scheme":     {"//elsewhere.example/denied", "*://elsewhere.example/*", true},
		"another host, by its path":    {"https://elsewhere.example/denied", "/denied*", false},
		"beside the request":           {"denied", "/api/denied", true},
		"beside it, as written":        {"denied", "denied", true},
		"dots":                         {"../denied", "/denied", true},
		"a fragment":                   {"BASE/#/denied", "/#/denied", true},
		"a Location that is none":      {"http://%zz/denied", "*://*/denied", true},
		"no Location":                  {"", "/denied", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, func(w http.ResponseWriter, r *http.Request) {
				to(http.StatusFound, strings.Replace(test.location, "BASE", "http://"+r.Host, 1)).ServeHTTP(w, r)
			})
			o := airline(s.URL)
			o.Extend.Request.URL = s.URL + "/api/me"
			o.Failures = []httpflow.Failure{{
				Location: strings.Replace(test.pattern, "BASE", s.URL, 1), Class: credential.ClassRefused, Reason: credential.ReasonPaused, // nothing else gives these
			}}
			out, _ := present(t, newProvider(t, o), credential.MethodExtend)
			assert.Equal(t, test.fits, out.Reason == credential.ReasonPaused, "%+v", out)
		})
	}
}

// What a declared failure means where nothing more is declared, and in which
// order they are looked for.
func TestDeclaredFailuresMean(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, says{status: 200, header: []string{"Set-Cookie", "sid=S1"}, body: `{"error":"odd","token":"AT","refreshToken":"RT"}`}.ServeHTTP)
	o := shop(s.URL)
	o.Extend = airline(s.URL).Extend
	o.Failures = []httpflow.Failure{{JSON: "error", Equals: "odd"}}
	o.Matchers = []provider.Matcher{{Error: "odd", Class: credential.ClassRateLimited}}
	for _, row := range []struct {
		method credential.Method
		reason credential.Reason
	}{
		{credential.MethodLogin, credential.ReasonRateLimited}, // what calls share is not for the login
		{credential.MethodRefresh, credential.ReasonInvalidGrant},
		{credential.MethodExtend, credential.ReasonSessionEnded},
	} {
		out, k := present(t, newProvider(t, o), row.method)
		assert.Equal(t, row.reason, out.Reason, row.method)
		if row.method != credential.MethodLogin {
			assert.Empty(t, k.found, "a declared end has no token")
			assert.Equal(t, "HTTP 200, session.logged_out_when[0]", out.Detail)
		} else {
			assert.Equal(t, "HTTP 200, errors[0]", out.Detail)
		}
	}
	o.Refresh.Failures = []httpflow.Failure{{StatusFrom: 200, StatusTo: 200, Class: credential.ClassAmbiguous}}
	out, k := present(t, newProvider(t, o), credential.MethodRefresh)
	assert.Equal(t, credential.ClassAmbiguous, out.Class)
	assert.Equal(t, []string{"RT"}, k.refresh(), "what came is kept where the end is not certain")

	o.Matchers[0].Class = credential.ClassPermanent
	out, _ = present(t, newProvider(t, o), credential.MethodLogin)
	assert.Equal(t, credential.ReasonLoginRefused, out.Reason)
}

// Revoke, Verify and UserData hear of a session's end as an extension does.
func TestOtherCallsEnd(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, to(http.StatusFound, "/login").with("Set-Cookie", "sid=anonymous").ServeHTTP)
	p := newProvider(t, airline(s.URL))
	token := credential.Token{Access: credential.NewSecret("AT")}
	_, told := p.UserData(t.Context(), token, "", nil)
	assert.Equal(t, credential.ReasonSessionEnded, told.Reason)
	verified := p.Verify(t.Context(), token, "", nil)
	assert.Equal(t, credential.ReasonRejected, verified.Reason, "sessions are not verified")
	for _, out := range []credential.Outcome{verified, told} {
		assert.Equal(t, credential.ClassPermanent, out.Class)
		assert.True(t, out.Token.Access.IsZero())
	}
	require.NoError(t, p.Revoke(t.Context(), token))
}
