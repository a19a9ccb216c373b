package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// defaultMinTTL is how long a token stays valid when it is handed out,
	// unless [Options] say otherwise: time enough for a request to arrive.
	defaultMinTTL = time.Minute
	// defaultTimeout bounds a call. refreshd answers a token read at once, or
	// after one exchange with the provider.
	defaultTimeout = time.Minute
	// defaultAgent is the User-Agent of calls.
	defaultAgent = "refreshd-go"
)

// Options are the settings of a [Client].
type Options struct {
	// Key is the API key. Give this or KeyFunc.
	Key string
	// KeyFunc returns the API key for each call, where it rotates. It is called
	// by many goroutines at once and must not block for long; ctx is that of
	// the call.
	KeyFunc func(ctx context.Context) (string, error)
	// HTTPClient reaches refreshd. It is copied: redirects are never followed,
	// and its Timeout bounds single calls (a minute unless set) but not
	// [Client.Watch]. Without one, a transport of the client's own is used,
	// which obeys no proxy variables.
	HTTPClient *http.Client
	// MinTTL is how long a token stays valid at least when it is handed out; a
	// minute unless set. A token with less than that left is replaced first.
	// Where that cannot be done (the provider grants no life that long, refreshd
	// or the provider cannot be reached, there is no refresh token), the token
	// in hand is handed out for as long as it is valid at all.
	MinTTL time.Duration
	// TouchInterval is how often a [Transport] reports uses of sessions at most,
	// for all credentials in one call; 10 seconds unless set. refreshd counts a
	// use from when it is told, so this should be a small part of the shortest
	// idle timeout.
	TouchInterval time.Duration
	// UserAgent is sent with every call, "refreshd-go" unless set.
	UserAgent string
	// Insecure allows http:// to another machine. The key and every token then
	// cross the network in the clear.
	Insecure bool
}

// A Client talks to one refreshd. It keeps the tokens that it was given in
// memory for as long as they are good. Make one with [New], share it between
// all goroutines of the program, and end it with [Client.Close].
type Client struct {
	base    *url.URL // its path does not end in a slash
	key     func(ctx context.Context) (string, error)
	http    *http.Client
	ownHTTP bool // http was made here, so its connections end with the client
	timeout time.Duration
	minTTL  time.Duration
	agent   string
	slots   slots
	usages  *usages

	life context.Context //nolint:containedctx // the client's own life; fetches outlive whoever asked first
	end  context.CancelCauseFunc

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup
}

// New returns a client of the refreshd at baseURL, such as
// "http://127.0.0.1:7420" or "https://refreshd.example/prefix". It makes no
// call. The error tells what is wrong with baseURL or opts.
func New(baseURL string, opts Options) (*Client, error) {
	base, err := parseBase(baseURL, opts.Insecure)
	if err != nil {
		return nil, err
	}
	c := &Client{base: base, key: opts.KeyFunc, minTTL: defaultMinTTL, timeout: defaultTimeout, agent: defaultAgent}
	switch {
	case opts.Key == "" && opts.KeyFunc == nil:
		return nil, errors.New("client: Options.Key is empty; give the API key there, or in KeyFunc")
	case opts.Key != "" && opts.KeyFunc != nil:
		return nil, errors.New("client: Options.Key and Options.KeyFunc are both set; give one of them")
	case opts.MinTTL < 0:
		return nil, errors.New("client: Options.MinTTL is negative")
	case opts.TouchInterval < 0:
		return nil, errors.New("client: Options.TouchInterval is negative")
	case !headerSafe(opts.UserAgent):
		return nil, errors.New("client: Options.UserAgent has a byte outside of visible ASCII")
	case opts.KeyFunc == nil:
		if !keySafe(opts.Key) {
			return nil, errKey
		}
		c.key = func(context.Context) (string, error) { return opts.Key, nil }
	}
	if opts.MinTTL > 0 {
		c.minTTL = opts.MinTTL
	}
	if opts.UserAgent != "" {
		c.agent = opts.UserAgent
	}
	c.ownHTTP = opts.HTTPClient == nil
	c.http = &http.Client{Transport: defaultTransport()}
	if !c.ownHTTP {
		c.http = new(*opts.HTTPClient)
		if c.http.Timeout > 0 {
			// It would end streams as well, so each call is bounded instead.
			c.timeout, c.http.Timeout = c.http.Timeout, 0
		}
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.life, c.end = context.WithCancelCause(context.Background())
	c.usages = newUsages(c, cmp.Or(opts.TouchInterval, defaultTouchInterval))
	return c, nil
}

// Close ends what the client does in the background, waits for it, and reports
// the uses of sessions that were not reported yet. Tokens in hand can still be
// read afterwards; whatever needs a call fails with [ErrClosed]. It is safe to
// call it twice, and the error is always nil.
func (c *Client) Close() error {
	c.usages.finish()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end(ErrClosed)
	c.work.Wait()
	if c.ownHTTP {
		c.http.CloseIdleConnections()
	}
	return nil
}

// spawn runs work in a goroutine that Close waits for, unless the client is
// closed already; it reports whether it does. The context ends with Close.
func (c *Client) spawn(work func(ctx context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work.Go(func() { work(c.life) })
	return true
}

// errBase tells what a base URL has to look like. It does not show what was
// given, for that may hold a password.
var errBase = errors.New(`client: the base URL must be http:// or https:// with a host, and without user, query or fragment, such as "http://127.0.0.1:7420"`)

func parseBase(text string, insecure bool) (*url.URL, error) {
	base, err := url.Parse(text)
	if err != nil || base.Host == "" || base.Hostname() == "" || base.User != nil || base.RawQuery != "" || base.ForceQuery || base.Fragment != "" {
		return nil, errBase
	}
	switch base.Scheme {
	case "https":
	case "http":
		if !insecure && !loopback(base.Hostname()) {
			return nil, errors.New("client: http:// to another machine would send the key and the tokens in the clear; use https://, or set Options.Insecure")
		}
	default:
		return nil, errBase
	}
	base.Path = strings.TrimRight(base.Path, "/")
	base.RawPath = strings.TrimRight(base.RawPath, "/")
	return base, nil
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761 section 6.3
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// defaultTransport returns the transport of clients that were given none.
func defaultTransport() *http.Transport {
	dialer := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    5 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    64, // there is one host
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}
