package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/subscription"
)

// apiSubscriptions answers the API's calls about subscriptions, and about where
// their events go.
type apiSubscriptions struct{ *service }

func (a apiSubscriptions) List(ctx context.Context) ([]api.Subscription, error) {
	entries, err := a.subscribers.book.List(ctx)
	if err != nil {
		return nil, subscriptionFault(err)
	}
	list := make([]api.Subscription, len(entries))
	for i, entry := range entries {
		if list[i], err = a.shown(ctx, entry); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (a apiSubscriptions) Find(ctx context.Context, name string) (api.Subscription, error) {
	entry, err := a.find(ctx, name)
	if err != nil {
		return api.Subscription{}, subscriptionFault(err)
	}
	return a.shown(ctx, entry)
}

func (a apiSubscriptions) Create(ctx context.Context, set api.SubscriptionSettings, secret credential.Secret) (api.Subscription, credential.Secret, error) {
	secret, drawn := secretOr(secret)
	settings := settingsOf(set)
	settings.Secrets = []subscription.SigningSecret{{Secret: secret}}
	entry, err := a.surely(ctx, func(ctx context.Context) (subscription.Entry, error) { return a.subscribers.book.Create(ctx, settings) })
	return a.changed(ctx, entry, drawn, err)
}

func (a apiSubscriptions) Replace(ctx context.Context, set api.SubscriptionSettings) (api.Subscription, error) {
	entry, err := a.surely(ctx, func(ctx context.Context) (subscription.Entry, error) {
		return a.subscribers.book.Replace(ctx, settingsOf(set))
	})
	changed, _, err := a.changed(ctx, entry, credential.Secret{}, err)
	return changed, err
}

func (a apiSubscriptions) Delete(ctx context.Context, name string) error {
	_, err := a.surely(ctx, func(ctx context.Context) (subscription.Entry, error) {
		return subscription.Entry{}, a.subscribers.book.Delete(ctx, name)
	})
	return subscriptionFault(err)
}

func (a apiSubscriptions) Rotate(ctx context.Context, name string, secret credential.Secret, overlap time.Duration) (api.Subscription, credential.Secret, error) {
	secret, drawn := secretOr(secret)
	entry, err := a.surely(ctx, func(ctx context.Context) (subscription.Entry, error) {
		return a.subscribers.book.Rotate(ctx, name, secret, overlap)
	})
	return a.changed(ctx, entry, drawn, err)
}

// Enable goes on with one that is disabled, and turns on one that is off.
func (a apiSubscriptions) Enable(ctx context.Context, name string) (api.Subscription, error) {
	entry, err := a.find(ctx, name)
	switch {
	case err != nil:
	case !entry.Enabled && entry.Configured:
		return api.Subscription{}, &api.FaultError{
			Kind:   api.FaultTurnedOff,
			Detail: fmt.Sprintf("subscription %s has enabled: false in config.yaml: change it there, and send SIGHUP", name),
		}
	case !entry.Enabled:
		entry, err = a.subscribers.book.SetEnabled(ctx, name, true)
	}
	if err == nil {
		err = a.store.Enable(ctx, name)
	}
	enabled, _, err := a.changed(ctx, entry, credential.Secret{}, err)
	return enabled, err
}

// Replay moves all lanes to a place in the log.
func (a apiSubscriptions) Replay(ctx context.Context, name, from string) (reset bool, err error) {
	entry, err := a.find(ctx, name)
	if err != nil {
		return false, subscriptionFault(err)
	}
	positions, foreign, err := a.positions(from)
	if err != nil {
		return false, err
	}
	reset, err = a.store.Replay(ctx, name, positions)
	if err == nil && !entry.Enabled { // a replay enables
		err = a.store.TurnOff(ctx, name)
	}
	return reset || foreign, err
}

// positions reads a cursor, "0" or a moment as positions by shard. foreign is
// set for a cursor of another log, in whose place the start of this one stands.
func (a apiSubscriptions) positions(from string) (positions []string, foreign bool, err error) {
	if strings.Contains(from, ":") { // which no cursor has
		at, err := time.Parse(time.RFC3339, from)
		if err != nil || at.UnixMilli() < 1 {
			return nil, false, &api.FaultError{Kind: api.FaultBadCursor, Detail: "it is neither a cursor nor a moment such as 2026-01-02T15:04:05Z"}
		}
		if a.clock.Now().Add(cursorSlack).Sub(credential.At(at)) < 0 {
			return nil, false, beyond("that moment has not come")
		}
		// The last position that an event before that moment can have.
		before := strconv.FormatInt(at.UnixMilli()-1, 10) + "-" + strconv.FormatUint(math.MaxUint64, 10)
		for range a.store.Shards() {
			positions = append(positions, before)
		}
		return positions, false, nil
	}
	cursor, err := a.events.Parse(from)
	if err != nil {
		return nil, false, fault(err)
	}
	if cursor.Epoch != "" && cursor.Epoch != a.events.Epoch() {
		for shard := range cursor.Last {
			cursor.Last[shard] = event.Start
		}
		foreign = true
	}
	if cursor.Ahead(a.clock.Now().Add(cursorSlack)) {
		return nil, false, beyond("the cursor names a place that this log has not reached")
	}
	return cursor.Last, foreign, nil
}

// beyond refuses a place behind the log's end: events up to there would be taken
// for delivered.
func beyond(why string) error {
	return &api.FaultError{
		Kind: api.FaultInvalid, Field: "body.from",
		Detail: "cannot be used: " + why + "; name a past moment, a cursor that was read, or 0 for all that is left",
	}
}

// sender is a carrier that can also deliver what stands in no log.
type sender interface {
	Send(ctx context.Context, e event.CloudEvent) delivery.Outcome
}

// Verify delivers an event that stands in no log.
func (a apiSubscriptions) Verify(ctx context.Context, name string) (api.VerificationResult, error) {
	entry, err := a.find(ctx, name)
	if err != nil {
		return api.VerificationResult{}, subscriptionFault(err)
	}
	if entry.Format == config.FormatCAEP {
		return api.VerificationResult{}, &api.FaultError{
			Kind:   api.FaultNotDelivered,
			Detail: fmt.Sprintf("subscription %s is of format caep, whose verification is a security event token of its own: run refreshd signals verify %s, or POST /v1/signals/verify", name, name),
		}
	}
	carrier := a.subscribers.carrier(name)
	if carrier == nil {
		return api.VerificationResult{}, &api.FaultError{Kind: api.FaultNotDelivered, Detail: fmt.Sprintf("subscription %s cannot be delivered by this process; its log says why", name)}
	}
	id, now := ulid.Make(), a.clock.Now()
	e := event.CloudEvent{
		SpecVersion: "1.0", ID: id.String(), Source: a.source(), Type: string(credential.EventStreamVerification), Time: now.Time(),
	}
	began := time.Now()
	var outcome delivery.Outcome
	if to, ok := carrier.(sender); ok {
		outcome = to.Send(ctx, e)
	} else { // into a stream or topic it goes like any other
		outcome = carrier.Carry(ctx, credential.LogEntry{At: now, Event: credential.Event{
			Type: credential.EventStreamVerification, InitiatedBy: credential.ByOwner, Nonce: credential.Nonce(id),
			Notice: credential.Notice{Subscription: name},
		}})
	}
	result := api.VerificationResult{Event: e.ID, Result: string(outcome.Result), Status: outcome.Status, Took: time.Since(began)}
	if outcome.Err != nil {
		result.Error = outcome.Err.Error()
	}
	return result, nil
}

func (a apiSubscriptions) Deliveries(ctx context.Context, name string, limit int) ([]api.Delivery, error) {
	if _, err := a.find(ctx, name); err != nil {
		return nil, subscriptionFault(err)
	}
	stored, err := a.store.Deliveries(ctx, name, limit)
	if err != nil {
		return nil, err
	}
	list := make([]api.Delivery, len(stored))
	for i, one := range stored {
		list[i] = api.Delivery(one)
	}
	return list, nil
}

// find finds a subscription in a Redis that lacks nothing that is known.
func (a apiSubscriptions) find(ctx context.Context, name string) (subscription.Entry, error) {
	return a.surely(ctx, func(ctx context.Context) (subscription.Entry, error) { return a.subscribers.book.Find(ctx, name) })
}

// surely asks something of the book. That there is no subscription of a name, or is
// one already, is no answer in a Redis without its last writes: it changes once they
// were put back.
func (a apiSubscriptions) surely(ctx context.Context, ask func(context.Context) (subscription.Entry, error)) (entry subscription.Entry, err error) {
	err = a.engine.Surely(ctx, func(ctx context.Context) error {
		entry, err = ask(ctx)
		return err
	}, subscription.ErrNotFound, subscription.ErrExists)
	return entry, err
}

// changed shows what has become of a subscription.
func (a apiSubscriptions) changed(ctx context.Context, entry subscription.Entry, drawn credential.Secret, err error) (api.Subscription, credential.Secret, error) {
	if err != nil {
		return api.Subscription{}, credential.Secret{}, subscriptionFault(err)
	}
	shown, err := a.shown(ctx, entry)
	return shown, drawn, err
}

// shown adds to a subscription how it does.
func (a apiSubscriptions) shown(ctx context.Context, entry subscription.Entry) (api.Subscription, error) {
	audit, err := a.store.AuditLanes(ctx, entry.Name)
	if err != nil {
		return api.Subscription{}, err
	}
	now := a.clock.Now()
	s := api.Subscription{
		SubscriptionSettings: api.SubscriptionSettings{
			Name: entry.Name, URL: entry.URL, Format: entry.Format, Types: entry.Types, Providers: entry.Providers,
			Prefix: entry.Prefix, Labels: entry.Labels, Retry: entry.Retry, Enabled: entry.Enabled,
		},
		ManagedBy: api.ManagedByAPI, Version: entry.Version, CreatedAt: entry.CreatedAt, UpdatedAt: entry.UpdatedAt,
		PreviousUntil: entry.PreviousUntil(now.Time()), Progress: progressOf(audit, now),
	}
	if entry.Configured {
		s.ManagedBy = api.ManagedByConfig
		if err := a.showStream(&s); err != nil {
			return api.Subscription{}, err
		}
	}
	return s, nil
}

// showStream adds what a subscription of security event tokens has more than
// others.
func (a apiSubscriptions) showStream(s *api.Subscription) error {
	if s.Format != config.FormatCAEP {
		return nil
	}
	for _, set := range a.conf.Load().Subscriptions {
		if set.Name != s.Name {
			continue
		}
		selected, err := filterOf(set)
		if err != nil {
			return err
		}
		s.Types, s.Delivery, s.Audience = selected.Types, set.Delivery, set.Audience
	}
	return nil
}

// progressOf tells how deliveries do.
func progressOf(audit store.Audit, now credential.Millis) api.SubscriptionProgress {
	p := api.SubscriptionProgress{State: "active"}
	switch {
	case audit.Disabled && (audit.Reason == store.ReasonOff || audit.Reason == store.ReasonDeleted):
		p.State, p.Since = audit.Reason, audit.Since
	case audit.Disabled:
		p.State, p.Reason, p.Detail, p.Since = "disabled", audit.Reason, audit.Why, audit.Since
	case audit.Open || audit.HeldTo > now:
		p.State, p.RetryAt = "waiting", max(audit.HeldTo, now)
	}
	if audit.Oldest != 0 {
		p.Lag = max(now.Sub(audit.Oldest), 0)
	}
	return p
}

func settingsOf(set api.SubscriptionSettings) subscription.Settings {
	return subscription.Settings{
		Name: set.Name, URL: set.URL, Format: set.Format, Types: set.Types, Providers: set.Providers, Prefix: set.Prefix,
		Labels: set.Labels, Retry: set.Retry, Enabled: set.Enabled,
	}
}

// secretOr draws a secret where none is given, and returns it as drawn then.
func secretOr(given credential.Secret) (secret, drawn credential.Secret) {
	if !given.IsZero() {
		return given, credential.Secret{}
	}
	drawn = subscription.NewSecret()
	return drawn, drawn
}

// subscriptionFault translates an error of the book.
func subscriptionFault(err error) error {
	if invalid, ok := errors.AsType[*subscription.InvalidError](err); ok {
		first := invalid.Problems[0]
		return &api.FaultError{Kind: api.FaultInvalid, Field: "body." + first.Field, Detail: "cannot be used: " + first.Text}
	}
	if managed, ok := errors.AsType[*subscription.ManagedError](err); ok {
		return &api.FaultError{Kind: api.FaultManagedByConfig, Detail: managed.Error()}
	}
	if leaving, ok := errors.AsType[*subscription.LeavingError](err); ok {
		return &api.FaultError{Kind: api.FaultSubscriptionExists, Detail: leaving.Error(), RetryAfter: leaving.Again}
	}
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return &api.FaultError{Kind: api.FaultNoSubscription, Detail: err.Error()}
	case errors.Is(err, subscription.ErrExists):
		return &api.FaultError{Kind: api.FaultSubscriptionExists, Detail: err.Error()}
	case errors.Is(err, subscription.ErrChanged):
		return &api.FaultError{Kind: api.FaultConflict, Detail: err.Error()}
	}
	return fault(err)
}
