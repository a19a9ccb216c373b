package httpflow_test

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
	"github.com/refreshd/refreshd/internal/provider/httpflow"
	"github.com/refreshd/refreshd/internal/provider/providertest"
)

// The secrets of these tests. None is part of another.
const (
	canaryUser     = "CANARY-user@1"
	canaryPassword = "CANARY-password/+=2"
	canaryAccess   = "CANARY-access/+=3"
	canaryRefresh  = "CANARY-refresh/+=4"
	canaryNew      = "CANARY-new/+=5"
	canaryPerson   = "CANARY-person-6"
	canaryKey      = "CANARY-key-7" // in a declared header
)

// forms returns the canary in the shapes in which it could get somewhere.
func forms(canary string) []string {
	raw := []byte(canary)
	return []string{
		canary, url.QueryEscape(canary), url.PathEscape(canary), hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)),
		strings.TrimRight(base64.StdEncoding.EncodeToString(raw), "="), strings.TrimRight(base64.URLEncoding.EncodeToString(raw), "="),
		canary[:10], // a piece
	}
}

// Whatever goes wrong, no secret gets into an outcome, an error or the log.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	echo := func(code string) string {
		return `{"error":"` + code + `","code":"` + canaryPassword + `","message":"` + canaryUser + `","token":"` + canaryNew + `","refreshToken":"` +
			canaryNew + `","user":{"id":"` + canaryPerson + `"},"errors":[{"extensions":{"code":"` + canaryRefresh + `"}}]}`
	}
	page := "<html><body>" + canaryPassword + canaryPerson + `<input type="password" value="` + canaryAccess + `">`
	for name, answer := range map[string]http.Handler{
		"success":  json(echo("none")).with("Set-Cookie", "sid="+canaryNew),
		"declared": json(echo("declared")),
		"refused":  status(401).saying(echo(canaryRefresh)),
		"locked":   status(423).saying(echo(canaryRefresh)),
		"odd":      status(400).saying(echo(canaryRefresh)),
		"outage":   status(503).saying(echo(canaryRefresh)),
		"redirect": to(302, "/?"+canaryAccess),
		"moved":    to(301, "/?"+canaryAccess),
		"a page":   json(page),
		"nothing":  json(`{"x":"` + canaryAccess + `"}`),
		"cut off":  json(echo("none")).with("Content-Length", "4000"),
		"no answer": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}),
		"slow": http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, answer.ServeHTTP)
			var shown bytes.Buffer
			o := shop(s.URL)
			more := airline(s.URL)
			o.Extend, o.Verify, o.UserData = more.Extend, more.Verify, more.UserData
			o.Log, o.Timeout = zerolog.New(&shown), time.Minute
			if name == "slow" {
				o.Timeout = 100 * time.Millisecond
			}
			o.Failures = []httpflow.Failure{{JSON: "error", Equals: "declared"}}
			for _, c := range []*httpflow.Call{o.Login, o.Refresh, o.Extend, o.Verify, o.UserData} {
				c.Request.Headers = map[string]string{"X-Api-Key": canaryKey}
				c.Request.URL += "?key=" + canaryKey
			}
			o.Extend.Request.Query = map[string]string{"t": "{{.access_token}}"}
			p := newProvider(t, o)
			token := credential.Token{Access: credential.NewSecret(canaryAccess), Refresh: credential.NewSecret(canaryRefresh)}
			show := func(list ...any) {
				for _, v := range list {
					_, _ = fmt.Fprintf(&shown, "%v %+v %#v", v, v, v)
					log := zerolog.New(&shown)
					log.Info().Interface("value", v).Send()
				}
			}
			for _, m := range []credential.Method{credential.MethodLogin, credential.MethodRefresh, credential.MethodExtend} {
				out := p.Exchange(t.Context(), credential.Presentation{
					Method: m, Token: token, Keep: new(kept).keep, MaySend: func() error { return nil },
					SignIn: credential.SignIn{Username: credential.NewSecret(canaryUser), Password: credential.NewSecret(canaryPassword)},
				})
				out.Subject = "" // is no secret
				out.UserData = nil
				show(out)
				assert.NotEmpty(t, out.Class)
			}
			_, told := p.UserData(t.Context(), token, "", nil)
			told.UserData = nil
			show(told, p.Verify(t.Context(), token, "", nil), p.Revoke(t.Context(), token))
			_, _ = fmt.Fprintf(&shown, "%v", p.Name())
			for _, canary := range []string{canaryUser, canaryPassword, canaryAccess, canaryRefresh, canaryNew, canaryPerson, canaryKey} {
				for _, form := range forms(canary) {
					assert.NotContains(t, shown.String(), form)
				}
			}
			assert.NotContains(t, shown.String(), s.URL)
		})
	}
}

// What does not fit is not quoted either.
func TestUnfitIsNotShown(t *testing.T) {
	t.Parallel()
	p := newProvider(t, httpflow.Options{Login: &httpflow.Call{
		Request: httpflow.Request{
			URL: "https://shop.example/{{.username}}", Headers: map[string]string{"X-P": "{{.password}}"}, JSON: "{{.username}}",
		},
		Response: httpflow.Response{AccessToken: httpflow.Place{JSON: "t"}},
	}})
	for _, in := range []credential.SignIn{
		{Username: credential.NewSecret("u"), Password: credential.NewSecret(canaryPassword + "\n")},
		{Username: credential.NewSecret("../" + canaryUser), Password: credential.NewSecret("p")},
		{Username: credential.NewSecret(canaryUser + "\xff"), Password: credential.NewSecret("p")},
	} {
		out := p.Exchange(t.Context(), credential.Presentation{Method: credential.MethodLogin, SignIn: in, Keep: new(kept).keep})
		assert.Equal(t, credential.ClassPermanent, out.Class)
		assert.NotContains(t, fmt.Sprintf("%+v", out), "CANARY")
	}
}
