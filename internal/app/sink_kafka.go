//go:build kafka

package app

import (
	"crypto/tls"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/delivery/kafka"
	"github.com/refreshd/refreshd/internal/event"
)

func (o outlet) kafka(set config.Subscription, filter event.Filter, secure *tls.Config) (delivery.Carrier, error) {
	return kafka.New(kafka.Options{
		Brokers: set.Brokers, Topic: set.Topic, TLS: secure, Dial: dialSink,
		Mechanism: set.SASL.Mechanism, Username: set.SASL.Username, Password: set.SASL.Password,
		Filter: filter, Source: o.source, Name: o.userAgent,
	})
}
