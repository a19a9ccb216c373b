package oauth2_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/oauth2"
	"github.com/refreshd/refreshd/internal/provider/providertest"
)

// announces answers with a metadata document at path, in which BASE stands for
// the server's own URL, and with 404 elsewhere.
func announces(path, document string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case path:
			say(200, strings.ReplaceAll(document, "BASE", "http://"+r.Host))(w, r)
		case "/t":
			say(200, tokenReply)(w, r)
		case "/r":
			say(200, "")(w, r)
		default:
			say(404, "<html>")(w, r)
		}
	}
}

func paths(s *providertest.Server) []string {
	var all []string
	for _, r := range s.Received() {
		all = append(all, r.Method+" "+r.URI)
	}
	return all
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	const oidc, metadata = "GET /.well-known/openid-configuration", "GET /.well-known/oauth-authorization-server"
	const document = `{"issuer":"BASE%s","token_endpoint":"BASE/t","revocation_endpoint":"BASE/r","token_endpoint_auth_methods_supported":["none"]}`
	tests := map[string]struct {
		issuer string
		at     string
		asked  []string
	}{
		"OpenID Connect":           {"", "/.well-known/openid-configuration", []string{oidc}},
		"with a slash":             {"/", "/.well-known/openid-configuration", []string{oidc}},
		"with a path":              {"/tenant/7", "/tenant/7/.well-known/openid-configuration", []string{"GET /tenant/7/.well-known/openid-configuration"}},
		"RFC 8414":                 {"", "/.well-known/oauth-authorization-server", []string{oidc, metadata}},
		"RFC 8414 with a path":     {"/tenant", "/.well-known/oauth-authorization-server/tenant", []string{"GET /tenant/.well-known/openid-configuration", metadata + "/tenant"}},
		"RFC 8414, path and slash": {"/t/", "/.well-known/oauth-authorization-server/t", []string{"GET /t/.well-known/openid-configuration", metadata + "/t"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, announces(test.at, fmt.Sprintf(document, test.issuer)))
			p := newProvider(t, oauth2.Options{Issuer: s.URL + test.issuer})
			for range 3 {
				require.NoError(t, p.Prepare(t.Context()))
			}
			assert.Equal(t, test.asked, paths(s), "and nothing to the token endpoint")
			out, _ := exchange(t, p)
			assert.Equal(t, credential.ClassOK, out.Class)
			require.NoError(t, p.Revoke(t.Context(), credential.NewSecret("AT"), ""))
			assert.Equal(t, append(test.asked, "POST /t", "POST /r"), paths(s))
		})
	}
}

func TestPrepareFails(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		answer http.HandlerFunc
		class  credential.Class
		text   string
	}{
		"no document":            {say(404, "<html>"), credential.ClassOperator, "no metadata document"},
		"a page":                 {say(200, "<html>"), credential.ClassOperator, "no metadata document"},
		"a redirect":             {say(302, ""), credential.ClassOperator, "no metadata document"},
		"an outage":              {say(503, ""), credential.ClassNotSent, "HTTP 503"},
		"too many":               {say(429, ""), credential.ClassNotSent, "HTTP 429"},
		"no issuer":              {say(200, `{"token_endpoint":"https://x.example/"}`), credential.ClassOperator, "no metadata document"},
		"another issuer":         {say(200, `{"issuer":"https://evil.example","token_endpoint":"https://evil.example/t"}`), credential.ClassOperator, `says "https://evil.example"`},
		"a huge issuer":          {say(200, `{"issuer":"`+strings.Repeat("x", 10_000)+`"}`), credential.ClassOperator, "set issuer to it"},
		"no token endpoint":      {announces("/.well-known/openid-configuration", `{"issuer":"BASE"}`), credential.ClassOperator, "no token_endpoint"},
		"an http token endpoint": {announces("/.well-known/openid-configuration", `{"issuer":"BASE","token_endpoint":"http://id.example/t"}`), credential.ClassOperator, "token_endpoint: it is http"},
		"a metadata service": {
			announces("/.well-known/openid-configuration", `{"issuer":"BASE","token_endpoint":"https://169.254.169.254/t"}`),
			credential.ClassOperator, "link-local",
		},
		"a bad revocation endpoint": {
			announces("/.well-known/openid-configuration", `{"issuer":"BASE","token_endpoint":"BASE/t","revocation_endpoint":"ftp://x/"}`),
			credential.ClassOperator, "revocation_endpoint",
		},
		"an endless document": {func(w http.ResponseWriter, _ *http.Request) {
			for range 64 {
				_, _ = w.Write(make([]byte, 32<<10))
			}
		}, credential.ClassNotSent, "longer than 1 MiB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, test.answer)
			p := newProvider(t, oauth2.Options{Issuer: s.URL})
			err := p.Prepare(t.Context())
			var failed *provider.CallError
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, test.class, failed.Outcome.Class)
			assert.Contains(t, err.Error(), test.text)
			assert.Less(t, len(err.Error()), 1000)

			asked := len(s.Received())
			require.Error(t, p.Prepare(t.Context()))
			assert.Len(t, s.Received(), asked, "the failure stands for a while")
			assert.NotContains(t, paths(s), "POST /t")
			require.ErrorAs(t, p.Revoke(t.Context(), credential.NewSecret("AT"), ""), &failed)
		})
	}
}

func TestPrepareUnreachable(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, say(200, ""))
	s.Close()
	p := newProvider(t, oauth2.Options{Issuer: s.URL})
	var failed *provider.CallError
	require.ErrorAs(t, p.Prepare(t.Context()), &failed)
	assert.Equal(t, credential.ClassNotSent, failed.Outcome.Class)
	assert.Equal(t, "connection refused", failed.Outcome.Detail)
	assert.Positive(t, failed.Outcome.RetryAfter+time.Nanosecond)
}

// What the document's server asks for holds up a whole provider, so it is believed
// for an hour at the most.
func TestPrepareIsPutOff(t *testing.T) {
	t.Parallel()
	for told, want := range map[string]time.Duration{"600": 10 * time.Minute, "86400": time.Hour} {
		s := providertest.NewServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", told)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		var failed *provider.CallError
		require.ErrorAs(t, newProvider(t, oauth2.Options{Issuer: s.URL}).Prepare(t.Context()), &failed)
		assert.Equal(t, want, failed.Outcome.RetryAfter)
	}
}

// A caller that leaves gets its own reason back.
func TestPrepareCalledOff(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan struct{})
	s := providertest.NewServer(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done() // the client hangs up
		close(left)
	})
	p := newProvider(t, oauth2.Options{Issuer: s.URL})
	require.ErrorIs(t, p.Prepare(ctx), context.Canceled)
	<-left
}

// A client authentication that the provider does not announce is worth a
// warning and no more.
func TestPrepareWarns(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := providertest.NewServer(t, announces("/.well-known/openid-configuration",
		`{"issuer":"BASE","token_endpoint":"BASE/t","token_endpoint_auth_methods_supported":["private_key_jwt"]}`))
	p := newProvider(t, oauth2.Options{Issuer: s.URL, Log: zerolog.New(&log)})
	require.NoError(t, p.Prepare(t.Context()))
	assert.Contains(t, log.String(), "does not announce")
	assert.Contains(t, log.String(), `"provider":"acme"`)
	require.ErrorIs(t, p.Revoke(t.Context(), credential.NewSecret("AT"), ""), provider.ErrNoRevocation)
}
