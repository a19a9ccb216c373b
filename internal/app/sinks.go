package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/delivery/jetstream"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/provider/wire"
)

// sink makes what takes events to a server of the operator's.
func (o outlet) sink(set config.Subscription, filter event.Filter) (delivery.Carrier, error) {
	secure, err := sinkTLS(set.TLS)
	if err != nil {
		return nil, err
	}
	if set.Format == config.FormatJetStream {
		return jetstream.New(jetstream.Options{
			URL: set.URL, Subject: set.Subject, Credentials: set.Credentials, TLS: secure, Dial: dialSink,
			Filter: filter, Source: o.source, Name: o.userAgent,
		}), nil
	}
	return o.kafka(set, filter, secure)
}

// CheckSinks returns what keeps this build, on this machine, from delivering the
// events of configured subscriptions; nil if nothing does. It connects to
// nothing.
func CheckSinks(conf *config.Config) (problems []string) {
	for i, set := range conf.Subscriptions {
		if !set.IsSink() {
			continue
		}
		carrier, err := outlet{}.sink(set, event.Filter{})
		if open, ok := carrier.(io.Closer); ok && err == nil {
			err = open.Close()
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("subscriptions[%d] (%s): %v", i, set.Name, err))
		}
	}
	return problems
}

// dialSink connects to a server of the operator's, or to one that such a server
// has named: to no address that no provider can have either.
func dialSink(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || wire.Forbidden(to.Addr()) {
			return wire.ErrForbiddenAddress
		}
		return nil
	}}
	return dialer.DialContext(ctx, network, address)
}

// sinkTLS returns how TLS is spoken, nil where it is not said to be.
func sinkTLS(set config.SinkTLS) (*tls.Config, error) {
	if set == (config.SinkTLS{}) {
		return nil, nil //nolint:nilnil // none is asked for
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if set.CAFile != "" {
		text, err := os.ReadFile(set.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, errors.New("tls.ca_file: it holds no certificate in PEM form")
		}
	}
	if set.Cert != "" {
		pair, err := tls.LoadX509KeyPair(set.Cert, set.Key)
		if err != nil {
			return nil, fmt.Errorf("tls.cert: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
