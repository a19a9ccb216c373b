// Package kafka carries events into a topic of Kafka.
package kafka

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/event"
)

const (
	// writeTimeout bounds one delivery: finding the partition's leader, and the
	// word of all replicas in sync that they have the event. The client's error
	// then tells what went wrong last.
	writeTimeout = 15 * time.Second
	// ackTimeout is the bound where the client does not keep to that.
	ackTimeout = writeTimeout + 5*time.Second
)

var errNoAck = errors.New("no acknowledgement within " + ackTimeout.String())

// The mechanisms of SASL that are known.
const (
	Plain       = "plain"         // RFC 4616; the password is sent, so it needs TLS
	ScramSHA256 = "scram-sha-256" // RFC 7677
	ScramSHA512 = "scram-sha-512"
)

// Dial connects to a broker. It refuses addresses to which nothing goes.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Options are what a [Sink] is made of.
type Options struct {
	Brokers   []string // host:port of some of them
	Topic     string
	TLS       *tls.Config // nil is none
	Mechanism string      // of SASL; empty is none
	Username  string
	Password  credential.Secret
	Dial      Dial
	Filter    event.Filter // of the subscription
	Source    string       // of the events
	Name      string       // of this client, for the brokers' operator
}

// Sink is a [delivery.Carrier] that writes into a topic. The key is the
// credential's ID, so that its events are in one partition, in order. It
// connects with the first event.
type Sink struct {
	opts []kgo.Opt
	of   Options

	mu     sync.Mutex
	client *kgo.Client
	closed bool
	under  sync.WaitGroup // deliveries under way
}

// New returns the carrier for a topic.
func New(opts Options) (*Sink, error) {
	login, err := mechanism(opts)
	if err != nil {
		return nil, err
	}
	list := []kgo.Opt{
		kgo.SeedBrokers(opts.Brokers...), kgo.ClientID(opts.Name), kgo.Dialer(opts.dial()),
		kgo.RequiredAcks(kgo.AllISRAcks()), // with the default, an idempotent producer
		kgo.ProducerLinger(0), kgo.RecordDeliveryTimeout(writeTimeout),
		// What was told to have failed must not be written behind what follows
		// it: it is taken back, at the price of a duplicate.
		kgo.AllowIdempotentProduceCancellation(),
	}
	if login != nil {
		list = append(list, kgo.SASL(login))
	}
	if err := kgo.ValidateOpts(list...); err != nil {
		return nil, err
	}
	return &Sink{opts: list, of: opts}, nil
}

// dial adds TLS where it is asked for.
func (o Options) dial() Dial {
	if o.TLS == nil {
		return o.Dial
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := o.Dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		config := o.TLS.Clone()
		if config.ServerName == "" {
			if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return secure, nil
	}
}

func mechanism(o Options) (sasl.Mechanism, error) {
	auth := scram.Auth{User: o.Username, Pass: o.Password.Reveal()}
	switch o.Mechanism {
	case "":
		return nil, nil //nolint:nilnil // none is asked for
	case Plain:
		return plain.Auth{User: o.Username, Pass: o.Password.Reveal()}.AsMechanism(), nil
	case ScramSHA256:
		return auth.AsSha256Mechanism(), nil
	case ScramSHA512:
		return auth.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("SASL mechanism %q is none of %s, %s and %s", o.Mechanism, Plain, ScramSHA256, ScramSHA512)
}

// Carry writes one event as a binary CloudEvent (CloudEvents Kafka binding,
// section 3.2): attributes in headers, data as the value.
func (s *Sink) Carry(ctx context.Context, entry credential.LogEntry) delivery.Outcome {
	expanded := event.Expand(entry, s.of.Source, s.of.Filter)
	data, err := json.Marshal(expanded.Data)
	if err != nil {
		return delivery.Outcome{Result: delivery.Invalid, Err: err}
	}
	client, done, err := s.open()
	if err != nil {
		return outcomeOf(err)
	}
	defer done()
	ctx, cancel := context.WithTimeoutCause(ctx, ackTimeout, errNoAck)
	defer cancel()
	record := &kgo.Record{Topic: s.of.Topic, Key: keyOf(entry.Event), Value: data, Timestamp: expanded.Time, Headers: headersOf(expanded)}
	err = client.ProduceSync(ctx, record).FirstErr()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return outcomeOf(err)
}

// keyOf decides on the partition: what is about no credential goes by the
// subscription that it is about.
func keyOf(e credential.Event) []byte {
	if e.ID == "" {
		return []byte(e.Notice.Subscription)
	}
	return []byte(e.ID)
}

func headersOf(e event.CloudEvent) []kgo.RecordHeader {
	list := []kgo.RecordHeader{
		{Key: "ce_specversion", Value: []byte(e.SpecVersion)},
		{Key: "ce_id", Value: []byte(e.ID)},
		{Key: "ce_source", Value: []byte(e.Source)},
		{Key: "ce_type", Value: []byte(e.Type)},
		{Key: "ce_time", Value: []byte(e.Time.Format(time.RFC3339Nano))},
		{Key: "content-type", Value: []byte(e.DataContentType)},
	}
	if e.Subject != "" {
		list = append(list, kgo.RecordHeader{Key: "ce_subject", Value: []byte(e.Subject)})
	}
	return list
}

// Close waits for the deliveries under way and ends the connections. It can be
// called twice.
func (s *Sink) Close() error {
	s.mu.Lock()
	s.closed = true
	client := s.client
	s.mu.Unlock()
	s.under.Wait()
	if client != nil {
		client.Close()
	}
	return nil
}

// open returns the client, made at the first time.
func (s *Sink) open() (*kgo.Client, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, delivery.ErrReplaced
	}
	if s.client == nil {
		client, err := kgo.NewClient(s.opts...)
		if err != nil {
			return nil, nil, err
		}
		s.client = client
	}
	s.under.Add(1)
	return s.client, s.under.Done, nil
}

// outcomeOf sorts what writing comes to.
func outcomeOf(err error) delivery.Outcome {
	if err == nil {
		return delivery.Outcome{Result: delivery.Delivered}
	}
	if answer, ok := errors.AsType[*kerr.Error](err); ok && !answer.Retriable {
		return delivery.Outcome{Result: delivery.Refused, Status: int(answer.Code), Err: fmt.Errorf("the broker refused it: %s", answer.Message)}
	}
	return delivery.Outcome{Result: delivery.Unreachable, Err: err}
}
