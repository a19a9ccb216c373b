package oauth2_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/oauth2"
	"github.com/refreshd/refreshd/internal/provider/providertest"
)

const tokenReply = `{"access_token":"AT","token_type":"Bearer","expires_in":3600,"refresh_token":"RT-new"}`

func TestRequest(t *testing.T) {
	t.Parallel()
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("cl%3Aient:s+%25%3D%C3%A4"))
	secret := credential.NewSecret("s %=ä")
	tests := map[string]struct {
		options       oauth2.Options
		scope         string
		authorization string
		body          string
	}{
		"basic":   {oauth2.Options{ClientSecret: secret, ClientAuth: oauth2.AuthBasic}, "", basic, ""},
		"default": {oauth2.Options{ClientSecret: secret}, "a b", basic, "&scope=a+b"},
		"post":    {oauth2.Options{ClientSecret: secret, ClientAuth: oauth2.AuthPost}, "", "", "&client_id=cl%3Aient&client_secret=s+%25%3D%C3%A4"},
		"none":    {oauth2.Options{ClientAuth: oauth2.AuthNone}, "a+b", "", "&client_id=cl%3Aient&scope=a%2Bb"},
		"public":  {oauth2.Options{}, "", "", "&client_id=cl%3Aient"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, say(200, tokenReply))
			test.options.TokenURL = s.URL + "/token?tenant=7"
			test.options.ClientID = "cl:ient"
			test.options.Version = "1.2.3"
			p := newProvider(t, test.options)
			require.NoError(t, p.Prepare(t.Context()))
			out := p.Exchange(t.Context(), presenting(credential.NewSecret("R+T/&="), new(kept).keep), test.scope)
			assert.Equal(t, credential.ClassOK, out.Class)

			require.Len(t, s.Received(), 1, "preparing sends nothing where the token endpoint is known")
			got := s.Received()[0]
			assert.Equal(t, "POST", got.Method)
			assert.Equal(t, "/token?tenant=7", got.URI)
			assert.Equal(t, "grant_type=refresh_token&refresh_token=R%2BT%2F%26%3D"+test.body, got.Body)
			assert.Equal(t, test.authorization, got.Header.Get("Authorization"))
			assert.Equal(t, "application/json", got.Header.Get("Accept"))
			assert.Equal(t, "application/x-www-form-urlencoded", got.Header.Get("Content-Type"))
			assert.Equal(t, "refreshd/1.2.3", got.Header.Get("User-Agent"))
			assert.Empty(t, got.Header.Get("Accept-Encoding"))
			assert.Empty(t, got.Header.Get("Idempotency-Key"))
		})
	}
}

// row is one of ../testdata/replies.json.
type row struct {
	Name     string            `json:"name"`
	Status   int               `json:"status"`
	Header   map[string]string `json:"header"`
	Body     string            `json:"body"`
	Matchers []matcher         `json:"matchers"`

	Class      credential.Class  `json:"class"`
	Reason     credential.Reason `json:"reason"`
	Detail     string            `json:"detail"`
	RetryAfter string            `json:"retry_after"`
	Access     string            `json:"access"`
	Refresh    string            `json:"refresh"`
}

// matcher is a provider.Matcher as the table writes it.
type matcher struct {
	Status      int               `json:"status"`
	Error       string            `json:"error"`
	Description string            `json:"description"`
	Class       credential.Class  `json:"class"`
	Reason      credential.Reason `json:"reason"`
}

func (r row) matchers() []provider.Matcher {
	var all []provider.Matcher
	for _, m := range r.Matchers {
		all = append(all, provider.Matcher(m))
	}
	return all
}

// Every reply of the table of error classes, from a real server.
func TestReplies(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../testdata/replies.json")
	require.NoError(t, err)
	var rows []row
	require.NoError(t, json.Unmarshal(data, &rows))
	require.NotEmpty(t, rows)
	for _, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, func(w http.ResponseWriter, r *http.Request) {
				for name, value := range row.Header {
					w.Header().Set(name, value)
				}
				say(row.Status, row.Body)(w, r)
			})
			p := newProvider(t, oauth2.Options{TokenURL: s.URL, Matchers: row.matchers()})
			out, k := exchange(t, p)
			assert.Equal(t, row.Class, out.Class)
			assert.Equal(t, row.Reason, out.Reason)
			assert.Equal(t, row.Detail, out.Detail)
			assert.Equal(t, row.Access, out.Token.Access.Reveal())
			assert.Equal(t, row.Refresh, out.Token.Refresh.Reveal())
			if row.RetryAfter != "" {
				after, err := time.ParseDuration(row.RetryAfter)
				require.NoError(t, err)
				assert.Equal(t, after, out.RetryAfter)
			}
			if row.Access == "" && row.Refresh == "" {
				assert.Empty(t, k.found, "there was nothing to keep")
			} else if assert.Len(t, k.found, 1) {
				assert.Equal(t, out.Token, k.found[0].Token)
			}
			assert.Len(t, s.Received(), 1)
		})
	}
}

// Wherever a reply breaks off, the refresh token in it is kept once it is
// whole, and the exchange is a success only if it is certain what came.
func TestReplyBreaksOff(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 86\r\n\r\n"
	const body = `{"access_token":"AT","token_type":"Bearer","refresh_token":"RT-new","expires_in":3600}`
	require.Len(t, body, 86)
	for name, test := range map[string]struct {
		text    string
		class   credential.Class
		refresh string
	}{
		"before the header ends":       {head[:len(head)-2], credential.ClassAmbiguous, ""},
		"before the body":              {head, credential.ClassAmbiguous, ""},
		"in the access token":          {head + body[:18], credential.ClassAmbiguous, ""},
		"before the refresh token":     {head + body[:44], credential.ClassAmbiguous, ""},
		"in the refresh token":         {head + body[:64], credential.ClassAmbiguous, ""},
		"behind the refresh token":     {head + body[:68], credential.ClassOK, "RT-new"},
		"before the last byte":         {head + body[:85], credential.ClassOK, "RT-new"},
		"nowhere":                      {head + body, credential.ClassOK, "RT-new"},
		"in chunks, before their end":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n56\r\n" + body + "\r\n", credential.ClassOK, "RT-new"},
		"in the form's refresh token":  {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\naccess_token=AT&refresh_token=RT-n", credential.ClassAmbiguous, ""},
		"behind a form's access token": {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\naccess_token=AT&", credential.ClassAmbiguous, ""},
		"in an error reply":            {"HTTP/1.1 502 Bad\r\nContent-Length: 99\r\n\r\n" + body, credential.ClassTransient, "RT-new"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, oauth2.Options{TokenURL: providertest.NewRaw(t, providertest.Text(test.text)).URL})
			out, k := exchange(t, p)
			assert.Equal(t, test.class, out.Class)
			assert.Equal(t, test.refresh, out.Token.Refresh.Reveal())
			if test.refresh != "" {
				require.Len(t, k.found, 1)
				assert.Equal(t, test.refresh, k.found[0].Token.Refresh.Reveal())
			}
			if test.class == credential.ClassAmbiguous {
				assert.Equal(t, credential.ReasonNetwork, out.Reason)
			}
		})
	}
}

func TestReplyTooLong(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"refresh_token":"RT-new","x":"`)
		for range 64 {
			_, _ = w.Write(make([]byte, 32<<10)) // the client leaves at some time
		}
	})
	out, k := exchange(t, newProvider(t, oauth2.Options{TokenURL: s.URL}))
	assert.Equal(t, credential.ClassAmbiguous, out.Class)
	assert.Equal(t, credential.ReasonMalformedReply, out.Reason)
	assert.Equal(t, "HTTP 200, cut off: the reply's body is longer than 1 MiB", out.Detail)
	require.Len(t, k.found, 1)
	assert.Equal(t, "RT-new", out.Token.Refresh.Reveal())
}

// Whoever cannot keep a token gets it all the same.
func TestKeepFails(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, say(200, tokenReply))
	k := &kept{err: errors.New("disk full")}
	out := newProvider(t, oauth2.Options{TokenURL: s.URL}).Exchange(t.Context(), presenting(credential.NewSecret("RT-old"), k.keep), "")
	assert.Equal(t, credential.ClassOK, out.Class)
	assert.Equal(t, "RT-new", out.Token.Refresh.Reveal())
	assert.Equal(t, time.Hour, out.ExpiresIn)
	assert.Len(t, k.found, 1)
}

// A redirect is not followed: neither the token nor the client's secret gets
// to another host, and this one sees them once.
func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		elsewhere := providertest.NewServer(t, say(200, tokenReply))
		s := providertest.NewServer(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, status)
		})
		out, _ := exchange(t, newProvider(t, oauth2.Options{TokenURL: s.URL, ClientSecret: credential.NewSecret("s")}))
		assert.Equal(t, credential.ClassOperator, out.Class)
		assert.Len(t, s.Received(), 1)
		assert.Empty(t, elsewhere.Received())
	}
}

// Once it is sent, an exchange outlives the one who asked for it.
func TestExchangeOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := providertest.NewServer(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		say(200, tokenReply)(w, r)
	})
	p := newProvider(t, oauth2.Options{TokenURL: s.URL})
	out := p.Exchange(ctx, presenting(credential.NewSecret("RT-old"), new(kept).keep), "")
	assert.Equal(t, credential.ClassOK, out.Class)

	out = p.Exchange(ctx, presenting(credential.NewSecret("RT-old"), new(kept).keep), "")
	assert.Equal(t, credential.ClassNotSent, out.Class)
	assert.Len(t, s.Received(), 1)
}

func TestExchangeTimeout(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := providertest.NewServer(t, func(http.ResponseWriter, *http.Request) { <-release })
	out, k := exchange(t, newProvider(t, oauth2.Options{TokenURL: s.URL, Timeout: 2 * time.Second}))
	close(release)
	assert.Equal(t, credential.ClassAmbiguous, out.Class)
	assert.Equal(t, credential.ReasonTimeout, out.Reason)
	assert.Empty(t, k.found)
}

// What may not be presented any more is not, though there is a connection for
// it; to revoke a token and to discover endpoints nobody is asked.
func TestRefusedPresentation(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, say(200, tokenReply))
	p := newProvider(t, oauth2.Options{TokenURL: s.URL, RevokeURL: s.URL + "/revoke"})
	out, _ := exchange(t, p)
	require.Equal(t, credential.ClassOK, out.Class)
	k := new(kept)
	late := presenting(credential.NewSecret("RT-late"), k.keep)
	asked := 0
	late.MaySend = func() error {
		asked++
		return errors.New("too late for RT-late")
	}
	out = p.Exchange(t.Context(), late, "")
	assert.Equal(t, credential.Outcome{
		Class: credential.ClassNotSent, Reason: credential.ReasonTimeout, Detail: "sending was no longer allowed",
	}, out)
	assert.Empty(t, k.found)
	assert.Equal(t, 1, asked)
	require.NoError(t, p.Revoke(t.Context(), credential.NewSecret("RT-old"), ""))
	require.Len(t, s.Received(), 2)
	assert.Equal(t, "/revoke", s.Received()[1].URI)
	assert.Equal(t, 1, asked)
}

// Nothing is sent without a token or a place to send it to.
func TestNothingToExchange(t *testing.T) {
	t.Parallel()
	s := providertest.NewServer(t, say(200, tokenReply))
	p := newProvider(t, oauth2.Options{TokenURL: s.URL})
	out := p.Exchange(t.Context(), presenting(credential.Secret{}, new(kept).keep), "")
	assert.Equal(t, credential.ClassNotSent, out.Class)
	assert.Empty(t, s.Received())

	out, _ = exchange(t, newProvider(t, oauth2.Options{Issuer: s.URL}))
	assert.Equal(t, credential.ClassNotSent, out.Class)
	assert.Equal(t, "the token endpoint is not known yet", out.Detail)
	assert.Empty(t, s.Received(), "discovery is made by Prepare")
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := oauth2.Options{Name: "acme", TokenURL: "https://id.example/token", ClientID: "c", ClientSecret: credential.NewSecret("CANARY")}
	with := func(change func(*oauth2.Options)) oauth2.Options {
		o := good
		change(&o)
		return o
	}
	for want, o := range map[string]oauth2.Options{
		"name: a provider needs one":                   with(func(o *oauth2.Options) { o.Name = "" }),
		"token_url: it is not set, and issuer neither": with(func(o *oauth2.Options) { o.TokenURL = "" }),
		"client_id":                                with(func(o *oauth2.Options) { o.ClientID = "" }),
		`client_auth: it is "tls"`:                 with(func(o *oauth2.Options) { o.ClientAuth = "tls" }),
		"client_auth: it is none, but":             with(func(o *oauth2.Options) { o.ClientAuth = oauth2.AuthNone }),
		"client_auth: it is post, but":             with(func(o *oauth2.Options) { o.ClientAuth = oauth2.AuthPost; o.ClientSecret = credential.Secret{} }),
		"errors[0]":                                with(func(o *oauth2.Options) { o.Matchers = []provider.Matcher{{}} }),
		"token_url: it is not":                     with(func(o *oauth2.Options) { o.TokenURL = "https://[CANARY" }),
		"token_url: it is not an":                  with(func(o *oauth2.Options) { o.TokenURL = "/token?key=CANARY" }),
		`token_url: it has scheme "ftp"`:           with(func(o *oauth2.Options) { o.TokenURL = "ftp://id.example/" }),
		"token_url: it has a user":                 with(func(o *oauth2.Options) { o.TokenURL = "https://u:CANARY@id.example/" }),
		"token_url: it has a fragment":             with(func(o *oauth2.Options) { o.TokenURL = "https://id.example/#CANARY" }),
		"token_url: it is http, which":             with(func(o *oauth2.Options) { o.TokenURL = "http://id.example/?key=CANARY" }),
		"token_url: it is refused: link-local":     with(func(o *oauth2.Options) { o.TokenURL = "https://169.254.169.254/" }),
		"token_url: it is refused: link-local and": with(func(o *oauth2.Options) { o.TokenURL = "https://[fe80::1]/" }),
		"revoke_url: it is http":                   with(func(o *oauth2.Options) { o.RevokeURL = "http://id.example/" }),
		"issuer: it is http":                       with(func(o *oauth2.Options) { o.Issuer = "http://id.example/" }),
		"issuer: it has a query":                   with(func(o *oauth2.Options) { o.Issuer = "https://id.example/?a=CANARY" }),
		"proxy is not a URL":                       with(func(o *oauth2.Options) { o.Proxy = "http://u:CANARY@[" }),
		"neither may be negative":                  with(func(o *oauth2.Options) { o.Timeout = -time.Second }),
		"and -1 connections":                       with(func(o *oauth2.Options) { o.MaxConns = -1 }),
	} {
		_, err := oauth2.New(o)
		require.ErrorIs(t, err, provider.ErrSettings, want)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "CANARY")
	}
	for _, o := range []oauth2.Options{
		good,
		with(func(o *oauth2.Options) { o.TokenURL = "http://id.example/"; o.AllowHTTP = true }),
		with(func(o *oauth2.Options) { o.TokenURL = "http://localhost:1/" }),
		with(func(o *oauth2.Options) { o.TokenURL = "http://[::1]:1/" }),
	} {
		p, err := oauth2.New(o)
		require.NoError(t, err)
		assert.Equal(t, "acme", p.Name())
	}
}
