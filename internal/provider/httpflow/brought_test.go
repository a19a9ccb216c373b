package httpflow_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/httpflow"
)

// A login is refused only where a call can never be made for it: a value that some
// reply may tell before is not missing.
func TestCheckLogin(t *testing.T) {
	t.Parallel()
	const url = "https://shop.example"
	uid := httpflow.Place{JSON: "user.id"}
	token := credential.Token{Access: credential.NewSecret("AT"), Refresh: credential.NewSecret("RT")}
	jane := credential.SignIn{Username: credential.NewSecret("jane"), Password: credential.NewSecret("p")}
	byUID := func(o *httpflow.Options) { o.Refresh.Request.URL = url + "/users/{{.subject}}/token" }
	extends := func(text string) func(*httpflow.Options) {
		return func(o *httpflow.Options) {
			o.Extend = &httpflow.Call{Request: httpflow.Request{URL: url + "/me", Query: map[string]string{"v": text}}}
		}
	}
	inHeader := func(o *httpflow.Options) {
		o.Refresh.Request.Headers = map[string]string{"X-Refresh": "{{.refresh_token}}"}
	}
	tests := map[string]struct {
		set   func(*httpflow.Options)
		login credential.Login
		want  provider.ValueError // zero: it is taken
	}{
		"nothing needs it": {extends("1"), credential.Login{Token: token}, provider.ValueError{}},
		"it is brought":    {byUID, credential.Login{Token: token, Subject: "u-1"}, provider.ValueError{}},
		"missing":          {byUID, credential.Login{Token: token}, provider.ValueError{Name: "subject", Request: "refresh.request"}},
		"upwards": {
			byUID,
			credential.Login{Token: token, Subject: "u/../x"},
			provider.ValueError{Name: "subject", Request: "refresh.request.url", Why: "leads to another path"},
		},
		"a token that ends its header": {
			inHeader,
			credential.Login{Token: credential.Token{Access: token.Access, Refresh: credential.NewSecret("a\rb")}},
			provider.ValueError{Name: "refresh_token", Request: "refresh.request.headers.X-Refresh", Why: "has a control character"},
		},
		"a token that ends its cookie": {
			func(o *httpflow.Options) {
				extends("1")(o)
				o.Send = httpflow.Send{As: httpflow.AsCookie, Name: "sid"}
			},
			credential.Login{Token: credential.Token{Access: credential.NewSecret("a;b")}},
			provider.ValueError{Name: "access_token", Request: "send", Why: "has a character that cannot travel there"},
		},
		"a token that is not UTF-8": {
			func(o *httpflow.Options) {
				o.Refresh.Request.JSON = map[string]any{"uid": "{{.subject}}", "rt": "{{.refresh_token}}"}
			},
			credential.Login{Token: credential.Token{Refresh: credential.NewSecret("\xff")}, Subject: "u-1"},
			provider.ValueError{Name: "refresh_token", Request: "refresh.request", Why: "is not UTF-8"},
		},
		"a token that leads upwards, beside a UID that does not": {
			func(o *httpflow.Options) { o.Refresh.Request.URL = url + "/users/{{.subject}}/{{.refresh_token}}" },
			credential.Login{Token: credential.Token{Refresh: credential.NewSecret("../x")}, Subject: "u-1"},
			provider.ValueError{Name: "refresh_token", Request: "refresh.request.url", Why: "leads to another path"},
		},
		"a token that is not sent there": {
			inHeader, credential.Login{Token: credential.Token{Access: credential.NewSecret("a\rb"), Refresh: token.Refresh}}, provider.ValueError{},
		},
		"no refresh token":      {byUID, credential.Login{Token: credential.Token{Access: token.Access}}, provider.ValueError{}},
		"the login tells it":    {byUID, credential.Login{SignIn: jane}, provider.ValueError{}},
		"a kept login tells it": {byUID, credential.Login{SignIn: jane, Token: token}, provider.ValueError{}},
		"the login does not tell it": {
			func(o *httpflow.Options) { byUID(o); o.Login.Response.Subject = httpflow.Place{} },
			credential.Login{SignIn: jane},
			provider.ValueError{Name: "subject", Request: "refresh.request"},
		},
		"the login needs it": {
			func(o *httpflow.Options) { o.Login.Request.Form["uid"] = "{{.subject}}" },
			credential.Login{SignIn: jane},
			provider.ValueError{Name: "subject", Request: "login.request"},
		},
		"user data tells it": {
			func(o *httpflow.Options) {
				byUID(o)
				o.UserData = &httpflow.Call{Request: httpflow.Request{URL: url + "/me"}, Response: httpflow.Response{Subject: uid}}
			},
			credential.Login{Token: token},
			provider.ValueError{},
		},
		"user data needs it, too": {
			func(o *httpflow.Options) {
				byUID(o)
				o.UserData = &httpflow.Call{Request: httpflow.Request{URL: url + "/users/{{.subject}}"}, Response: httpflow.Response{Subject: uid}}
			},
			credential.Login{Token: token},
			provider.ValueError{Name: "subject", Request: "refresh.request"},
		},
		"an extension": {extends("{{.subject}}"), credential.Login{Token: token}, provider.ValueError{Name: "subject", Request: "session.extend.request"}},
		"an extension, with a login": {
			func(o *httpflow.Options) { extends("{{.subject}}")(o); o.Login.Response.Subject = httpflow.Place{} },
			credential.Login{SignIn: jane},
			provider.ValueError{},
		},
		"an extension, with a login beside the token": {
			func(o *httpflow.Options) { extends("{{.subject}}")(o); o.Login.Response.Subject = httpflow.Place{} },
			credential.Login{SignIn: jane, Token: token},
			provider.ValueError{},
		},
		"an extension with a refresh token": {
			extends("{{.refresh_token}}"),
			credential.Login{Token: credential.Token{Access: token.Access}},
			provider.ValueError{Name: "refresh_token", Request: "session.extend.request"},
		},
		"a refresh with an access token": {
			func(o *httpflow.Options) { o.Refresh.Request.Headers = map[string]string{"X-Old": "{{.access_token}}"} },
			credential.Login{Token: credential.Token{Refresh: token.Refresh}},
			provider.ValueError{Name: "access_token", Request: "refresh.request"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := shop(url)
			test.set(&o)
			err := newProvider(t, o).CheckLogin(test.login)
			if test.want == (provider.ValueError{}) {
				require.NoError(t, err)
				return
			}
			test.want.Provider = "shop"
			assert.Equal(t, &test.want, err)
		})
	}
}
