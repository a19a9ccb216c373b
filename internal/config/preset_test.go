package config

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/preset"
)

// taken is a file that takes over a preset with all that it needs and no more.
func taken(p preset.Preset) string {
	text := "providers:\n  one:\n    preset: {name: " + p.Name
	if p.Part.Name != "" && p.Part.Usual == "" {
		text += ", " + p.Part.Name + ": part.example"
	}
	text += "}\n"
	if p.Kind == "oauth2" {
		text += "    client_id: x\n    client_secret: {env: SECRET}\n"
	}
	if p.Issuer != "" {
		text += "    issuer: " + p.Issuer + "\n"
	}
	form := ""
	for _, need := range p.Needs {
		if name, ok := strings.CutPrefix(need.Key, "refresh.request.form."); ok {
			form += name + ": {env: SECRET}, "
		}
		if name, ok := strings.CutPrefix(need.Key, "refresh.request.headers."); ok {
			text += "    refresh: {request: {headers: {" + name + ": {env: SECRET}}}}\n"
		}
	}
	if form != "" {
		text += "    refresh: {request: {form: {" + form + "}}}\n"
	}
	return text
}

// TestEveryPresetIsASetting: each is accepted as it is, without a warning, and
// sets something.
func TestEveryPresetIsASetting(t *testing.T) {
	t.Parallel()
	for _, p := range preset.All() {
		got, err := Load(write(t, taken(p)), []string{"SECRET=s3cr3t"}, nil)
		require.NoError(t, err, p.Name)
		assert.Empty(t, got.Warnings, p.Name)
		one := got.Providers["one"]
		assert.Equal(t, p.Kind, one.Kind, p.Name)
		assert.Equal(t, p.Name, one.Preset.Name)
		assert.True(t, one.TokenURL != "" || one.Issuer != "" || one.Refresh.Declared(), p.Name)
	}
}

func TestPresetFillsInWhatTheFileDoesNotSet(t *testing.T) {
	t.Parallel()
	got, err := Load(write(t, `
providers:
  plain: {preset: google, client_id: x, client_secret: {env: S}}
  changed:
    kind: oauth2
    preset: {name: salesforce, domain: test.salesforce.com}
    client_id: x
    client_auth: none
    rotation: {grace: 1m}
    errors: [{error: own, class: operator}]
    refresh_token: {idle: 1d}
    default_lifetime: 2h
  tenant: {preset: {name: microsoft, tenant: common}, client_id: x, client_secret: {env: S}, rotation: {grace: 0s}}
  elsewhere: {preset: google, token_url: https://proxy.example/token, client_id: x, client_secret: {env: S}}
  github: {preset: github, issuer: https://git.example, client_id: x, client_secret: {env: S}}
  supabase:
    preset: {name: supabase, domain: "127.0.0.1:9"}
    refresh:
      request: {url: http://127.0.0.1:9/token, headers: {apikey: {env: S}}}
      response: {subject: sub}
`), []string{"S=s3cr3t", "REFRESHD_PROVIDERS_PLAIN_DEFAULT_LIFETIME=5m"}, nil)
	require.NoError(t, err)
	assert.Empty(t, got.Warnings)

	plain := got.Providers["plain"]
	assert.Equal(t, "oauth2", plain.Kind)
	assert.Equal(t, "https://oauth2.googleapis.com/token", plain.TokenURL)
	assert.Equal(t, "https://oauth2.googleapis.com/revoke", plain.RevokeURL)
	assert.Equal(t, "post", plain.ClientAuth)
	assert.Equal(t, credential.RotatesNo, plain.Rotation.Rotates)
	assert.Equal(t, 5*time.Minute, plain.DefaultLifetime, "the environment's")
	assert.Equal(t, RefreshToken{Idle: 180 * 24 * time.Hour}, plain.RefreshToken)

	changed := got.Providers["changed"]
	assert.Equal(t, "https://test.salesforce.com/services/oauth2/token", changed.TokenURL)
	assert.Equal(t, "none", changed.ClientAuth)
	assert.Equal(t, Rotation{Rotates: credential.RotatesAuto, Grace: time.Minute}, changed.Rotation)
	assert.Equal(t, []ErrorRule{
		{Error: "own", Class: credential.ClassOperator},
		{Status: 400, Error: "invalid_grant", Description: "*already being processed*", Class: credential.ClassTransient},
	}, changed.Errors, "the file's come first")
	assert.Equal(t, RefreshToken{Idle: 24 * time.Hour}, changed.RefreshToken)
	assert.Equal(t, 2*time.Hour, changed.DefaultLifetime)

	tenant := got.Providers["tenant"]
	assert.Equal(t, "https://login.microsoftonline.com/common/oauth2/v2.0/token", tenant.TokenURL)
	assert.Equal(t, Rotation{Rotates: credential.RotatesYes}, tenant.Rotation, "0s was set")

	elsewhere := got.Providers["elsewhere"]
	assert.Equal(t, "https://proxy.example/token", elsewhere.TokenURL)
	assert.Empty(t, elsewhere.RevokeURL, "a token goes to no address but those of the file")
	assert.Empty(t, got.Providers["github"].TokenURL, "it is discovered")

	supabase := got.Providers["supabase"]
	assert.Equal(t, "http", supabase.Kind)
	assert.Equal(t, "http://127.0.0.1:9/token", supabase.Refresh.Request.URL)
	assert.Equal(t, texts("apikey", "s3cr3t"), supabase.Refresh.Request.Headers)
	assert.Equal(t, map[string]any{"refresh_token": "{{.refresh_token}}"}, supabase.Refresh.Request.JSON)
	assert.Equal(t, Place{JSON: "sub"}, supabase.Refresh.Response.Subject)
	assert.Equal(t, Expiry{JSON: "expires_in", Unit: "s"}, supabase.Refresh.Response.ExpiresIn)
	assert.Len(t, supabase.Refresh.FailedWhen, 2)
}

func TestPresetsThatAreRefused(t *testing.T) {
	t.Parallel()
	const client = ", client_id: x, client_auth: none"
	for name, row := range map[string]struct {
		text string
		want []string
	}{
		"an unknown one":          {"preset: gogle" + client, []string{`:1: providers.a.preset: "gogle" is not a preset; there are atlassian, auth0`}},
		"no name":                 {"preset: {tenant: x}" + client, []string{`providers.a.preset: "" is not a preset`}},
		"no tenant":               {"preset: microsoft" + client, []string{"providers.a.preset: microsoft needs a tenant, such as contoso.onmicrosoft.com", "write preset: {name: microsoft, tenant: …}, or set token_url"}},
		"no shop":                 {"preset: shopify" + client, []string{"shopify needs a domain, such as example.myshopify.com"}},
		"a domain for http":       {"preset: supabase", []string{"supabase needs a domain, such as abcdefghijkl.supabase.co; write preset: {name: supabase, domain: …}"}},
		"a tenant that is none":   {"preset: {name: microsoft, tenant: 'a/b'}" + client, []string{`providers.a.preset.tenant: "a/b" is not a tenant; write one such as`}},
		"a domain that is a URL":  {"preset: {name: shopify, domain: 'https://a.example'}" + client, []string{`providers.a.preset.domain: "https://a.example" is not a domain; write one such as example.myshopify.com`}},
		"a domain with a login":   {"preset: {name: shopify, domain: 'x@a.example'}" + client, []string{"is not a domain"}},
		"a domain with YAML":      {"preset: {name: shopify, domain: \"a.example\\nclient_auth: none\"}" + client, []string{"is not a domain"}},
		"a domain too many":       {"preset: {name: google, domain: a.example}" + client, []string{"providers.a.preset.domain: preset google has no domain; remove it"}},
		"no issuer":               {"preset: keycloak" + client, []string{"providers.a.preset: keycloak needs the issuer, through which its addresses are found; set issuer: https://keycloak.example/realms/REALM"}},
		"another kind":            {"kind: http, preset: google", []string{"providers.a.kind: http contradicts preset google, which is of kind oauth2"}},
		"a key that it needs":     {"preset: tiktok", []string{"tiktok needs refresh.request.form.client_key: the app's client key", "tiktok needs refresh.request.form.client_secret"}},
		"a key of its other kind": {"preset: google, login: {request: {method: POST, url: https://x.example}}" + client, []string{"providers.a.login: it belongs to kind: http"}},
		"no client":               {"preset: google", []string{"providers.a.client_id: it is missing", "providers.a.client_secret: it is missing, and client_auth post needs it"}},
		"a list":                  {"preset: [google]" + client, []string{"providers.a.preset: a single value is expected, not a list"}},
		"an unknown key":          {"preset: {name: google, region: eu}" + client, []string{"providers.a.preset.region: there is no such key; known here: name, tenant, domain"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, "providers: {a: {"+row.text+"}}", row.want)
		})
	}
}

// TestMissingThingsAreSaidOnce: what a preset would have set is not missed as
// well.
func TestMissingThingsAreSaidOnce(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"preset: gogle, client_id: x, client_auth: none", "preset: microsoft, client_id: x, client_auth: none", "preset: supabase", "kind: http, preset: google"} {
		_, err := Load(write(t, "providers: {a: {"+text+"}}"), nil, nil)
		var invalid *InvalidError
		require.ErrorAs(t, err, &invalid, text)
		assert.Len(t, invalid.Problems, 1, "%s: %v", text, err)
	}
}

func TestSchemaAndDocsKnowThePresets(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/config.schema.json")
	require.NoError(t, err)
	var root node
	require.NoError(t, json.Unmarshal(text, &root))
	choices := root.Defs["provider"].Properties["preset"].AnyOf
	require.Len(t, choices, 2)
	var names []any
	for _, name := range preset.Names() {
		names = append(names, name)
	}
	assert.Equal(t, append(slices.Clone(names), ""), choices[0].Enum)
	assert.Equal(t, names, choices[1].Properties["name"].Enum)

	docs, err := os.ReadFile("../../docs/providers.md")
	require.NoError(t, err)
	for _, p := range preset.All() {
		assert.Contains(t, string(docs), "| `"+p.Name+"` | "+p.Title+" |", "docs/providers.md lists every preset")
	}
}
