package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/internal/failpoint"
)

// Bounds that hold for every provider.
const (
	maxHeader  = 64 << 10 // bytes of a reply's header
	maxBody    = 1 << 20  // bytes of a reply's body, also once decompressed
	maxInterim = 8        // 1xx replies before the one that counts

	// maxConnect bounds the way to a connection. It is far below the time of
	// a whole call, so that a request that is sent at all has time to be
	// answered: one that is cut off is in doubt, one that was not sent is not.
	maxConnect = 5 * time.Second

	// maxIdle is how long a connection may lie unused before it is no longer
	// taken for good. Servers close theirs after 5 s (Node.js, Apache,
	// uvicorn) or later, and a request that crosses such a closing is in
	// doubt.
	maxIdle = 4 * time.Second

	defaultTimeout = 20 * time.Second
	defaultConns   = 64
)

var errOptions = errors.New("invalid settings")

// Options are what a [Client] is made from.
type Options struct {
	Provider string        // the name, for errors
	Timeout  time.Duration // of a whole call; 0 is 20 s
	Proxy    string        // http or https URL; "" is none. No environment variable is looked at.
	CAFile   string        // PEM certificates that are trusted beside the system's; "" is none
	MaxConns int           // connections to one host at the same time; 0 is 64

	// Crowded, if not nil, hears of each reply that was read though as many as
	// can be worked on had been read before it, because none of them was
	// released for too long. so is how many these were. It must not block.
	Crowded func(so uint64)
}

// Client makes calls to one provider. It is safe for concurrent use.
type Client struct {
	provider  string
	timeout   time.Duration
	connect   time.Duration
	dialer    *dialer
	transport *http.Transport
	gate      *gate
	buffers   buffers
	retired   atomic.Bool
}

// New returns a client. It opens no connection.
func New(o Options) (*Client, error) {
	proxy, err := parseProxy(o.Proxy)
	if err != nil {
		return nil, err
	}
	roots, err := loadRoots(o.CAFile)
	if err != nil {
		return nil, err
	}
	if o.Timeout < 0 || o.MaxConns < 0 {
		return nil, fmt.Errorf("%w: timeout %s and %d connections; neither may be negative", errOptions, o.Timeout, o.MaxConns)
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxConns == 0 {
		o.MaxConns = defaultConns
	}
	c := &Client{
		provider: o.Provider,
		timeout:  o.Timeout,
		connect:  min(maxConnect, o.Timeout/2),
		gate:     newGate(places(), maxWait, o.Crowded),
	}
	c.dialer = &dialer{
		net:    net.Dialer{Control: checkDialled},
		tls:    &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(0)},
		proxy:  proxy,
		within: c.connect,
	}
	c.transport = &http.Transport{
		DialContext:            c.dialer.open,
		DialTLSContext:         c.dialer.openTLS,
		Protocols:              onlyHTTP1(),
		DisableCompression:     true,
		MaxConnsPerHost:        o.MaxConns,
		MaxIdleConnsPerHost:    o.MaxConns,
		IdleConnTimeout:        maxIdle,
		MaxResponseHeaderBytes: maxHeader,
	}
	return c, nil
}

// Retire closes the connections that no call uses, and lets none lie unused from
// then on. Calls can be made as before: it is for a client that another one takes
// the place of, while those who were about to call have this one in hand.
func (c *Client) Retire() {
	c.retired.Store(true)
	c.transport.CloseIdleConnections()
}

// Close closes the connections that no call uses. Calls that have begun run to
// their end; no new ones can be made.
func (c *Client) Close() {
	c.dialer.closed.Store(true)
	c.transport.CloseIdleConnections()
}

func onlyHTTP1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

// parseProxy reads a proxy's URL, nil for none. Its errors do not quote it: it may hold a
// password.
func parseProxy(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: proxy is not a URL; give http://host:port", errOptions)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return nil, fmt.Errorf("%w: proxy has scheme %q; give http://host:port or https://host:port", errOptions, u.Scheme)
	}
	return u, nil
}

// loadRoots returns the system's certificates and those in the file; nil, which
// stands for the system's, if there is no file.
func loadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, fmt.Errorf("%w: ca_file: %w", errOptions, err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("%w: ca_file: the system's certificates: %w", errOptions, err)
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: ca_file %s holds no PEM certificate", errOptions, file)
	}
	return roots, nil
}

// Request is one call.
type Request struct {
	Method string
	URL    *url.URL
	Header http.Header // is not modified, and may be shared by calls
	Body   string      // "" sends none

	// Start, if not nil, is asked before MaySend is asked for the first time on a
	// connection, and its error is as one of MaySend. It may wait: that time does
	// not count as the call's.
	Start func() error

	// MaySend, if not nil, is asked right before the request is handed to the
	// network, and before each further piece of one that goes in several. After
	// an error nothing more is written and the connection is closed: the call
	// ends with ReasonTimeout, and with ClassNotSent unless a piece had gone.
	// It is called on another goroutine, and never after Do has returned an
	// error.
	MaySend func() error

	// Came, if not nil, is given the body of a reply of known length that came
	// whole and is not compressed, as soon as its last byte was read, before
	// anybody else sees it. It is called on the goroutine that read it, at most
	// once, and must return soon. The body is valid meanwhile. The call may have
	// been given up by then: Do returns its error when Came has returned, and Came
	// is not called after that.
	Came func(body []byte)

	// Safe says that the call changes nothing at the provider, so that its
	// context may end it at any time.
	Safe bool
}

// Reply is what came back.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte // decompressed; valid until Release
	Cut    *Error // why Body ends before its end; nil if it is whole

	release func()
	slot    *slot
}

// Release wipes the body's memory and lets another reply be read. It must be
// called once, when what matters of the body is kept and nothing points into it
// any more.
func (r *Reply) Release() {
	r.Body = nil
	r.release()
	r.slot.end()
}

// Do sends the request once and reads the reply, which may be of any status; a
// body that breaks off is still a reply. Otherwise the error is an [*Error].
//
// Until a connection is in hand, ctx can call it off. From then on the call
// runs to its end, whatever becomes of ctx, unless it is a safe one.
//
// Of the replies to calls that are not safe, only so many are read from the
// network as can be worked on: further ones wait there for a while until replies
// are released, or were told of by Came.
//
// Of the call's time only that counts in which this process runs, in which the
// request does not wait for Start, and in which no reply lies there that only
// waits for its turn to be read.
func (c *Client) Do(ctx context.Context, in Request) (*Reply, error) {
	if c.dialer.closed.Load() {
		return nil, failure(errClosed, false)
	}
	lasting := ctx
	if !in.Safe {
		lasting = context.WithoutCancel(ctx)
	}
	sending, abort := context.WithCancelCause(lasting)
	defer abort(nil)
	late := &TimeoutError{Provider: c.provider, What: "no complete reply", After: c.timeout}
	allowed := allow(c.timeout, func() { abort(late) })
	defer allowed.stop()

	s := newSending(ctx, c, abort)
	s.maySend = in.MaySend
	if in.Start != nil {
		s.start = func() error {
			allowed.hold(true)
			defer allowed.hold(false)
			return in.Start()
		}
	}
	if in.Came != nil {
		s.arrival = &arrival{came: in.Came, buffers: &c.buffers}
	}
	defer s.leave()
	defer s.stopWaiting()
	if !in.Safe {
		s.slot = &slot{gate: c.gate, done: sending.Done(), time: allowed}
	}
	resp, err := c.transport.RoundTrip(s.request(sending, in))
	if err != nil {
		if refused := s.refused(); refused != nil {
			err = refused
		}
		s.finish()
		s.slot.end()
		return nil, failure(cause(sending, err), s.sent())
	}
	defer func() { _ = resp.Body.Close() }() // what was read counts, whatever becomes of the rest
	reply := c.read(sending, resp)
	reply.slot = s.slot
	return reply, nil
}

// cause returns why the call was cancelled, if it was, else err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// read reads the reply's body.
func (c *Client) read(ctx context.Context, resp *http.Response) *Reply {
	buf := c.buffers.get()
	reply := &Reply{Status: resp.StatusCode, Header: resp.Header}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		reply.release = func() { c.buffers.put(buf) }
		return reply // its body is the connection, which need not end
	}
	err := failpoint.Hit(failpoint.WireHeaders)
	if err == nil {
		err = fill(buf, resp.Body, maxBody)
	}
	if err != nil {
		reply.Cut = failure(cause(ctx, err), true)
	}
	if isGzip(*buf) {
		packed := buf
		buf = c.buffers.get()
		if err := inflate(buf, *packed, maxBody); err != nil && reply.Cut == nil {
			reply.Cut = failure(err, true)
		}
		c.buffers.put(packed)
	}
	reply.Body = *buf
	reply.release = func() { c.buffers.put(buf) }
	return reply
}
