package config

import (
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/reqtemplate"
	"github.com/refreshd/refreshd/internal/schedule"
)

// FuzzLoad: whatever is in the file, reading it ends in an answer that holds
// no secret, and what is accepted keeps the promises that others build on.
func FuzzLoad(f *testing.F) {
	text, err := os.ReadFile(shipped)
	require.NoError(f, err)
	f.Add(string(text))
	f.Add(under("client_secret: {env: SECRET}\nfetch: '*/30 * * * *'\nerrors: [{status: 400, class: transient}]"))
	f.Add(hook + "url: https://a.example\nnetwork: {allow: [127.0.0.1, ::/0]}")
	for _, seed := range []string{
		"providers: {s: {kind: http, login: {request: {method: POST, url: 'https://s.example/{{.subject}}', form: {a: '{{'}}}}}",
		"a: &a [*a]", "? [a]\n: b", "redis: {url: {env: SECRET}}", "log: !!map {}", "\"\\", "- - - -", "<<: *x", "x: |\n y", "{a: {b: {c: [", "%YAML 1.2\n---\n", "a: 'b\n\tc",
		"providers:\n  a:\n    client_secret: {env: SECRET, file: /dev/null}\n", "schedule: {refresh_at: 0x1p-1, jitter: 1_0}",
	} {
		f.Add(seed)
	}
	f.Add(shop)
	f.Add(shopWith("session: {idle_timeout: 15m, extend: {request: {url: https://s.example, graphql: {query: 'query{me{id}}', variables: {a: [1, null, {b: '{{.access_token}}'}]}}}}}"))
	f.Add("providers: {g: {preset: {name: microsoft, tenant: common}, client_id: x, client_auth: none}, s: {preset: {name: supabase, domain: a.example}}}")
	const secret = "s3cr3t-that-must-not-show"
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		c, err := load("config.yaml", dir, []byte(text), []string{"SECRET=" + secret, "REFRESHD_LOG_LEVEL=warn"}, everything, nil)
		if err != nil {
			require.NotContains(t, err.Error(), secret)
			return
		}
		require.NotContains(t, strings.Join(c.Warnings, "\n"), secret)
		require.Equal(t, "warn", c.Log.Level)
		require.LessOrEqual(t, c.Schedule.RefreshAt+c.Schedule.Jitter, latestPlan+0.001)
		for name, p := range c.Providers {
			require.Regexp(t, nameShape, name)
			require.Contains(t, []string{"oauth2", "http"}, p.Kind)
			promisesOfCalls(t, p)
			require.GreaterOrEqual(t, p.Fetch.Interval(), schedule.Floor)
			require.Greater(t, p.Limits.PerSecond, 0.0)
			require.GreaterOrEqual(t, p.Limits.Concurrency, 1)
			require.GreaterOrEqual(t, c.Recovery.Quarantine, p.Timeout)
		}
	})
}

// promisesOfCalls checks what whoever makes the calls relies on.
func promisesOfCalls(t *testing.T, p Provider) {
	t.Helper()
	for _, c := range []HTTPCall{p.Login, p.Refresh, p.Logout, p.Session.Extend, p.Verify, p.UserData} {
		if !c.Declared() {
			require.Equal(t, HTTPCall{}, c)
			continue
		}
		require.NotEmpty(t, c.Request.Method)
		tmpl, err := reqtemplate.Parse(c.Request.URL)
		require.NoError(t, err)
		u, err := url.Parse(tmpl.Render(func(reqtemplate.Field) string { return "a" }))
		require.NoError(t, err)
		other, err := url.Parse(tmpl.Render(func(reqtemplate.Field) string { return "b" }))
		require.NoError(t, err)
		require.Equal(t, u.Host, other.Host, "no value decides who gets the credential")
		require.False(t, len(c.Request.Form) > 0 && c.Request.JSON != nil)
		for name, value := range c.Request.Headers {
			require.Regexp(t, tokenShape, name)
			require.NotContains(t, value.Reveal(), "\n")
		}
		for _, failure := range c.FailedWhen {
			require.NotEqual(t, Failure{Class: failure.Class, Reason: failure.Reason}, failure, "it matches something")
		}
	}
	if p.Session.IdleTimeout > 0 {
		require.Less(t, p.Session.WarnBefore, p.Session.IdleTimeout)
	}
}
