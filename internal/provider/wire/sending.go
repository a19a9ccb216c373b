package wire

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"time"
)

// sending follows one request from the search for a connection to its fate.
type sending struct {
	stopCaller func() bool // ends the watch over the caller's context; false if it fired
	stopTimer  func() bool // likewise for the time to get a connection
	abort      context.CancelCauseFunc

	slot    *slot        // nil if the call needs none
	start   func() error // nil if there is nothing to wait for
	maySend func() error // nil if there is nothing to ask
	arrival *arrival     // nil if nobody waits for the reply on its way
	conn    *conn        // nil until there is one
	before  int64        // bytes that had been written on it before
	interim int          // 1xx replies
	last    bool         // its connection is to be closed after it
}

// newSending starts to watch for what may call the request off before it has
// a connection.
func newSending(ctx context.Context, c *Client, abort context.CancelCauseFunc) *sending {
	late := &TimeoutError{Provider: c.provider, What: "no connection", After: c.connect}
	return &sending{
		stopCaller: context.AfterFunc(ctx, func() { abort(errCalledOff) }),
		stopTimer:  time.AfterFunc(c.connect, func() { abort(late) }).Stop,
		abort:      abort,
		last:       c.retired.Load(),
	}
}

// stopWaiting ends both watches and reports whether neither has fired.
func (s *sending) stopWaiting() bool {
	caller, timer := s.stopCaller(), s.stopTimer()
	return caller && timer
}

// request returns the HTTP request, of which the transport has but one way:
// once.
func (s *sending) request(ctx context.Context, in Request) *http.Request {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:        s.gotConn,
		Got1xxResponse: s.gotInterim,
	})
	req := &http.Request{
		Method: in.Method,
		URL:    in.URL,
		Host:   in.URL.Host,
		Header: in.Header,
		Close:  s.last,
	}
	if in.Body != "" {
		// GetBody stays nil: it is what net/http needs to send a body again.
		req.Body = io.NopCloser(strings.NewReader(in.Body))
		req.ContentLength = int64(len(in.Body))
	}
	return req.WithContext(ctx)
}

// gotConn is called before anything is written on a connection. If the call was
// called off by then, it makes sure that nothing will be. It is called again
// where the transport begins anew after a used connection has ended, as it does
// with a GET that was written: that is sent once as well.
func (s *sending) gotConn(info httptrace.GotConnInfo) {
	waited := s.stopWaiting()
	c, ok := info.Conn.(*conn)
	if !ok {
		return // all connections are dialled by our dialer
	}
	if s.sent() {
		c.retire()
		s.abort(errEnded)
		return
	}
	if !waited {
		c.retire()
	}
	s.conn, s.before = c, c.serve(s.slot, s.start, s.maySend, s.arrival)
}

func (s *sending) gotInterim(int, textproto.MIMEHeader) error {
	s.interim++
	if s.interim > maxInterim {
		return errInterim
	}
	return nil
}

// finish waits for whoever may be reading the reply right now. RoundTrip has
// returned an error: it does not wait for its own reader, who may be held up for
// long on a busy machine.
func (s *sending) finish() {
	if s.conn != nil {
		s.conn.finish()
	}
}

// leave is called when the reply was read, as far as it came.
func (s *sending) leave() {
	if s.conn != nil {
		s.conn.leave(s.arrival)
	}
}

// sent reports whether anything can have reached the provider. It is certain
// once RoundTrip has returned an error: the transport has then stopped
// writing.
func (s *sending) sent() bool {
	return s.conn != nil && s.conn.sent() > s.before
}

// refused returns what came of asking whether the request may go out, nil if it
// may. The connection ends of it, and the transport reports whichever of the two
// it hears of first.
func (s *sending) refused() error {
	if s.conn == nil {
		return nil
	}
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.conn.refused
}
