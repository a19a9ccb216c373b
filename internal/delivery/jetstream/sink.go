// Package jetstream carries events into a stream of NATS JetStream.
package jetstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/event"
)

const (
	// ackTimeout bounds one delivery: publishing, and the stream's word that it
	// has the event.
	ackTimeout = 10 * time.Second
	// reconnectWait is how often a lost server is looked for.
	reconnectWait = 500 * time.Millisecond
)

var errNoAck = errors.New("no acknowledgement within " + ackTimeout.String())

// Dial connects to a server. It refuses addresses to which nothing goes.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Options are what a [Sink] is made of.
type Options struct {
	URL         string      // nats://host:port or tls://host:port; several with commas between
	Subject     string      // {provider}, {type} and {credential} are filled in
	Credentials string      // path of a file with a user's JWT and seed; empty is none
	TLS         *tls.Config // nil is what the URL says
	Dial        Dial
	Filter      event.Filter // of the subscription
	Source      string       // of the events
	Name        string       // of this client, for the server's operator
}

// Sink is a [delivery.Carrier] that publishes into JetStream, and waits for
// each event until a stream has it. It connects with the first one.
type Sink struct {
	opts Options

	mu     sync.Mutex
	conn   *nats.Conn
	stream jetstream.JetStream
	ended  chan struct{} // closed once the connection and its goroutines are gone
	closed bool
	under  sync.WaitGroup // deliveries under way
}

// New returns the carrier for a subject.
func New(opts Options) *Sink { return &Sink{opts: opts} }

// Carry publishes one event as a structured CloudEvent (CloudEvents NATS
// binding, section 3.2). Its ID is the message's: a stream drops what comes a
// second time within its window.
func (s *Sink) Carry(ctx context.Context, entry credential.LogEntry) delivery.Outcome {
	expanded := event.Expand(entry, s.opts.Source, s.opts.Filter)
	body, err := expanded.Encode()
	if err != nil {
		return delivery.Outcome{Result: delivery.Invalid, Err: err}
	}
	stream, done, err := s.open()
	if err != nil {
		return outcomeOf(err)
	}
	defer done()
	ctx, cancel := context.WithTimeoutCause(ctx, ackTimeout, errNoAck)
	defer cancel()
	_, err = stream.PublishMsg(ctx, &nats.Msg{
		Subject: subjectOf(s.opts.Subject, entry.Event), Data: body,
		Header: nats.Header{jetstream.MsgIDHeader: {expanded.ID}, "content-type": {"application/cloudevents+json"}},
	}, jetstream.WithRetryAttempts(0)) // the subscription's own schedule repeats it
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return outcomeOf(err)
}

// Close waits for the deliveries under way and ends the connection. It can be
// called twice.
func (s *Sink) Close() error {
	s.mu.Lock()
	s.closed = true
	conn, ended := s.conn, s.ended
	s.mu.Unlock()
	s.under.Wait()
	if conn != nil {
		conn.Close()
		<-ended
	}
	return nil
}

// open returns the stream, connected at the first time. A connection that was
// lost is one that looks for its server by itself.
func (s *Sink) open() (jetstream.JetStream, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, delivery.ErrReplaced
	}
	if s.stream == nil {
		if err := s.connect(); err != nil {
			return nil, nil, err
		}
	}
	s.under.Add(1)
	return s.stream, s.under.Done, nil
}

func (s *Sink) connect() error {
	ended := make(chan struct{})
	options := []nats.Option{
		nats.Name(s.opts.Name), nats.SetCustomDialer(dialer{s.opts.Dial}), nats.Timeout(5 * time.Second), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait),
		nats.ReconnectBufSize(-1), // what was told to have failed must not arrive later, behind what follows it
		nats.ClosedHandler(func(*nats.Conn) { close(ended) }),
	}
	if s.opts.TLS != nil {
		options = append(options, nats.Secure(s.opts.TLS))
	}
	if s.opts.Credentials != "" {
		options = append(options, nats.UserCredentials(s.opts.Credentials))
	}
	conn, err := nats.Connect(s.opts.URL, options...)
	if err != nil {
		return err
	}
	stream, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		<-ended
		return err
	}
	s.conn, s.stream, s.ended = conn, stream, ended
	return nil
}

// outcomeOf sorts what publishing comes to.
func outcomeOf(err error) delivery.Outcome {
	if err == nil {
		return delivery.Outcome{Result: delivery.Delivered}
	}
	var api jetstream.JetStreamError
	if errors.As(err, &api) && api.APIError() != nil {
		return delivery.Outcome{
			Result: delivery.Refused, Status: api.APIError().Code, Err: fmt.Errorf("the stream refused it: error %d", api.APIError().ErrorCode),
		}
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		return delivery.Outcome{Result: delivery.Refused, Err: errors.New("no stream takes this subject")}
	}
	return delivery.Outcome{Result: delivery.Unreachable, Err: err}
}

// dialer hands the library's dials on. The library bounds each by itself.
type dialer struct{ dial Dial }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return d.dial(ctx, network, address)
}

// subjectOf fills the template in. A type is two parts, such as
// credential.refreshed. What an event does not have is "-".
func subjectOf(template string, e credential.Event) string {
	return strings.NewReplacer("{provider}", part(e.Provider), "{type}", string(e.Type), "{credential}", part(string(e.ID))).Replace(template)
}

// part makes a single part of a subject: dots would be several, and what has a
// meaning in a subject is spelled otherwise.
func part(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(c rune) rune {
		if c <= ' ' || strings.ContainsRune(".*>", c) {
			return '_'
		}
		return c
	}, s)
}
