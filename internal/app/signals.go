package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/logging"
	"github.com/refreshd/refreshd/internal/ssf"
	"github.com/refreshd/refreshd/internal/store"
)

// openSignals builds what makes Security Event Tokens. No key is made before
// one is needed.
func (s *service) openSignals() {
	s.signing = ssf.NewRing(s.store, s.clock.Now)
	s.transmitter = ssf.New(ssf.Options{
		Issuer:   func() string { return s.conf.Load().SSF.Issuer },
		IssuerOf: func(provider string) string { return s.conf.Load().Providers[provider].Issuer },
		Ring:     s.signing, Now: time.Now,
	})
	s.poller = ssf.NewPoller(ssf.PollerOptions{
		Log: s.events, Places: places{s.store}, Transmitter: s.transmitter,
		Logger: logging.Component(s.log, "signals"), Registerer: s.registry,
	})
}

// openStreams fixes where the streams start whose receivers poll: at the
// present end of the log, if they are new.
func (s *service) openStreams(ctx context.Context, conf *config.Config) error {
	for _, set := range conf.Subscriptions {
		if !polled(set) {
			continue
		}
		end, err := s.events.End(ctx)
		if err != nil {
			return err
		}
		if _, err := s.store.StartSubscription(ctx, set.Name, end.Last); err != nil {
			return fmt.Errorf("subscription %q: %w", set.Name, err)
		}
	}
	return nil
}

// polled reports whether a subscription's receiver fetches what it gets.
func polled(set config.Subscription) bool {
	return set.Format == config.FormatCAEP && set.Delivery == config.DeliveryPoll
}

// filterOf returns what a subscription gets. Of format caep, that is what
// becomes a security event.
func filterOf(set config.Subscription) (event.Filter, error) {
	filter := event.Filter{Types: set.Types, Providers: set.Providers, Prefix: set.Prefix, Labels: set.Labels}
	if set.Format != config.FormatCAEP {
		return filter, nil
	}
	if filter.Types = ssf.Select(set.Types); len(filter.Types) == 0 {
		return event.Filter{}, fmt.Errorf("none of the types %v becomes a security event; leave types out for all of %v", set.Types, ssf.Select(nil))
	}
	return filter, nil
}

func streamOf(set config.Subscription) ssf.Stream {
	return ssf.Stream{Name: set.Name, Audience: set.Audience}
}

// push makes what posts Security Event Tokens to a receiver.
func (o outlet) push(set config.Subscription) *delivery.Push {
	return delivery.NewPush(delivery.PushOptions{
		URL: set.URL, Bearer: set.Bearer, Client: o.client, UserAgent: o.userAgent, Now: time.Now,
		Token: func(ctx context.Context, entry credential.LogEntry) (string, error) {
			return o.signals.Token(ctx, entry, streamOf(set))
		},
	})
}

// places keeps in the store how far receivers that poll have answered.
type places struct{ store *store.Store }

func (p places) Place(ctx context.Context, subscription string) (ssf.Progress, error) {
	at, err := p.store.PollPlace(ctx, subscription)
	progress := ssf.Progress{Last: at.Cursors, Answered: at.Answered, Revision: at.Revision}
	if at.VerifyID != "" {
		progress.Pending = &ssf.PendingVerification{ID: at.VerifyID, State: at.VerifyState}
	}
	return progress, err
}

func (p places) SavePlace(ctx context.Context, subscription string, progress ssf.Progress) (bool, error) {
	at := store.PollPlace{Cursors: progress.Last, Answered: progress.Answered, Revision: progress.Revision}
	if progress.Pending != nil {
		at.VerifyID, at.VerifyState = progress.Pending.ID, progress.Pending.State
	}
	return p.store.SavePollPlace(ctx, subscription, at)
}

// apiSignals is the transmitter as the API shows it.
type apiSignals struct{ *service }

func (a apiSignals) Transmitter(context.Context) (api.SignalTransmitter, error) {
	issuer, err := a.issuer()
	if err != nil {
		return api.SignalTransmitter{}, err
	}
	return api.SignalTransmitter{
		SpecVersion: "1_0", Issuer: issuer, JWKSURI: issuer + "/.well-known/jwks.json",
		Methods:         []string{"urn:ietf:rfc:8935", "urn:ietf:rfc:8936"},
		VerificationURI: issuer + "/v1/signals/verify",
		Schemes:         []api.SignalScheme{{URN: "urn:ietf:rfc:6750"}},
		DefaultSubjects: "ALL",
	}, nil
}

// issuer returns the configured one.
func (a apiSignals) issuer() (string, error) {
	issuer := a.conf.Load().SSF.Issuer
	if issuer == "" {
		return "", api.ErrNoSignals
	}
	return issuer, nil
}

func (a apiSignals) Keys(ctx context.Context) ([]api.SigningKey, error) {
	if _, err := a.issuer(); err != nil {
		return nil, err
	}
	keys, err := a.signing.Published(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]api.SigningKey, len(keys))
	for i, key := range keys {
		if list[i], err = signingKey(key); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func signingKey(key ssf.Key) (api.SigningKey, error) {
	x, y, err := key.Coordinates()
	return api.SigningKey{ID: key.ID, X: x, Y: y, From: key.From, Until: key.Until}, err
}

func (a apiSignals) RotateKey(ctx context.Context, immediate bool) (api.SigningKey, error) {
	if _, err := a.issuer(); err != nil {
		return api.SigningKey{}, err
	}
	key, err := a.signing.Rotate(ctx, immediate)
	if errors.Is(err, ssf.ErrRotating) {
		return api.SigningKey{}, &api.FaultError{Kind: api.FaultConflict, Detail: err.Error() + "; wait until it does, or rotate with immediate"}
	}
	if err != nil {
		return api.SigningKey{}, err
	}
	return signingKey(key)
}

// stream finds a subscription that gets Security Event Tokens.
func (a apiSignals) stream(name string) (config.Subscription, error) {
	if _, err := a.issuer(); err != nil {
		return config.Subscription{}, err
	}
	for _, set := range a.conf.Load().Subscriptions {
		if set.Name == name && set.Format == config.FormatCAEP {
			return set, nil
		}
	}
	return config.Subscription{}, api.ErrNoStream
}

func (a apiSignals) Poll(ctx context.Context, subscription string, ask api.SignalPoll, until <-chan struct{}) (api.SignalBatch, error) {
	set, err := a.stream(subscription)
	if err != nil {
		return api.SignalBatch{}, err
	}
	if !polled(set) {
		return api.SignalBatch{}, api.ErrNoStream
	}
	filter, err := filterOf(set)
	if err != nil {
		return api.SignalBatch{}, err
	}
	batch, err := a.poller.Poll(ctx, streamOf(set), filter, ssf.Poll(ask), until)
	return api.SignalBatch(batch), pollFault(err)
}

func pollFault(err error) error {
	if errors.Is(err, ssf.ErrBusy) {
		return &api.FaultError{Kind: api.FaultUnavailable, Detail: err.Error()}
	}
	return err
}

func (a apiSignals) Verify(ctx context.Context, subscription, state string) error {
	set, err := a.stream(subscription)
	if err != nil {
		return err
	}
	if polled(set) {
		return pollFault(a.poller.Verify(ctx, streamOf(set), state))
	}
	token, err := a.transmitter.Verification(ctx, streamOf(set), "verification-"+rand.Text(), state)
	if err != nil {
		return err
	}
	if outcome := a.outlet.push(set).Send(ctx, token); outcome.Err != nil {
		return fmt.Errorf("%w: %w", api.ErrNotTaken, outcome.Err)
	}
	return nil
}
