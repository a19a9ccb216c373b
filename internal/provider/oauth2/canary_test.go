package oauth2_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/oauth2"
	"github.com/refreshd/refreshd/internal/provider/providertest"
)

// The secrets of these tests. None is part of another.
const (
	canaryRefresh = "CANARY-refresh/+=1"
	canaryNew     = "CANARY-new/+=2"
	canaryAccess  = "CANARY-access/+=3"
	canaryClient  = "CANARY-client/+=4"
	canaryProxy   = "CANARY-proxy-5"
	canaryQuery   = "CANARY-query-6"
)

// forms returns the canary in the shapes in which it could get somewhere.
func forms(canary string) []string {
	raw := []byte(canary)
	return []string{
		canary, url.QueryEscape(canary), url.PathEscape(canary), hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)),
		strings.TrimRight(base64.StdEncoding.EncodeToString(raw), "="), strings.TrimRight(base64.URLEncoding.EncodeToString(raw), "="),
		canary[:12], // a piece
	}
}

// Whatever goes wrong, no secret gets into an outcome, an error or the log.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	echo := `{"error":"` + canaryRefresh + `","error_description":"` + canaryRefresh + `","refresh_token":"` + canaryNew + `","access_token":"` + canaryAccess + `"}`
	away := providertest.NewServer(t, say(200, ""))
	away.Close()
	asProxy := func(at string) oauth2.Options {
		return oauth2.Options{TokenURL: "https://id.example", Proxy: strings.Replace(at, "://", "://u:"+canaryProxy+"@", 1)}
	}
	tests := map[string]struct {
		answer http.HandlerFunc
		text   string                          // or this, and the connection ends
		use    func(url string) oauth2.Options // nil: as token_url
	}{
		"success":      {answer: say(200, strings.Replace(echo, "error", "x", 2))},
		"echo":         {answer: say(400, echo)},
		"echo, 200":    {answer: say(200, `{"ok":false,"error":"`+canaryRefresh+`"}`)},
		"echo in code": {answer: say(400, `{"error":{"code":"`+canaryRefresh+`","status":"`+canaryClient+`"}}`)},
		"echo cut":     {answer: say(200, echo[:len(echo)-20])},
		"HTML":         {answer: say(200, "<html>"+canaryRefresh)},
		"outage":       {answer: say(503, echo)},
		"client":       {answer: say(401, echo)},
		"redirect": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/?"+canaryRefresh, http.StatusTemporaryRedirect)
		}},
		"no answer":     {answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"slow":          {answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		"half a reply":  {text: "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + echo},
		"too much":      {text: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + echo},
		"not HTTP":      {text: canaryRefresh + "\r\n\r\n"},
		"bad header":    {text: "HTTP/1.1 200 OK\r\nContent-Length: " + canaryRefresh + "\r\n\r\n"},
		"proxy answers": {text: "HTTP/1.1 403 " + canaryProxy + "\r\n\r\n", use: asProxy},
		"no TLS": {text: canaryRefresh, use: func(at string) oauth2.Options {
			return oauth2.Options{TokenURL: strings.Replace(at, "http:", "https:", 1)}
		}},
		"no such host":  {text: "unused", use: func(string) oauth2.Options { return oauth2.Options{TokenURL: "https://no..such..host"} }},
		"refused":       {text: "unused", use: func(string) oauth2.Options { return oauth2.Options{TokenURL: away.URL} }},
		"proxy refused": {text: "unused", use: func(string) oauth2.Options { return asProxy(away.URL) }},
		"discovery":     {answer: say(503, echo), use: func(at string) oauth2.Options { return oauth2.Options{Issuer: at} }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var shown bytes.Buffer
			var at string
			if test.answer != nil {
				at = providertest.NewServer(t, test.answer).URL
			} else {
				at = providertest.NewRaw(t, providertest.Text(test.text)).URL
			}
			o := oauth2.Options{TokenURL: at}
			if test.use != nil {
				o = test.use(at)
			}
			o.ClientSecret = credential.NewSecret(canaryClient)
			o.Timeout = time.Second
			o.Log = zerolog.New(&shown)
			if o.TokenURL != "" {
				o.TokenURL += "?key=" + canaryQuery
				o.RevokeURL = o.TokenURL
			}
			p := newProvider(t, o)
			if err := p.Prepare(t.Context()); err != nil {
				_, _ = fmt.Fprintf(&shown, "%v %+v %#v", err, err, err)
			}
			out := p.Exchange(t.Context(), presenting(credential.NewSecret(canaryRefresh), new(kept).keep), "")
			_, _ = fmt.Fprintf(&shown, "%v %+v %#v", out, out, out)
			log := zerolog.New(&shown)
			log.Info().Interface("outcome", out).Send()
			if err := p.Revoke(t.Context(), credential.NewSecret(canaryRefresh), ""); err != nil {
				_, _ = fmt.Fprintf(&shown, "%v %+v %#v", err, err, err)
			}
			_, _ = fmt.Fprintf(&shown, "%+v", p)
			for _, canary := range []string{canaryRefresh, canaryNew, canaryAccess, canaryClient, canaryProxy, canaryQuery} {
				for _, form := range forms(canary) {
					assert.NotContains(t, shown.String(), form)
				}
			}
			assert.NotContains(t, shown.String(), "Basic ")
			assert.Contains(t, shown.String(), string(out.Class))
		})
	}
}
