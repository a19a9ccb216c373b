package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/reqtemplate"
)

// shop is a backend that is as it should be, to which a row adds.
const shop = `providers:
  shop:
    kind: http
    login:
      request:
        method: POST
        url: https://shop.example/login
        form: {user: "{{.username}}", pass: "{{.password}}"}
      response: {access_token: token}
`

// shopWith puts a row under shop.
func shopWith(text string) string {
	return shop + "    " + strings.ReplaceAll(text, "\n", "\n    ") + "\n"
}

// call is a call other than a login, with what a row adds to its request.
func call(section, request string) string {
	return shopWith(section + ": {request: {method: POST, url: https://shop.example/x" + request + "}}")
}

// text makes the values of a request's table.
func texts(pairs ...string) map[string]credential.Secret {
	table := map[string]credential.Secret{}
	for pair := range slices.Chunk(pairs, 2) {
		table[pair[0]] = credential.NewSecret(pair[len(pair)-1])
	}
	return table
}

func TestBackendOfOnesOwn(t *testing.T) {
	t.Parallel()
	got, err := Load(write(t, `
providers:
  shop:
    kind: http
    login:
      request:
        method: POST
        url: https://shop.example/authenticate
        query: {v: 2}
        headers: {X-Api-Key: {env: SHOP_KEY}, Accept: application/json}
        form: {username: "{{.username}}", password: "{{.password}}", remember: true}
      response:
        access_token: token
        refresh_token: {cookie: RT}
        expires_in: {json: expiresIn, unit: ms}
        refresh_expires_at: {header: X-Refresh-Expires, unit: http}
        subject: user.id
        user_data: user
        token_type: {json: type}
        scope: {header: X-Scope}
      failed_when:
        - {status: 423, class: permanent, reason: account_locked}
        - {status: 4xx, json: ok, equals: false}
    refresh:
      request:
        method: PUT
        url: https://shop.example/refresh/{{.subject}}
        json: {refreshToken: "{{.refresh_token}}", device: {ids: [1, -2, 2.5, null, true, "{{.subject}}"]}}
      response: {access_token: token, expires_at: expiresAt}
    logout:
      request: {method: DELETE, url: https://shop.example/session}
    verify:
      request: {method: GET, url: https://shop.example/me}
      failed_when: [{redirect: "*/login*"}, {redirect: true}, {body_contains: "Sign in"}, {json: "errors.0.message"}]
    user_data:
      request:
        url: https://shop.example/graphql
        graphql:
          query: |
            query Me($id: ID!) { user(id: $id) { name } }
          variables: {id: "{{.subject}}"}
          operation_name: Me
    send: {cookie: SID}
    rotation: {rotates: no}
    errors: [{status: 400, error: busy, class: transient}]
    limits: {concurrency: 2, per_second: 3}
    default_lifetime: 30m
    refresh_token: {idle: 1d, absolute: 7d}
    timeout: 5s
`), []string{"SHOP_KEY=s3cr3t", "REFRESHD_PROVIDERS_SHOP_LOGIN_REQUEST_FORM_REMEMBER=no"}, nil)
	require.NoError(t, err)
	assert.Empty(t, got.Warnings)
	p := got.Providers["shop"]
	assert.Equal(t, HTTPCall{
		Request: HTTPRequest{
			Method: "POST", URL: "https://shop.example/authenticate", Query: texts("v", "2"),
			Headers: texts("X-Api-Key", "s3cr3t", "Accept", "application/json"),
			Form:    texts("username", "{{.username}}", "password", "{{.password}}", "remember", "no"),
		},
		Response: HTTPResponse{
			AccessToken: Place{JSON: "token"}, RefreshToken: Place{Cookie: "RT"},
			ExpiresIn: Expiry{JSON: "expiresIn", Unit: "ms"}, RefreshExpiresAt: Expiry{Header: "X-Refresh-Expires", Unit: "http"},
			Subject: Place{JSON: "user.id"}, UserData: Place{JSON: "user"}, TokenType: Place{JSON: "type"}, Scope: Place{Header: "X-Scope"},
		},
		FailedWhen: []Failure{
			{Status: Statuses{423, 423}, Class: credential.ClassPermanent, Reason: credential.ReasonAccountLocked},
			{Status: Statuses{400, 499}, JSON: "ok", Equals: "false"},
		},
	}, p.Login)
	assert.Equal(t, HTTPRequest{
		Method: "PUT", URL: "https://shop.example/refresh/{{.subject}}",
		JSON: map[string]any{
			"refreshToken": "{{.refresh_token}}",
			"device":       map[string]any{"ids": []any{uint64(1), int64(-2), 2.5, nil, true, "{{.subject}}"}},
		},
	}, p.Refresh.Request)
	assert.Equal(t, Expiry{JSON: "expiresAt"}, p.Refresh.Response.ExpiresAt)
	assert.Equal(t, []Failure{
		{Redirect: Redirect{Location: "*/login*"}},
		{Redirect: Redirect{Any: true}},
		{BodyContains: "Sign in"},
		{JSON: "errors.0.message"},
	}, p.Verify.FailedWhen)
	assert.Equal(t, HTTPCall{
		Request: HTTPRequest{Method: "POST", URL: "https://shop.example/graphql", GraphQL: GraphQL{
			Query: "query Me($id: ID!) { user(id: $id) { name } }\n", Variables: map[string]any{"id": "{{.subject}}"}, OperationName: "Me",
		}},
	}, p.UserData)
	assert.Equal(t, Send{Cookie: "SID"}, p.Send)
	assert.True(t, p.Logout.Declared())
	assert.False(t, p.Session.Extend.Declared())
	assert.Equal(t, credential.RotatesNo, p.Rotation.Rotates)
	var secrets []string
	for _, s := range p.Secrets() {
		secrets = append(secrets, s.Reveal())
	}
	assert.Equal(t, []string{"", "", "2", "application/json", "s3cr3t", "{{.password}}", "no", "{{.username}}"}, secrets)
}

func TestSlidingSession(t *testing.T) {
	t.Parallel()
	got, err := Load(write(t, `
providers:
  airline:
    kind: http
    login:
      request: {method: POST, url: http://127.0.0.1:1/login, json: {user: "{{.username}}", password: "{{.password}}"}}
      response: {access_token: {header: X-Session-Token}}
    send: {header: X-Session-Token}
    session:
      idle_timeout: 15m
      absolute_timeout: 12h
      warn_before: 2m
      on_active: end
      on_death: logout
      extend: {request: {method: GET, url: http://127.0.0.1:1/me}}
      logged_out_when:
        - {status: 401}
        - {status: 500-504, body_contains: gone, class: transient}
        - {status: 302}
        - {json: "errors.0.extensions.code", equals: UNAUTHENTICATED}
  defaults:
    kind: http
    send: bearer
    session: {idle_timeout: 1m, extend: {request: {method: GET, url: http://127.0.0.1:1/me}}}
`), nil, nil)
	require.NoError(t, err)
	p := got.Providers["airline"]
	assert.Equal(t, Send{Header: "X-Session-Token"}, p.Send)
	assert.Equal(t, Session{
		IdleTimeout: 15 * time.Minute, AbsoluteTimeout: 12 * time.Hour, WarnBefore: 2 * time.Minute,
		OnActive: credential.ActiveEnd, OnDeath: credential.DeathLogout,
		Extend: HTTPCall{Request: HTTPRequest{Method: "GET", URL: "http://127.0.0.1:1/me"}},
		LoggedOutWhen: []Failure{
			{Status: Statuses{401, 401}},
			{Status: Statuses{500, 504}, BodyContains: "gone", Class: credential.ClassTransient},
			{Status: Statuses{302, 302}},
			{JSON: "errors.0.extensions.code", Equals: "UNAUTHENTICATED"},
		},
	}, p.Session)
	plain := got.Providers["defaults"]
	assert.Equal(t, credential.ActiveExtend, plain.Session.OnActive)
	assert.Equal(t, credential.DeathReauth, plain.Session.OnDeath)
	assert.Equal(t, Send{}, plain.Send)
	require.Len(t, got.Warnings, 1)
	assert.Contains(t, got.Warnings[0], "providers.defaults.timeout: 20s is long for session.idle_timeout 1m0s: with recovery.send 5s, recovery.commit 5s and recovery.margin 5s an extension may take 35s")
	assert.Contains(t, got.Warnings[0], "set idle_timeout to 2m20s or more")
}

// TestWarnBeforeTheLastCall: an active user whose session is extended before the
// countdown would begin is never warned.
// TestPathsWithANumberSign: a path that leads to one value may have a #, and user
// data may be a list.
func TestPathsWithANumberSign(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`access_token: 'items.#(kind=="access").token'`, `access_token: 'items.#(kind.#(=="a#")).token'`, `access_token: 'token.#text'`, `access_token: '\#.token'`,
		`access_token: 'items.#.token|0'`, `access_token: t, user_data: 'items.#.name'`,
	} {
		_, err := Load(write(t, reply(text)), nil, nil)
		require.NoError(t, err, text)
	}
}

func TestWarnBeforeTheLastCall(t *testing.T) {
	t.Parallel()
	for session, warns := range map[string]bool{
		"idle_timeout: 10m, warn_before: 35s":                 true,
		"idle_timeout: 10m, warn_before: 36s":                 false,
		"idle_timeout: 10m, warn_before: 35s, on_active: end": false,
		"idle_timeout: 10m":                                   false,
	} {
		got, err := Load(write(t, "providers:\n  acme:\n    kind: http\n    session: {"+session+", extend: {request: {method: POST, url: https://id.acme.example/extend}}}\n"), nil, nil)
		require.NoError(t, err, session)
		if !warns {
			assert.Empty(t, got.Warnings, session)
			continue
		}
		require.Len(t, got.Warnings, 1, session)
		assert.Contains(t, got.Warnings[0], "providers.acme.session.warn_before: 35s is too short")
	}
}

// TestCallsBesideOAuth2: an authorization server can have calls that verify and
// that tell the user's data.
func TestCallsBesideOAuth2(t *testing.T) {
	t.Parallel()
	got, err := Load(write(t, under("verify: {request: {method: GET, url: https://api.acme.example/ping}}\nuser_data: {request: {method: GET, url: https://id.acme.example/userinfo}, response: {subject: sub}}")), nil, nil)
	require.NoError(t, err)
	p := got.Providers["acme"]
	assert.Equal(t, "https://api.acme.example/ping", p.Verify.Request.URL)
	assert.Equal(t, HTTPResponse{Subject: Place{JSON: "sub"}}, p.UserData.Response)
}

// TestWarningsOfCalls: what works, and is not as it should be.
func TestWarningsOfCalls(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ text, want string }{
		"secret in the query":    {call("verify", ", query: {t: '{{.access_token}}'}"), "providers.shop.verify.request.query.t: {{.access_token}} becomes part of an address, which servers and proxies on the way write into their logs"},
		"secret in the path":     {shopWith("logout: {request: {method: POST, url: 'https://shop.example/{{.access_token}}'}}"), "providers.shop.logout.request.url: {{.access_token}} becomes part of an address"},
		"secret in the file":     {call("verify", ", headers: {X-Api-Key: pa55}"), "config.yaml:10: providers.shop.verify.request.headers.X-Api-Key: a secret is written into the file; use {env: NAME}"},
		"session sent otherwise": {strings.Replace(shopWith("session: {idle_timeout: 15m, extend: {request: {method: GET, url: https://shop.example/x}}}"), "access_token: token", "access_token: {cookie: SID}", 1), "providers.shop.session.extend: it sends the token as Authorization: Bearer, for send is missing, and the login brings it as {cookie: SID}; set send: {cookie: SID}"},
		"GraphQL without a rule": {"providers: {s: {kind: http, login: {request: {url: https://s.example, graphql: {query: 'mutation{a}', variables: {u: '{{.username}}', p: '{{.password}}'}}}, response: {access_token: data.t}}}}", "providers.s.login.failed_when: it has no rule with json, and GraphQL answers 200 for a wrong password too: only the error code UNAUTHENTICATED is known to mean one. Said in another way, a stored login that is refused would be made again once an hour"},
		"secret in the file's":   {call("verify", ", form: {client_secret: pa55}"), "client_secret: a secret is written into the file"},
	} {
		got, err := Load(write(t, row.text), nil, nil)
		require.NoError(t, err, name)
		require.Len(t, got.Warnings, 1, name)
		assert.Contains(t, got.Warnings[0], row.want, name)
		assert.NotContains(t, got.Warnings[0], "pa55", name)
	}
	got, err := Load(write(t, call("verify", ", headers: {Authorization: 'Bearer {{.access_token}}', Accept: a/b}")), nil, nil)
	require.NoError(t, err)
	assert.Empty(t, got.Warnings)
}

// TestEveryFieldIsOfUse: each field that templates know can be used in a call.
func TestEveryFieldIsOfUse(t *testing.T) {
	t.Parallel()
	var used []reqtemplate.Field
	for _, section := range []string{loginCall, refreshCall, logoutCall, extendCall, verifyCall, userDataCall} {
		kind := kindOfCall(section)
		used = append(used, kind.fields...)
		if kind.needs != "" {
			assert.Contains(t, kind.fields, kind.needs)
		}
	}
	assert.Subset(t, used, reqtemplate.Fields())
}
