package app

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/refresh"
	"github.com/refreshd/refreshd/internal/ssf"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/subscription"
)

// outlet is what deliveries of this process have in common.
type outlet struct {
	client    *http.Client
	source    string
	userAgent string
	signals   *ssf.Transmitter
}

// subscribed returns the configured subscriptions as the deliverer takes them.
func (o outlet) subscribed(conf *config.Config) ([]delivery.Subscription, error) {
	list := make([]delivery.Subscription, 0, len(conf.Subscriptions))
	for _, set := range conf.Subscriptions {
		if polled(set) {
			continue // its receiver comes by itself
		}
		settings := set.Settings()
		selected, err := filterOf(set)
		if err != nil {
			return nil, fmt.Errorf("subscriptions.%s: %w", set.Name, err)
		}
		settings.Types = selected.Types
		one, err := o.delivered(settings, func(filter event.Filter) (delivery.Carrier, error) { return o.carrier(set, filter) })
		if err != nil {
			return nil, fmt.Errorf("subscriptions.%s: %w", set.Name, err)
		}
		list = append(list, one)
	}
	return list, nil
}

// carrier makes what takes events to one configured subscriber.
func (o outlet) carrier(set config.Subscription, filter event.Filter) (delivery.Carrier, error) {
	if set.Format == config.FormatCAEP {
		return o.push(set), nil
	}
	if set.IsSink() {
		return o.sink(set, filter)
	}
	return o.webhook(set.Settings(), filter)
}

// delivered makes a subscription as the deliverer takes it.
func (o outlet) delivered(set subscription.Settings, carrier func(event.Filter) (delivery.Carrier, error)) (delivery.Subscription, error) {
	filter := event.Filter{Types: set.Types, Providers: set.Providers, Prefix: set.Prefix, Labels: set.Labels}
	if err := filter.Check(); err != nil {
		return delivery.Subscription{}, err
	}
	by, err := carrier(filter)
	if err != nil {
		return delivery.Subscription{}, err
	}
	one := delivery.Subscription{Name: set.Name, Filter: filter, Carrier: by}
	if len(set.Retry) > 0 {
		one.Schedule = append([]time.Duration{0}, set.Retry...) // the first delivery waits for nothing
	}
	return one, nil
}

// webhook makes what posts events to a subscriber.
func (o outlet) webhook(set subscription.Settings, filter event.Filter) (delivery.Carrier, error) {
	secrets := make([]delivery.SigningSecret, len(set.Secrets))
	for i, one := range set.Secrets {
		secrets[i] = delivery.SigningSecret(one)
	}
	return delivery.NewWebhook(delivery.WebhookOptions{
		URL: set.URL, Secrets: secrets, Filter: filter, Client: o.client,
		Source: o.source, UserAgent: o.userAgent, Now: time.Now,
	})
}

// subscribers gives the deliverer the subscriptions that there are, those of
// the configuration and those that are stored.
type subscribers struct {
	outlet    outlet
	deliverer *delivery.Deliverer
	store     *store.Store
	log       zerolog.Logger

	book       *subscription.Book
	configured []delivery.Subscription // those of the configuration; used within calls of the book alone
	carriers   atomic.Pointer[map[string]delivery.Carrier]
}

// configure takes over the subscriptions of a configuration, as the outlet has
// made them, or none of them.
func (s *subscribers) configure(ctx context.Context, conf *config.Config, made []delivery.Subscription) error {
	settings := make([]subscription.Settings, len(conf.Subscriptions))
	for i, set := range conf.Subscriptions {
		settings[i] = set.Settings()
	}
	return s.book.SetConfigured(ctx, settings, func() (undo func()) {
		before := s.configured
		s.configured = made
		return func() { s.configured = before }
	})
}

// apply is the book's way to the deliverer. A stored subscription that cannot
// be delivered keeps no other from being so.
func (s *subscribers) apply(ctx context.Context, list []subscription.Entry) error {
	var subs []delivery.Subscription
	carriers := map[string]delivery.Carrier{}
	for _, entry := range list {
		one, err := s.deliverable(entry)
		if err != nil {
			s.log.Error().Err(err).Str("subscription", entry.Name).Msg("a stored subscription cannot be delivered; the others are")
			continue
		}
		if one.Carrier == nil {
			continue // its receiver comes for its events
		}
		subs = append(subs, one)
		carriers[one.Name] = one.Carrier
	}
	if err := s.deliverer.SetSubscriptions(ctx, subs); err != nil {
		return err
	}
	s.carriers.Store(&carriers)
	for _, entry := range list {
		if err := s.turn(ctx, entry); err != nil {
			return err
		}
	}
	return nil
}

func (s *subscribers) deliverable(entry subscription.Entry) (delivery.Subscription, error) {
	if entry.Configured {
		i := slices.IndexFunc(s.configured, func(one delivery.Subscription) bool { return one.Name == entry.Name })
		if i < 0 {
			return delivery.Subscription{}, nil
		}
		return s.configured[i], nil
	}
	return s.outlet.delivered(entry.Settings, func(filter event.Filter) (delivery.Carrier, error) {
		return s.outlet.webhook(entry.Settings, filter)
	})
}

// turn has deliveries go on, or rest, as their owner wants it. One that is
// disabled for another reason stays so, but for a deleted one that has moved to
// the configuration: it goes on from where it was.
func (s *subscribers) turn(ctx context.Context, entry subscription.Entry) error {
	state, err := s.store.Subscription(ctx, entry.Name)
	switch {
	case err != nil:
		return err
	case !entry.Enabled && !state.Disabled:
		return s.store.TurnOff(ctx, entry.Name)
	case entry.Enabled && state.Reason == store.ReasonOff, entry.Configured && state.Reason == store.ReasonDeleted:
		return s.store.Enable(ctx, entry.Name)
	}
	return nil
}

// carrier returns what takes events to a subscriber, nil if nothing does.
func (s *subscribers) carrier(name string) delivery.Carrier {
	carriers := s.carriers.Load()
	if carriers == nil {
		return nil
	}
	return (*carriers)[name]
}

// storedSubscriptions gives the stored subscriptions to the book.
type storedSubscriptions struct {
	store  *store.Store
	engine *refresh.Engine // puts back what Redis loses of them
	log    zerolog.Logger
}

func (s storedSubscriptions) Revision(ctx context.Context) (uint64, error) {
	return s.store.SubscriptionsRevision(ctx)
}

func (s storedSubscriptions) Read(ctx context.Context) (subscription.Stored, error) {
	found, err := s.store.SubscriptionRecords(ctx)
	if err != nil && found.Deleted != nil {
		err = &subscription.UnreadableError{Err: err}
	}
	stored := subscription.Stored{Deleted: found.Deleted, Revision: found.Revision}
	for _, record := range found.Records {
		stored.Records = append(stored.Records, subscription.Record(record))
	}
	return stored, err
}

func (s storedSubscriptions) Save(ctx context.Context, r subscription.Record) (subscription.Record, error) {
	saved, ok, err := s.store.SaveSubscription(ctx, store.SubscriptionRecord(r))
	switch {
	case err != nil:
		return subscription.Record{}, err
	case !ok:
		return subscription.Record{}, subscription.ErrChanged
	}
	s.acknowledged(saved.Name, "it was stored again", func(ctx context.Context) (bool, error) {
		return s.store.RestoreSubscription(ctx, saved)
	})
	return subscription.Record(saved), nil
}

// acknowledged has a change of a subscription made again where Redis loses it.
func (s storedSubscriptions) acknowledged(name, what string, again func(context.Context) (bool, error)) {
	s.engine.Acknowledged("subscription "+name, func(ctx context.Context) error {
		lost, err := again(ctx)
		if lost {
			s.log.Warn().Str("subscription", name).Msg("Redis had lost what was done with a subscription: " + what)
		}
		return err
	})
}

func (s storedSubscriptions) Remove(ctx context.Context, name string, version uint64) error {
	made, err := s.store.RemoveSubscription(ctx, name, version)
	switch {
	case err != nil:
		return err
	case made == 0:
		return subscription.ErrChanged
	}
	s.acknowledged(name, "it was removed again", func(ctx context.Context) (bool, error) {
		return s.store.RemoveSubscriptionAgain(ctx, name, made)
	})
	return nil
}

func (s storedSubscriptions) Forget(ctx context.Context, name string) error {
	return s.store.ForgetSubscription(ctx, name)
}
