package config

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// session is a row for a session of the shop.
func session(text string) string { return shopWith("session: {" + text + "}") }

// reply is a row for what the shop's refresh yields.
func reply(text string) string {
	return shopWith("refresh: {request: {method: POST, url: https://shop.example, form: {t: '{{.refresh_token}}'}}, response: {" + text + "}}")
}

// failure is a row for what recognises a failure.
func failure(text string) string {
	return shopWith("verify: {request: {method: GET, url: https://shop.example}, failed_when: [{" + text + "}]}")
}

func TestBackendsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		text string
		want []string
	}{
		// Kinds
		"a key of oauth2":           {shopWith("client_id: x"), []string{":10: providers.shop.client_id: it belongs to kind: oauth2; remove it, or set kind: oauth2"}},
		"a URL of oauth2":           {shopWith("token_url: https://x"), []string{":10: providers.shop.token_url: it belongs to kind: oauth2"}},
		"no way to a token":         {"providers: {s: {kind: http, logout: {request: {method: POST, url: https://s.example}}}}", []string{"providers.s: neither login, refresh nor session.extend is set"}},
		"unknown key in a call":     {call("verify", ", body: x"), []string{":10: providers.shop.verify.request.body: there is no such key; known here: method, url, query, headers, form, json, graphql"}},
		"a text for a call":         {shopWith("verify: https://shop.example"), []string{"providers.shop.verify: a mapping is expected, not a single value"}},
		"a call without a request":  {shopWith("verify: {}"), []string{"providers.shop.verify.request.method: it is missing", "providers.shop.verify.request.url: it is missing; write https://"}},
		"a refresh without a token": {shopWith("refresh: {request: {method: POST, url: https://shop.example}, response: {access_token: t}}"), []string{"providers.shop.refresh.request: {{.refresh_token}} stands nowhere in it, and a refresh presents the refresh token"}},
		"rotation without a place":  {reply("access_token: t") + "    rotation: {rotates: yes}\n", []string{":11: providers.shop.rotation.rotates: yes means that every refresh brings a new refresh token, and refresh.response.refresh_token is not set"}},

		// Templates
		"template of unknown field": {call("verify", ", form: {a: '{{.usrname}}'}"), []string{`providers.shop.verify.request.form.a: "{{.usrname}}" is not a known field; known are {{.access_token}} and {{.refresh_token}}`}},
		"a password misspelt":       {"providers: {s: {kind: http, login: {request: {method: POST, url: https://s.example, form: {a: '{{.pasword}}'}}}}}", []string{`providers.s.login.request.form.a: "{{.pasword}}" is not a known field; known are {{.username}} and {{.password}}`}},
		"an unknown field in JSON":  {call("verify", ", json: {a: [{b: 'x {{.usr}}'}]}"), []string{`:10: providers.shop.verify.request.json.a[0].b: "{{.usr}}" is not a known field`}},
		"a field without end":       {call("verify", ", headers: {A: 'Bearer {{.access_token'}"), []string{"providers.shop.verify.request.headers.A: a {{ has no }}"}},
		"a function":                {call("verify", ", query: {a: '{{html .subject}}'}"), []string{`"{{html .subject}}" is not a known field`}},
		"no password in a login":    {"providers: {s: {kind: http, login: {request: {method: POST, url: https://s.example, form: {a: '{{.username}}'}}, response: {access_token: t}}}}", []string{"providers.s.login.request: {{.password}} stands nowhere in it, and a login presents the password"}},
		"a token in a login":        {"providers: {s: {kind: http, login: {request: {method: POST, url: https://s.example, form: {a: '{{.access_token}}'}}}}}", []string{"providers.s.login.request.form.a: {{.access_token}} is not known in login; known there: {{.username}}, {{.password}}"}},
		"a password in a refresh":   {shopWith("refresh: {request: {method: POST, url: https://shop.example, form: {a: '{{.password}}'}}}"), []string{"refresh.request.form.a: {{.password}} is not known in refresh; known there: {{.refresh_token}}, {{.access_token}}, {{.subject}}"}},
		"a subject in verify":       {call("verify", ", query: {id: '{{.subject}}'}"), []string{"{{.subject}} is not known in verify; known there: {{.access_token}}, {{.refresh_token}}"}},
		"a template for a host":     {shopWith("logout: {request: {method: POST, url: 'https://{{.access_token}}.example/x'}}"), []string{"providers.shop.logout.request.url: a template stands in its host", "write the host out"}},
		"a template for a port":     {shopWith("logout: {request: {method: POST, url: 'https://a.example:{{.access_token}}'}}"), []string{"a template stands in its host"}},
		"a template for a URL":      {shopWith("logout: {request: {method: POST, url: '{{.access_token}}'}}"), []string{"a template stands in its host"}},
		"a template for a name":     {call("verify", ", json: {'{{.access_token}}': 1}"), []string{"providers.shop.verify.request.json: a name in it holds {{, and templates stand in values only"}},
		"a template from outside":   {call("verify", ", form: {a: {file: config.yaml}}"), []string{"providers.shop.verify.request.form.a: it holds"}},
		"a query with templates":    {call("user_data", ", graphql: {query: 'query { user(id: \"{{.subject}}\") { id } }'}"), []string{"providers.shop.user_data.request.graphql.query: it holds {{, and a query is sent as it is", "declare $variables"}},
		"a variable's field":        {call("user_data", ", graphql: {query: 'query{a}', variables: {id: '{{.id}}'}}"), []string{`graphql.variables.id: "{{.id}}" is not a known field`}},
		"variables that are a list": {call("user_data", ", graphql: {query: 'query{a}', variables: [1]}"), []string{"graphql.variables: a mapping is expected"}},
		"an operation's name":       {call("user_data", ", graphql: {query: 'query{a}', operation_name: 'a b'}"), []string{`graphql.operation_name: "a b" is not a name in GraphQL`}},
		"a method of GraphQL":       {shopWith("user_data: {request: {method: PUT, url: https://s.example, graphql: {query: 'query{a}'}}}"), []string{"user_data.request.method: PUT is not the method of graphql, which is POST"}},
		"no query":                  {call("user_data", ", graphql: {}"), []string{"graphql.query: it is missing"}},

		// Requests
		"an unknown method":       {shopWith("verify: {request: {method: FETCH, url: https://shop.example}}"), []string{`providers.shop.verify.request.method: "FETCH" is not one of GET, POST, PUT, PATCH, DELETE`}},
		"no method":               {shopWith("verify: {request: {url: https://shop.example}}"), []string{"providers.shop.verify.request.method: it is missing; write GET or POST"}},
		"form and JSON":           {call("verify", ", form: {a: b}, json: {a: b}"), []string{"providers.shop.verify.request: it has both form and json; a request has one body"}},
		"JSON and GraphQL":        {call("verify", ", json: [], graphql: {query: 'query{a}'}"), []string{"it has both json and graphql"}},
		"GET with a body":         {shopWith("verify: {request: {method: GET, url: https://shop.example, json: {a: b}}}"), []string{":10: providers.shop.verify.request.method: GET has no body, and json is set; write query instead, or method: POST"}},
		"http:// off loopback":    {shopWith("logout: {request: {method: POST, url: http://s.example}}"), []string{"providers.shop.logout.request.url: http://s.example is not encrypted", "http:// is for loopback only"}},
		"a metadata service":      {shopWith("logout: {request: {method: POST, url: http://169.254.169.254/x}}"), []string{"169.254.169.254 is a link-local or metadata address"}},
		"a login in a URL":        {shopWith("logout: {request: {method: POST, url: 'https://u:pa55@s.example'}}"), []string{"providers.shop.logout.request.url: it holds a user or a password before the @"}},
		"a header's name":         {call("verify", `, headers: {"X-A\r\nB": x}`), []string{`providers.shop.verify.request.headers."X-A\r\nB": "X-A\r\nB" is not the name of a header; use letters, digits and -`}},
		"a header's value":        {call("verify", `, headers: {X-A: "a\r\nB: pa55"}`), []string{"providers.shop.verify.request.headers.X-A: it holds a line break or another control character"}},
		"a header twice":          {call("verify", ", headers: {X-A: a, x-a: b}"), []string{"providers.shop.verify.request.headers.x-a: it is the same header as X-A; remove one"}},
		"a header of transport":   {call("verify", ", headers: {Content-Length: 5}"), []string{"headers.Content-Length: this header is set where the request is sent, or could make it be sent twice"}},
		"an idempotency key":      {call("verify", ", headers: {Idempotency-Key: x}"), []string{"headers.Idempotency-Key: this header"}},
		"a header of the token":   {call("logout", ", headers: {authorization: x}"), []string{"providers.shop.logout.request.headers.authorization: the token travels in this header; write {{.access_token}} where it has to be"}},
		"a header of the cookie":  {call("logout", ", headers: {Cookie: x}") + "    send: {cookie: SID}\n", []string{"logout.request.headers.Cookie: the token travels in this header"}},
		"a list for a header":     {call("verify", ", headers: {X-A: [a]}"), []string{"headers.X-A: a text, {env: NAME} or {file: path} is expected, not a list"}},
		"a variable that is not":  {call("verify", ", headers: {X-A: {env: NOWHERE}}"), []string{"headers.X-A: the environment variable NOWHERE is not set"}},
		"JSON without a value":    {call("verify", ", json: null"), []string{"providers.shop.verify.request.json: it has no value"}},
		"JSON with a key twice":   {call("verify", ", json: {a: {b: 1, b: 2}}"), []string{"providers.shop.verify.request.json.a.b: the key occurs twice"}},
		"JSON that is no number":  {call("verify", ", json: {a: .inf}"), []string{"providers.shop.verify.request.json.a: a number without end is no JSON value"}},
		"JSON with an alias":      {call("verify", ", json: {a: &x 1, b: *x}"), []string{"json.a: YAML anchors, aliases and tags are not supported", "json.b: YAML anchors"}},
		"JSON with a merge":       {call("verify", ", json: {<<: {a: 1}}"), []string{"a key must be plain text"}},
		"send by a query":         {shopWith("send: query"), []string{"providers.shop.send: it must be bearer, {header: NAME} or {cookie: NAME}"}},
		"send by both":            {shopWith("send: {header: a, cookie: b}"), []string{"providers.shop.send: it names both the header a and the cookie b; name one"}},
		"send by no header":       {shopWith("send: {header: ''}"), []string{`providers.shop.send.header: "" is not the name of a header`}},
		"send by a bad cookie":    {shopWith("send: {cookie: 'a;b'}"), []string{`providers.shop.send.cookie: "a;b" is not the name of a cookie`}},
		"send by a broken header": {shopWith(`send: {header: "a\nb"}`), []string{`providers.shop.send.header: "a\nb" is not the name of a header`}},

		// Replies
		"no access token":           {reply("subject: id"), []string{"providers.shop.refresh.response.access_token: it is missing; say where the reply of refresh holds the access token"}},
		"an unknown place":          {reply("access_token: t, id_token: t"), []string{"refresh.response.id_token: there is no such key"}},
		"two places":                {reply("access_token: {header: a, cookie: b}"), []string{"refresh.response.access_token: it names both header and cookie; name one"}},
		"a path and a header":       {reply("access_token: {json: a, header: b}"), []string{"access_token: it names both json and header"}},
		"no place":                  {reply("access_token: t, scope: {}"), []string{"refresh.response.scope: it names no place"}},
		"an empty path":             {reply("access_token: ''"), []string{"access_token: the path is empty; write one like user.id"}},
		"a header with space":       {reply("access_token: {header: 'X A'}"), []string{`access_token.header: "X A" is not the name of a header`}},
		"a path with a dollar":      {reply("access_token: $.token"), []string{`access_token: "$.token" is in another notation; write names joined by dots`}},
		"a path that is a pointer":  {reply("access_token: /token"), []string{`"/token" is in another notation`}},
		"a path to a list":          {reply("access_token: 'items.#.t'"), []string{`access_token: "items.#.t" leads to a list, and one value is needed; write the item that is meant, by its number or as the first that fits, as in items.0.t`}},
		"a path to all that fit":    {reply(`access_token: t, expires_in: 'a|items.#(k=="x.#.y")#.t'`), []string{`leads to a list`, `as in a|items.#(k=="x.#.y").t`}},
		"a path to a count":         {reply("access_token: t, subject: 'items.#'"), []string{`subject: "items.#" leads to a list`, "as in items.0"}},
		"a path with brackets":      {reply("access_token: 'tokens[0].value'"), []string{`"tokens[0].value" is in another notation; write the number of an item like a name, as in items.0`}},
		"a path from the end":       {reply("access_token: items.-1"), []string{`:10: providers.shop.refresh.response.access_token: "items.-1" counts items from the end, which no path does, so that nothing would be found; write the number of the item from the start, as in items.0`}},
		"a path within from there":  {reply("access_token: t, user_data: {json: 'a|-2.b'}"), []string{`user_data: "a|-2.b" counts items from the end`}},
		"a number for a path":       {reply("access_token: 5"), []string{"refresh.response.access_token: 5 is a number, and a name or a path such as user.id is expected; write that, or put the number in quotes if it is one"}},
		"a fraction for a path":     {reply("access_token: t, expires_in: 5.5"), []string{"refresh.response.expires_in: 5.5 is a number, and a name or a path"}},
		"a number for a JSON path":  {reply("access_token: {json: 5}"), []string{"refresh.response.access_token.json: 5 is a number, and a name or a path"}},
		"a number for a header":     {reply("access_token: {header: 5}"), []string{"refresh.response.access_token.header: 5 is a number, and a name"}},
		"a number for a cookie":     {shopWith("send: {cookie: 5}"), []string{"providers.shop.send.cookie: 5 is a number, and a name"}},
		"a path with a hole":        {reply("access_token: a..b"), []string{`access_token: "a..b" does not lead to a value; write names joined by dots`}},
		"a path with a modifier":    {reply("access_token: 'a.@reverse'"), []string{`"a.@reverse" does not lead to a value`}},
		"a path with a line break":  {reply(`access_token: "a\nb"`), []string{"access_token: \"a\\nb\" holds a control character"}},
		"a unit":                    {reply("access_token: t, expires_in: {json: e, unit: h}"), []string{`refresh.response.expires_in.unit: "h" is not one of s, ms, unix, unix_ms, rfc3339, http`}},
		"a unit for a token":        {reply("access_token: {json: t, unit: s}"), []string{"access_token.unit: there is no such key; known here: json, header, cookie"}},
		"a moment for a span":       {reply("access_token: t, expires_in: {json: e, unit: unix}"), []string{"expires_in.unit: unix is a moment, and expires_in tells how long; write s or ms, or use expires_at"}},
		"a span for a moment":       {reply("access_token: t, refresh_expires_at: {json: e, unit: ms}"), []string{"refresh_expires_at.unit: ms counts how long, and refresh_expires_at is a moment", "or use refresh_expires_in"}},
		"both expiries":             {reply("access_token: t, expires_in: a, expires_at: b"), []string{"refresh.response.expires_in: it is set beside expires_at; name the one that the reply has"}},
		"a reply not looked at":     {shopWith("logout: {request: {method: POST, url: https://shop.example}, response: {access_token: t}}"), []string{"providers.shop.logout.response.access_token: the reply of logout is not looked at for it; remove it"}},
		"oauth2's call has a login": {under("verify: {request: {method: POST, url: https://shop.example, form: {a: '{{.password}}'}}}"), []string{":7: providers.acme.verify.request.form.a: {{.password}} is not known in verify"}},

		// Failures
		"a rule for everything":      {failure("class: permanent"), []string{"providers.shop.verify.failed_when[0]: it would match every reply; set status, redirect, json or body_contains"}},
		"a rule for success":         {failure("status: 2xx"), []string{"failed_when[0]: it would match replies that mean success"}},
		"a value without a path":     {failure("status: 200, equals: x"), []string{"failed_when[0].equals: there is nothing to compare with it; set json"}},
		"a value that is empty":      {failure("json: a, equals: ''"), []string{"failed_when[0].equals: it is empty; leave it out for a path that is there"}},
		"a status that is none":      {failure("status: 999"), []string{`failed_when[0].status: "999" is not an HTTP status; write 401, 4xx or 500-504`}},
		"a range the wrong way":      {failure("status: 504-500"), []string{`failed_when[0].status: "504-500" is not an HTTP status`}},
		"a class of statuses":        {failure("status: 44xx"), []string{`"44xx" is not an HTTP status`}},
		"a redirect that is none":    {failure("redirect: false"), []string{`failed_when[0].redirect: "false" is no pattern; write true for any redirect, or a pattern`}},
		"a redirect with yes":        {failure("redirect: yes"), []string{`failed_when[0].redirect: "yes" is no pattern; write true for any redirect, or a pattern`}},
		"a redirect that is Off":     {failure("redirect: Off"), []string{`failed_when[0].redirect: "Off" is no pattern; write true for any redirect`}},
		"a redirect to a number":     {failure("redirect: 5"), []string{`failed_when[0].redirect: 5 is a number, and no redirect leads there; write true for any redirect, or a pattern for where it leads, as in "*/login*", and a status as status`}},
		"a redirect as a status":     {failure("redirect: '302'"), []string{"failed_when[0].redirect: 302 is a number"}},
		"a number for a value":       {failure("json: 5"), []string{"failed_when[0].json: 5 is a number, and a name or a path"}},
		"a value from the end":       {failure("json: errors.-1.code"), []string{`failed_when[0].json: "errors.-1.code" counts items from the end`}},
		"an empty path of a failure": {failure("status: 401, json: ''"), []string{"failed_when[0].json: it is empty; say what is looked for, or remove it"}},
		"no text to look for":        {failure("status: 401, body_contains: ''"), []string{"failed_when[0].body_contains: it is empty"}},
		"a redirect with 401":        {failure("redirect: true, status: 401"), []string{"failed_when[0]: no reply has such a status and is a redirect"}},
		"a class":                    {failure("status: 500, class: dead"), []string{`failed_when[0].class: "dead" is not one of permanent, transient`}},
		"a reason":                   {failure("status: 500, reason: because"), []string{`failed_when[0].reason: "because" is not one of invalid_grant, login_refused`}},
		"a path of a failure":        {failure("json: $.error"), []string{`failed_when[0].json: "$.error" is in another notation`}},
		"a rule of a session":        {session("idle_timeout: 15m, logged_out_when: [{equals: x}]"), []string{"providers.shop.session.logged_out_when[0].equals: there is nothing to compare"}},
		"an empty rule of a session": {session("idle_timeout: 15m, logged_out_when: [{}]"), []string{"providers.shop.session.logged_out_when[0]: it would match every reply"}},

		// Sessions
		"no idle timeout":       {session("absolute_timeout: 1h"), []string{":10: providers.shop.session.idle_timeout: it is missing; say after how long unused a session ends, or remove session"}},
		"extend without idle":   {session("extend: {request: {method: GET, url: https://shop.example}}"), []string{"session.idle_timeout: it is missing, and session.extend is set", "or remove extend"}},
		"idle above absolute":   {session("idle_timeout: 2h, absolute_timeout: 1h"), []string{"providers.shop.session.idle_timeout: 2h0m0s is longer than session.absolute_timeout 1h0m0s", "; lower idle_timeout or raise absolute_timeout"}},
		"a warning too early":   {session("idle_timeout: 15m, warn_before: 15m"), []string{"providers.shop.session.warn_before: 15m0s is not shorter than session.idle_timeout 15m0s"}},
		"an idle timeout of 0":  {session("idle_timeout: 0s, extend: {request: {method: GET, url: https://shop.example}}"), []string{":10: providers.shop.session.idle_timeout: 0s does not lie between 1s and 8784h0m0s; say after how long unused a session ends"}},
		"an idle timeout short": {session("idle_timeout: 10ms"), []string{"session.idle_timeout: 10ms does not lie between 1s and"}},
		"no way to live":        {"providers: {s: {kind: http, session: {idle_timeout: 15m}}}", []string{"providers.s: neither login, refresh nor session.extend is set", "providers.s.session: nothing keeps such a session alive or brings a new one; set session.extend, or login"}},
		"on_active":             {session("idle_timeout: 15m, on_active: wait"), []string{`session.on_active: "wait" is not one of extend, end`}},
		"on_death":              {session("idle_timeout: 15m, on_death: x"), []string{`session.on_death: "x" is not one of reauth, logout`}},
		"a session's lifetime":  {session("idle_timeout: 15m") + "    default_lifetime: 1h\n", []string{":11: providers.shop.default_lifetime: 1h0m0s has no meaning beside session.idle_timeout 15m0s"}},
		"a session's expiry": {
			strings.Replace(session("idle_timeout: 2m"), "access_token: token", "access_token: token, expires_in: {json: expiresIn, unit: ms}", 1),
			[]string{"providers.shop.login.response.expires_in: it is not read beside session.idle_timeout 2m0s, which is how long a session lives unused; remove it, or remove session if the token ends at that moment however it is used"},
		},
		"a session's expiry in others": {
			reply("access_token: t, refresh_token: r, refresh_expires_at: e") + "    verify: {request: {method: GET, url: https://shop.example}, response: {access_token: t, expires_at: e}}\n    user_data: {request: {method: GET, url: https://shop.example}, response: {access_token: t, expires_in: e}}\n" +
				"    session: {idle_timeout: 2m, extend: {request: {method: GET, url: https://shop.example}, response: {access_token: t, expires_at: e, refresh_expires_in: r}}}\n",
			[]string{
				"providers.shop.refresh.response.refresh_expires_at: it is not read beside session.idle_timeout 2m0s", "providers.shop.verify.response.expires_at: it is not read", "providers.shop.user_data.response.expires_in: it is not read",
				"providers.shop.session.extend.response.expires_at: it is not read", "providers.shop.session.extend.response.refresh_expires_in: it is not read",
			},
		},
		"a session of an oauth2": {under("session: {idle_timeout: 15m}"), []string{"providers.acme.session: it belongs to kind: http"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, row.text, row.want)
		})
	}
}

// TestReasonsOfFailuresExist: what can be declared is known to the domain, and is
// what the manual and the schema list.
func TestReasonsOfFailuresExist(t *testing.T) {
	t.Parallel()
	fields := fieldsOf(reflect.TypeFor[Failure]())
	i := slices.IndexFunc(fields, func(f field) bool { return f.key == "reason" })
	require.NotEmpty(t, fields[i].oneof)
	for _, reason := range fields[i].oneof {
		assert.Contains(t, credential.Reasons(), credential.Reason(reason))
	}
	manual, err := os.ReadFile("../../docs/providers.md")
	require.NoError(t, err)
	assert.Contains(t, string(manual), "\n| `reason` | not a condition: why, for people; one of `"+strings.Join(fields[i].oneof, "`, `")+"`. The usual one of the call and the class unless set |\n")
}
