//go:build !kafka

package app

import (
	"crypto/tls"
	"errors"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/event"
)

// errNoKafka says what is missing: the client of Kafka makes the program an
// eighth larger, which few have a use for.
var errNoKafka = errors.New("format: kafka is not in this build of refreshd; build it with: go build -tags kafka ./cmd/refreshd")

func (outlet) kafka(config.Subscription, event.Filter, *tls.Config) (delivery.Carrier, error) {
	return nil, errNoKafka
}
