package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/schedule"
)

const (
	shipped    = "../../config.yaml"
	hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	// previousSecret is one that signs beside it.
	previousSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

// write puts files into a folder of the test and returns the path of the
// first, which is config.yaml.
func write(t *testing.T, text string, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	files := append([]string{"config.yaml", text}, more...)
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600))
	}
	return filepath.Join(dir, "config.yaml")
}

// certificate makes a self-signed one and its key in PEM form.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

func TestShippedFileRunsAsItIs(t *testing.T) {
	t.Parallel()
	got, err := Load(shipped, nil, nil)
	require.NoError(t, err)
	assert.Empty(t, got.Warnings)
	assert.Empty(t, got.Files())

	// It writes the defaults out, so it means the same as no file at all.
	want := Default()
	want.DataDir, want.Keyset.File = "../../data", "../../data/keyset.json"
	assert.Equal(t, want, got)
}

func TestNoFileMeansDefaults(t *testing.T) {
	t.Parallel()
	got, err := Load("", []string{"REFRESHD_LOG_LEVEL=debug", "PATH=/bin"}, nil)
	require.NoError(t, err)
	want := Default()
	want.Log.Level = "debug"
	assert.Equal(t, want, got)
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "\ufeff", "{}"} {
		got, err := load("x", ".", []byte(text), nil, everything, nil)
		require.NoError(t, err, "%q", text)
		assert.Equal(t, Default(), got, "%q", text)
	}
}

// fullExample is the shipped file with its examples switched on.
func fullExample(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(shipped)
	require.NoError(t, err)
	head, examples, found := strings.Cut(string(text), "\nproviders:\n")
	require.True(t, found)
	examples = "\nproviders:\n" + examples
	switchedOn := strings.ReplaceAll(examples, "\n#  ", "\n  ")
	require.NotEqual(t, examples, switchedOn)
	return head + switchedOn
}

func TestExamplesOfTheShippedFileWork(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	path := write(t, fullExample(t), "acme-ca.pem", cert, "tls.crt", cert, "tls.key", key)
	dir := filepath.Dir(path)
	got, err := Load(path, []string{
		"ACME_SECRET=s3cr3t", "ACME_PROXY=http://u:p@proxy:3128", "HOOK_SECRET=" + hookSecret, "HOOK_SECRET_BEFORE=" + previousSecret, "MAIL_SECRET=a", "OFFICE_SECRET=b", "SHOP_KEY=k",
	}, nil)
	require.NoError(t, err)
	assert.Empty(t, got.Warnings)
	assert.Equal(t, []string{filepath.Join(dir, "acme-ca.pem"), filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}, got.Files())

	fetch, err := schedule.Parse("*/30 * * * *")
	require.NoError(t, err)
	session := Session{OnActive: credential.ActiveExtend, OnDeath: credential.DeathReauth}
	get := func(url string) HTTPRequest { return HTTPRequest{Method: "GET", URL: url} }
	assert.Equal(t, Provider{
		Kind: "oauth2", Issuer: "https://id.acme.example", TokenURL: "https://id.acme.example/oauth/token", RevokeURL: "https://id.acme.example/oauth/revoke",
		ClientID: "refreshd", ClientSecret: credential.NewSecret("s3cr3t"), ClientAuth: "basic",
		Rotation: Rotation{Rotates: credential.RotatesAuto}, Limits: Limits{Concurrency: 16, PerSecond: 50},
		Fetch: fetch, Timeout: 20 * time.Second,
		Errors:   []ErrorRule{{Status: 400, Error: "invalid_grant", Description: "*already being processed*", Class: credential.ClassTransient}},
		Verify:   HTTPCall{Request: get("https://api.acme.example/ping")},
		UserData: HTTPCall{Request: get("https://id.acme.example/userinfo")},
		HTTP:     HTTP{Proxy: credential.NewSecret("http://u:p@proxy:3128"), CAFile: filepath.Join(dir, "acme-ca.pem")},
		Session:  session,
	}, got.Providers["acme"])
	assert.Equal(t, "https://oauth2.googleapis.com/token", got.Providers["mail"].TokenURL)
	assert.Equal(t, "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token", got.Providers["office"].TokenURL)
	assert.Equal(t, "k", got.Providers["shop"].Login.Request.Headers["X-Api-Key"].Reveal())
	assert.Equal(t, 15*time.Minute, got.Providers["airline"].Session.IdleTimeout)
	assert.Len(t, got.Providers, 5)
	assert.Equal(t, []Subscription{{
		Name: "ui", URL: "https://app.example/hooks/auth", Format: "webhook", Secret: credential.NewSecret(hookSecret),
		Secrets: []credential.Secret{credential.NewSecret(previousSecret)}, Types: []string{"credential.*"}, Providers: []string{"acme"},
		Prefix: "acme:", Labels: map[string]string{"team": "blue"}, Retry: []time.Duration{time.Second, time.Minute, time.Hour}, Enabled: true,
	}}, got.Subscriptions)
	assert.Equal(t, TLS{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}, got.TLS)
	assert.Equal(t, filepath.Join(dir, "data"), got.DataDir)
}

func TestNumbersWithAnExponent(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{"1e-04": 1e-4, "1.0e-04": 1e-4, "5e1": 50, ".5E+1": 5} {
		got, err := Load(write(t, under("limits: {per_second: "+text+"}")), nil, nil)
		require.NoError(t, err, text)
		assert.InEpsilon(t, want, got.Providers["acme"].Limits.PerSecond, 1e-9, text)
	}
}

// A reply that is a list has its values behind numbers, which stand in quotes.
func TestNumbersAsPaths(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"'0'": "0", "0.token": "0.token", "items.-x": "items.-x", `a\.-1.b`: `a\.-1.b`} {
		got, err := Load(write(t, strings.Replace(shop, "access_token: token", "access_token: "+text, 1)), nil, nil)
		require.NoError(t, err, text)
		assert.Equal(t, want, got.Providers["shop"].Login.Response.AccessToken.JSON)
	}
}

func TestEveryKindOfValue(t *testing.T) {
	t.Parallel()
	got, err := Load(write(t, `
listen: "[::1]:7420"
data_dir: /var/lib/refreshd
redis: {url: redis://h:1, shards: 16}
schedule: {fetch: 0 * * * *, refresh_at: 0.5, jitter: 0}
offline_reads: 0
events:
  retention: 4d12h
network: {allow: [127.0.0.1, 10.1.2.3/16, "::1"]}
providers:
  a-1:
    kind: oauth2
    token_url: http://localhost:1/token?tenant=x
    client_id: 12345
    client_auth: none
    rotation: {rotates: true, grace: 26s}
    limits: {concurrency: 1, per_second: 0.5}
    default_lifetime: 90s
    refresh_token: {idle: 30d, absolute: 90d}
    timeout: 5m
subscriptions:
  - name: local
    url: http://127.0.0.1:9/x
    secret: `+hookSecret+`
    types:
      - "*"
      - credential.refreshed
log: {format: console}
`), nil, nil)
	require.NoError(t, err)
	assert.Equal(t, "/var/lib/refreshd", got.DataDir)
	assert.Equal(t, "redis://h:1", got.Redis.URL.Reveal())
	assert.Equal(t, "0 * * * *", got.Schedule.Fetch.String())
	assert.Zero(t, got.OfflineReads)
	assert.Equal(t, 108*time.Hour, got.Events.Retention)
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::1/128")}, got.Network.Allow)
	p := got.Providers["a-1"]
	assert.Equal(t, "12345", p.ClientID)
	assert.Equal(t, Rotation{Rotates: credential.RotatesYes, Grace: 26 * time.Second}, p.Rotation)
	assert.InDelta(t, 0.5, p.Limits.PerSecond, 0)
	assert.Equal(t, RefreshToken{Idle: 30 * 24 * time.Hour, Absolute: 90 * 24 * time.Hour}, p.RefreshToken)
	assert.Equal(t, "0 * * * *", p.Fetch.String(), "inherited")
	assert.Len(t, got.Warnings, 3)
	assert.Contains(t, got.Warnings[0], "subscriptions[0].secret: a secret is written into the file")
	assert.Contains(t, got.Warnings[1], "config.yaml:16: providers.a-1.rotation.grace: 26s is not longer than timeout 5m0s + 5s")
}

func TestAllProblemsAreToldAtOnceInTheOrderOfTheFile(t *testing.T) {
	t.Parallel()
	path := write(t, `listen: nowhere
redis: {shards: 65, sharts: 2}
schedule:
  fetch: "*/16 * * * *"
  refresh_at: 0.85
providers:
  acme:
    kind: oauth2
    token_url: https://id.acme.example/token
    token_url: https://id.acme.example/token
    client_id: x
    client_secret: {env: NOT_SET}
`)
	_, err := Load(path, []string{"REFRESHD_LOG_LEVEL=loud"}, nil)
	require.EqualError(t, err, strings.ReplaceAll(`the configuration has 8 problems:
  FILE:1: listen: "nowhere" is not host:port; write one like 127.0.0.1:7420
  FILE:2: redis.shards: 65 is not from 1 to 64; 1 is enough for a single Redis
  FILE:2: redis.sharts: there is no such key; known here: url, shards
  FILE:4: schedule.fetch: "*/16 * * * *": gap of 12m between 2024-01-01 00:48 UTC and 2024-01-01 01:00 UTC; the shortest allowed is 15m
  FILE:5: schedule.refresh_at: 0.85 and schedule.jitter 0.1 together are 0.95, and a refresh must leave a tenth of a token's life; lower one of them until the sum is at most 0.9
  FILE:10: providers.acme.token_url: the key occurs twice (first at FILE:9); remove one of them
  FILE:12: providers.acme.client_secret: the environment variable NOT_SET is not set; set it, or use {file: path}
  environment variable REFRESHD_LOG_LEVEL: log.level: "loud" is not one of trace, debug, info, warn, error`, "FILE", path))
	var invalid *InvalidError
	require.ErrorAs(t, err, &invalid)
	assert.Len(t, invalid.Problems, 8)
}

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := Load(filepath.Join(dir, "missing.yaml"), nil, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "missing.yaml: no such file or directory; name the one that is meant with --config")
	_, err = Load(dir, nil, nil)
	require.ErrorContains(t, err, "not a regular file; name one that is")
	loop := filepath.Join(dir, "loop.yaml")
	require.NoError(t, os.Symlink(loop, loop))
	_, err = Load(loop, nil, nil)
	require.ErrorContains(t, err, "loop.yaml: too many levels of symbolic links; name a file that can be read")
	big := filepath.Join(dir, "big.yaml")
	require.NoError(t, os.WriteFile(big, nil, 0o600))
	require.NoError(t, os.Truncate(big, maxFile+1))
	_, err = Load(big, nil, nil)
	require.ErrorContains(t, err, "larger than")
}

func TestDefaultIsFresh(t *testing.T) {
	t.Parallel()
	Default().Providers["x"] = Provider{}
	assert.Empty(t, Default().Providers)
}

// Whoever only looks for the service needs no secret of its providers.
func TestLocate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	text := "listen: 127.0.0.1:7999\nproviders:\n  acme:\n    kind: oauth2\n    token_url: https://id.acme.example/token\n    client_id: me\n    client_secret: {env: NOT_SET_HERE}\n"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	_, err := Load(path, nil, nil)
	require.ErrorContains(t, err, "NOT_SET_HERE")
	conf, err := Locate(path, nil)
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1:7999", conf.Listen)

	require.NoError(t, os.WriteFile(path, []byte("listen: nowhere\n"), 0o600))
	_, err = Locate(path, nil)
	require.ErrorContains(t, err, "listen")
}
