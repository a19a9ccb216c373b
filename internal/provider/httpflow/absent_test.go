package httpflow_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/httpflow"
	"github.com/refreshd/refreshd/internal/provider/providertest"
)

// What a reply lacks is named with what stood beside it: names, and no values,
// nor a key that may be one.
func TestMissing(t *testing.T) {
	t.Parallel()
	wrong := httpflow.Place{JSON: "session.tkn"}
	for name, row := range map[string]struct {
		method credential.Method
		change func(*httpflow.Options)
		body   string
		class  credential.Class
		want   credential.Absence
	}{
		"the token of a login": {
			credential.MethodLogin, func(o *httpflow.Options) { o.Login.Response.AccessToken = wrong },
			`{"session": {"token": "canary", "ttl": 1}, "user": 1}`, credential.ClassRefused,
			credential.Absence{Name: "access_token", Place: "json session.tkn", Beside: []string{"token", "ttl"}},
		},
		"the token of a refresh": {
			credential.MethodRefresh, func(o *httpflow.Options) { o.Refresh.Response.AccessToken = wrong },
			`{"token": "canary", "eyJhbGciOi.canary": 1, "00491701234567": 2, "abcdefghijabcdefghijabcdefghijabc": 3}`, credential.ClassAmbiguous,
			credential.Absence{Name: "access_token", Place: "json session.tkn", Beside: []string{"token"}},
		},
		"the refresh token of a refresh": {
			credential.MethodRefresh, func(o *httpflow.Options) { o.Refresh.Response.RefreshToken = httpflow.Place{JSON: "refreshTkn"} },
			`{"token": "canary", "refreshToken": "canary", "expiresIn": 60}`, credential.ClassOK,
			credential.Absence{Name: "refresh_token", Place: "json refreshTkn", Beside: []string{"expiresIn", "refreshToken", "token"}},
		},
		"a cookie": {
			credential.MethodRefresh, func(o *httpflow.Options) { o.Refresh.Response.Subject = httpflow.Place{Cookie: "uid"} },
			`{"token": "a", "refreshToken": "b", "expiresIn": 60}`, credential.ClassOK,
			credential.Absence{Name: "subject", Place: "cookie uid", Beside: []string{"user"}},
		},
		"a header": {
			credential.MethodRefresh, func(o *httpflow.Options) { o.Refresh.Response.Subject = httpflow.Place{Header: "X-Uid"} },
			`{"token": "a", "refreshToken": "b", "expiresIn": 60}`, credential.ClassOK,
			credential.Absence{Name: "subject", Place: "header X-Uid", Beside: []string{"Set-Cookie", "X-User"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-User", "canary")
				w.Header().Set("Set-Cookie", "user=canary")
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(row.body))
			})
			o := shop(s.URL)
			row.change(&o)
			out, _ := present(t, newProvider(t, o), row.method)
			assert.Equal(t, row.class, out.Class)
			require.Len(t, out.Missing, 1)
			row.want.Why = "was not found"
			assert.Equal(t, row.want, out.Missing[0])
			assert.Contains(t, out.Detail, row.want.String())
			assert.NotContains(t, out.Detail, "canary")
		})
	}
}

// A token is text, whatever else stands in its place; and what a login's reply
// lacks can be said in a sentence.
func TestMissingToken(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		at     httpflow.Place
		answer says
		want   string
	}{
		"a cookie, of a redirect": {
			httpflow.Place{Cookie: "sid"},
			to(303, "/home").with("Set-Cookie", "SID=canary", "Set-Cookie", "connect.sid=canary"),
			"the reply did not have the declared cookie sid; it set: SID, connect.sid",
		},
		"a cookie, of none": {httpflow.Place{Cookie: "sid"}, json(`{}`), "the reply did not have the declared cookie sid"},
		"a header":          {httpflow.Place{Header: "X-Session"}, json(`{}`).with("X-Sesion", "canary"), "the reply did not have the declared header X-Session; it has: X-Sesion"},
		"a path":            {httpflow.Place{JSON: "token"}, json(`{"error":"canary","status":1}`), "the reply did not have the declared json token; it has: error, status"},
		"a number":          {httpflow.Place{JSON: "token"}, json(`{"token":5}`), "the declared json token of the reply is no text; it has: token"},
		"a line break":      {httpflow.Place{JSON: "token"}, json(`{"token":"canary\nb","expiresIn":60}`), "the declared json token of the reply has a line break in it, and cannot be sent"},
		"a control character": {
			httpflow.Place{JSON: "data.token"},
			json(`{"data":{"token":"canary\u0000"}}`),
			"the declared json data.token of the reply has a control character in it, and cannot be sent",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.NewServer(t, row.answer.ServeHTTP)
			o := shop(s.URL)
			o.Login.Response = httpflow.Response{AccessToken: row.at}
			out, k := present(t, newProvider(t, o), credential.MethodLogin)
			assert.Equal(t, credential.ClassRefused, out.Class)
			assert.Equal(t, credential.ReasonMalformedReply, out.Reason)
			assert.Empty(t, k.found)
			require.Len(t, out.Missing, 1)
			assert.Equal(t, row.want, out.Missing[0].Sentence())
			assert.NotContains(t, out.Detail+out.Missing[0].Sentence(), "canary")
		})
	}
	s := providertest.NewServer(t, json(`{"token":"AT","refreshToken":7,"user":{"id":9},"expiresIn":60}`).ServeHTTP)
	out, _ := present(t, newProvider(t, shop(s.URL)), credential.MethodLogin)
	assert.Equal(t, credential.ClassOK, out.Class)
	assert.True(t, out.Token.Refresh.IsZero())
	assert.Equal(t, "9", out.Subject, "a UID may be a number")
	require.Len(t, out.Missing, 1)
	assert.Equal(t, "refresh_token (json refreshToken) is no text", out.Missing[0].String())
}

// Of a login's reply that was cut off nothing is known: it may have had a token.
func TestLoginCutOff(t *testing.T) {
	t.Parallel()
	backend := providertest.NewRaw(t, providertest.Text("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"+`{"user":1,`))
	out, _ := present(t, newProvider(t, shop(backend.URL)), credential.MethodLogin)
	assert.Equal(t, credential.ClassAmbiguous, out.Class)
	assert.Equal(t, credential.ReasonNetwork, out.Reason)
}
