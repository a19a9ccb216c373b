package practice

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for things that happen at once unless something is
// broken.
const patience = time.Minute

// fixture is a server on a real listener and a client for it.
type fixture struct {
	*Server
	addr string
	http *http.Client
}

func setup(t *testing.T, opts Options) *fixture {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := New(opts)
	served := make(chan error, 1)
	go func() { served <- s.Serve(t.Context(), ln) }()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		require.NoError(t, <-served)
	})
	return &fixture{
		Server: s,
		addr:   ln.Addr().String(),
		http: &http.Client{
			Transport:     transport,
			Timeout:       patience,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func (f *fixture) url(path string) string { return "http://" + f.addr + path }

// mintOne makes one grant.
func mintOne(t *testing.T, s *Server) Minted {
	t.Helper()
	minted, err := s.Mint(MintRequest{Count: 1})
	require.NoError(t, err)
	return minted[0]
}

func addFault(t *testing.T, s *Server, f Fault) string {
	t.Helper()
	id, err := s.AddFault(f)
	require.NoError(t, err)
	return id
}

// answer is a token reply or an error, as a client sees it.
type answer struct {
	Status       int             `json:"-"`
	Header       http.Header     `json:"-"`
	Body         string          `json:"-"`
	AccessToken  string          `json:"access_token"`
	TokenType    string          `json:"token_type"`
	RefreshToken string          `json:"refresh_token"`
	ExpiresIn    json.RawMessage `json:"expires_in"`
	Scope        string          `json:"scope"`
	Error        string          `json:"error"`
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

// request is a token call of the demo client.
func request(ctx context.Context, target string, form url.Values) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	r.RequestURI = "" // httptest makes server requests; a client must not set it
	r.Header.Set("Content-Type", formType)
	r.SetBasicAuth("demo", "demo-secret")
	return r
}

// direct calls the handler without a network.
func direct(t *testing.T, s *Server, form url.Values, change ...func(*http.Request)) answer {
	t.Helper()
	r := request(t.Context(), "http://practice.test/token", form)
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return read(t, w.Code, w.Header(), w.Body.String())
}

func read(t *testing.T, status int, h http.Header, body string) answer {
	t.Helper()
	a := answer{Status: status, Header: h, Body: body}
	if strings.HasPrefix(body, "{") {
		require.NoError(t, json.Unmarshal([]byte(body), &a))
	}
	return a
}

// present spends a refresh token over the network, in the ordinary way.
func (f *fixture) present(t *testing.T, token string) answer {
	t.Helper()
	resp, err := f.http.Do(request(t.Context(), f.url("/token"), refreshForm(token)))
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return read(t, resp.StatusCode, resp.Header, string(body))
}

// rawConn is a client that sees every byte.
type rawConn struct {
	*net.TCPConn
	in *bufio.Reader
}

// raw opens a connection and sends a presentation on it.
func (f *fixture) raw(t *testing.T, token string) *rawConn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", f.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // most tests have closed it by then
	tcp, ok := conn.(*net.TCPConn)
	require.True(t, ok)
	require.NoError(t, tcp.SetDeadline(time.Now().Add(patience)))
	require.NoError(t, request(t.Context(), f.url("/token"), refreshForm(token)).Write(tcp))
	return &rawConn{TCPConn: tcp, in: bufio.NewReader(tcp)}
}

// rest reads until the server closes the connection.
func (c *rawConn) rest(t *testing.T) string {
	t.Helper()
	all, err := io.ReadAll(c.in)
	require.NoError(t, err)
	return string(all)
}

// last returns the newest entry of the ledger.
func last(t *testing.T, s *Server) Entry {
	t.Helper()
	entries := s.Ledger(LedgerQuery{})
	require.NotEmpty(t, entries)
	return entries[len(entries)-1]
}

// await waits until the newest entry is as wanted and returns it.
func await(t *testing.T, s *Server, wanted func(Entry) bool) Entry {
	t.Helper()
	var e Entry
	require.Eventually(t, func() bool {
		entries := s.Ledger(LedgerQuery{})
		if len(entries) == 0 {
			return false
		}
		e = entries[len(entries)-1]
		return wanted(e)
	}, patience, time.Millisecond)
	return e
}

func settled(e Entry) bool { return !e.InAir }
