package wire

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// proxy is an HTTP proxy that makes tunnels.
type proxy struct {
	*httptest.Server
	tunnels sync.WaitGroup

	mu    sync.Mutex
	asked []string // "CONNECT host:port user"
}

func newProxy(t *testing.T, secure bool) *proxy {
	t.Helper()
	p := new(proxy)
	p.Server = httptest.NewUnstartedServer(p)
	p.Config.ErrorLog = discardLog()
	if secure {
		p.StartTLS()
	} else {
		p.Start()
	}
	t.Cleanup(func() {
		p.Close()
		p.tunnels.Wait()
	})
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization"))
	p.mu.Unlock()
	if r.Method != http.MethodConnect {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if r.Header.Get("Proxy-Authorization") != "Basic dTpzZWNyZXQ=" {
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	target, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		return
	}
	client, buffered, err := hijacker.Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
	p.tunnels.Go(func() { join(target, client, buffered.Reader) })
}

// join copies both ways until either side ends.
func join(target, client net.Conn, fromClient *bufio.Reader) {
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(target, fromClient)
		_ = target.Close()
	})
	_, _ = io.Copy(client, target)
	_ = client.Close()
	wg.Wait()
}

func (p *proxy) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...)
}

// A proxy is asked for tunnels and for nothing else, whatever the schemes.
func TestProxy(t *testing.T) {
	t.Parallel()
	secure := newTLSServer(t)
	plain := httptest.NewServer(secure.Config.Handler)
	t.Cleanup(plain.Close)
	for name, secureProxy := range map[string]bool{"http proxy": false, "https proxy": true} {
		for _, target := range []string{plain.URL, secure.URL} {
			t.Run(name+", "+target[:5], func(t *testing.T) {
				t.Parallel()
				p := newProxy(t, secureProxy)
				c := newClient(t, Options{
					Proxy:  strings.Replace(p.URL, "://", "://u:secret@", 1),
					CAFile: caFile(t, secure),
				})
				to, err := url.Parse(target)
				require.NoError(t, err)
				for range 2 {
					assert.Equal(t, got{200, "HTTP/1.1 x=y", false}, call(t, c, post(to, "x=y")))
				}
				assert.Equal(t, []string{"CONNECT " + to.Host + " Basic dTpzZWNyZXQ="}, p.seen())
				c.Close()
			})
		}
	}
}

func TestProxyRefuses(t *testing.T) {
	t.Parallel()
	p := newProxy(t, false)
	secure := newTLSServer(t)
	to, err := url.Parse(secure.URL)
	require.NoError(t, err)
	failed := fail(t, newClient(t, Options{Proxy: strings.Replace(p.URL, "://", "://u:wrong-secret@", 1)}), post(to, "x"))
	assert.Equal(t, credential.ClassNotSent, failed.Outcome.Class)
	assert.Equal(t, "the proxy answered HTTP 407", failed.Outcome.Detail)
	assert.NotContains(t, failed.Error(), "wrong")
}

// What a proxy says behind its answer would be taken for the provider's.
func TestProxySaysTooMuch(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(p *peer) {
		p.request()
		p.say("HTTP/1.1 200 OK\r\n\r\n" + goodReply)
		p.gone()
	})
	failed := fail(t, newClient(t, Options{Proxy: "http://" + s.url().Host}), post(&url.URL{Scheme: "http", Host: "127.0.0.1:1"}, "RT"))
	assert.Equal(t, credential.ClassNotSent, failed.Outcome.Class)
	assert.NotContains(t, string(s.seen()), "RT")
}
