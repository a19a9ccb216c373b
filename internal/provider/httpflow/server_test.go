package httpflow_test

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/httpflow"
)

// request is one that the server received.
type request struct {
	method, uri, body string
	header            http.Header
}

// server is a backend that answers as it is told to.
type server struct {
	*httptest.Server

	mu       sync.Mutex
	requests []request
}

// newServer starts a server that remembers what it receives.
func newServer(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := new(server)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.requests = append(s.requests, request{r.Method, r.URL.RequestURI(), string(body), r.Header})
		s.mu.Unlock()
		answer(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *server) received() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.requests...)
}

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

// raw starts a server that answers each request with bytes of its own choice,
// and closes the connection behind them.
func raw(t *testing.T, answer func(net.Conn)) (url string, requests *atomic.Int32) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	requests = new(atomic.Int32)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close() //nolint:errcheck // the client may be gone
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				if _, err := io.Copy(io.Discard, r.Body); err == nil {
					requests.Add(1)
					answer(c)
				}
			})
		}
	})
	t.Cleanup(func() {
		assert.NoError(t, listener.Close())
		serving.Wait()
	})
	return "http://" + listener.Addr().String(), requests
}

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
