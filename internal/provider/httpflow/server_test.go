package httpflow_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/httpflow"
)

// says is a reply: a status, pairs of header names and values, and a body.
type says struct {
	status int
	header []string
	body   string
}

func (a says) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	for i := 0; i+1 < len(a.header); i += 2 {
		w.Header().Add(a.header[i], a.header[i+1])
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body) // the client may be gone
}

// json is a reply of 200 with a body.
func json(body string) says { return says{status: http.StatusOK, body: body} }

// newProvider returns a provider that is closed when the test ends.
func newProvider(t *testing.T, o httpflow.Options) *httpflow.Provider {
	t.Helper()
	o.Name = "shop"
	p, err := httpflow.New(o)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// kept records what an exchange wanted to be kept.
type kept struct {
	found []credential.Found
	err   error
}

func (k *kept) keep(f credential.Found) error {
	k.found = append(k.found, f)
	return k.err
}

// access returns the access tokens that were kept, refresh the refresh tokens.
func (k *kept) access() (tokens []string) {
	for _, f := range k.found {
		tokens = append(tokens, f.Token.Access.Reveal())
	}
	return tokens
}

func (k *kept) refresh() (tokens []string) {
	for _, f := range k.found {
		tokens = append(tokens, f.Token.Refresh.Reveal())
	}
	return tokens
}

// present makes an exchange with tokens AT-old and RT-old, or as jane.
func present(t *testing.T, p *httpflow.Provider, m credential.Method) (credential.Outcome, *kept) {
	t.Helper()
	k := new(kept)
	in := credential.Presentation{
		Method: m, Subject: "u-1", Keep: k.keep, MaySend: func() error { return nil },
		Token: credential.Token{Access: credential.NewSecret("AT-old"), Refresh: credential.NewSecret("RT-old")},
	}
	if m == credential.MethodLogin {
		in.Token = credential.Token{}
		in.SignIn = credential.SignIn{Username: credential.NewSecret("jane"), Password: credential.NewSecret("pass word&=+\"<")}
	}
	return p.Exchange(t.Context(), in), k
}

// shop is a backend with a login and a refresh in JSON.
func shop(url string) httpflow.Options {
	return httpflow.Options{
		Login: &httpflow.Call{
			Request: httpflow.Request{URL: url + "/authenticate", Form: map[string]string{"username": "{{.username}}", "password": "{{.password}}"}},
			Response: httpflow.Response{
				AccessToken: httpflow.Place{JSON: "token"}, RefreshToken: httpflow.Place{JSON: "refreshToken"},
				ExpiresIn: httpflow.Place{JSON: "expiresIn"}, Subject: httpflow.Place{JSON: "user.id"}, UserData: httpflow.Place{JSON: "user"},
			},
		},
		Refresh: &httpflow.Call{
			Request: httpflow.Request{URL: url + "/refresh", JSON: map[string]any{"refreshToken": "{{.refresh_token}}"}},
			Response: httpflow.Response{
				AccessToken: httpflow.Place{JSON: "token"}, RefreshToken: httpflow.Place{JSON: "refreshToken"}, ExpiresIn: httpflow.Place{JSON: "expiresIn"},
			},
		},
		Logout: &httpflow.Call{Request: httpflow.Request{
			URL: url + "/logout", Headers: map[string]string{"Authorization": "Bearer {{.access_token}}"},
		}},
	}
}

// airline is a backend with a session in a cookie.
func airline(url string) httpflow.Options {
	return httpflow.Options{
		Login: &httpflow.Call{
			Request: httpflow.Request{
				URL: url + "/account/login", JSON: map[string]any{"user": "{{.username}}", "password": "{{.password}}"},
			},
			Response: httpflow.Response{AccessToken: httpflow.Place{Cookie: "sid"}},
		},
		Extend:   &httpflow.Call{Request: httpflow.Request{URL: url + "/me"}},
		Verify:   &httpflow.Call{Request: httpflow.Request{URL: url + "/ping"}},
		UserData: &httpflow.Call{Request: httpflow.Request{URL: url + "/me"}},
		Logout:   &httpflow.Call{Request: httpflow.Request{URL: url + "/logout", Method: http.MethodDelete}},
		Send:     httpflow.Send{As: httpflow.AsCookie, Name: "sid"},
	}
}
