package httpflow_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/httpflow"
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
			s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
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
