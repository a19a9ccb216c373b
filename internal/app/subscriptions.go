package app

import (
	"fmt"
	"net/http"
	"time"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/event"
)

// outlet is what deliveries of this process have in common.
type outlet struct {
	client    *http.Client
	source    string
	userAgent string
}

// subscribed returns the configured subscriptions as the deliverer takes them.
func (o outlet) subscribed(conf *config.Config) ([]delivery.Subscription, error) {
	list := make([]delivery.Subscription, 0, len(conf.Subscriptions))
	for _, set := range conf.Subscriptions {
		filter := event.Filter{Types: set.Types, Providers: set.Providers}
		if err := filter.Check(); err != nil {
			return nil, fmt.Errorf("subscriptions.%s: %w", set.Name, err)
		}
		carrier, err := o.carrier(set, filter)
		if err != nil {
			return nil, fmt.Errorf("subscriptions.%s: %w", set.Name, err)
		}
		list = append(list, delivery.Subscription{Name: set.Name, Filter: filter, Carrier: carrier})
	}
	return list, nil
}

// carrier makes what takes events to one subscriber.
func (o outlet) carrier(set config.Subscription, filter event.Filter) (delivery.Carrier, error) {
	if set.IsSink() {
		return o.sink(set, filter)
	}
	return delivery.NewWebhook(delivery.WebhookOptions{
		URL: set.URL, Secret: set.Secret, Filter: filter, Client: o.client,
		Source: o.source, UserAgent: o.userAgent, Now: time.Now,
	})
}
