package api_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
)

// drawnSecret is the one that the fake draws.
const drawnSecret = "whsec_canaryDrawnMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// fakeSubscriptions keeps subscriptions in memory. What they are told to do is
// noted.
type fakeSubscriptions struct {
	mu         sync.Mutex
	list       []api.Subscription
	deliveries []api.Delivery
	asked      []string
	err        error // that the next calls return
	reset      bool
}

func (f *fakeSubscriptions) enter(format string, args ...any) func() {
	f.mu.Lock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	return f.mu.Unlock
}

func (f *fakeSubscriptions) find(name string) (*api.Subscription, error) {
	if f.err != nil {
		return nil, f.err
	}
	i := slices.IndexFunc(f.list, func(s api.Subscription) bool { return s.Name == name })
	if i < 0 {
		return nil, &api.FaultError{Kind: api.FaultNoSubscription, Detail: "no subscription has this name"}
	}
	return &f.list[i], nil
}

func (f *fakeSubscriptions) mutable(name string) (*api.Subscription, error) {
	s, err := f.find(name)
	if err == nil && s.ManagedBy == api.ManagedByConfig {
		return nil, &api.FaultError{Kind: api.FaultManagedByConfig, Detail: "change it in config.yaml"}
	}
	return s, err
}

func (f *fakeSubscriptions) List(context.Context) ([]api.Subscription, error) {
	defer f.enter("list")()
	return slices.Clone(f.list), f.err
}

func (f *fakeSubscriptions) Find(_ context.Context, name string) (api.Subscription, error) {
	defer f.enter("find %s", name)()
	s, err := f.find(name)
	if err != nil {
		return api.Subscription{}, err
	}
	return *s, nil
}

func (f *fakeSubscriptions) Create(_ context.Context, set api.SubscriptionSettings, secret credential.Secret) (api.Subscription, credential.Secret, error) {
	defer f.enter("create %+v", set)()
	if f.err != nil {
		return api.Subscription{}, credential.Secret{}, f.err
	}
	s := api.Subscription{SubscriptionSettings: set, ManagedBy: api.ManagedByAPI, Version: 1, CreatedAt: noon, UpdatedAt: noon, Progress: api.SubscriptionProgress{State: "active"}}
	f.list = append(f.list, s)
	return s, drawn(secret), nil
}

// drawn is what is shown of a secret: that one was drawn.
func drawn(given credential.Secret) credential.Secret {
	if given.IsZero() {
		return credential.NewSecret(drawnSecret)
	}
	return credential.Secret{}
}

func (f *fakeSubscriptions) Replace(_ context.Context, set api.SubscriptionSettings) (api.Subscription, error) {
	defer f.enter("replace %+v", set)()
	s, err := f.mutable(set.Name)
	if err != nil {
		return api.Subscription{}, err
	}
	s.SubscriptionSettings, s.Version = set, s.Version+1
	return *s, nil
}

func (f *fakeSubscriptions) Delete(_ context.Context, name string) error {
	defer f.enter("delete %s", name)()
	if _, err := f.mutable(name); err != nil {
		return err
	}
	f.list = slices.DeleteFunc(f.list, func(s api.Subscription) bool { return s.Name == name })
	return nil
}

func (f *fakeSubscriptions) Verify(_ context.Context, name string) (api.VerificationResult, error) {
	defer f.enter("verify %s", name)()
	if _, err := f.find(name); err != nil {
		return api.VerificationResult{}, err
	}
	return api.VerificationResult{Event: "01J", Result: "refused", Status: 404, Error: "the receiver answered 404", Took: 30 * time.Millisecond}, nil
}

func (f *fakeSubscriptions) Replay(_ context.Context, name, from string) (bool, error) {
	defer f.enter("replay %s from %s", name, from)()
	_, err := f.find(name)
	if err == nil && from == "nonsense" {
		err = &api.FaultError{Kind: api.FaultBadCursor, Detail: "not a cursor"}
	}
	return f.reset, err
}

func (f *fakeSubscriptions) Enable(_ context.Context, name string) (api.Subscription, error) {
	defer f.enter("enable %s", name)()
	s, err := f.find(name)
	if err != nil {
		return api.Subscription{}, err
	}
	s.Progress = api.SubscriptionProgress{State: "active"}
	return *s, nil
}

func (f *fakeSubscriptions) Rotate(_ context.Context, name string, secret credential.Secret, overlap time.Duration) (api.Subscription, credential.Secret, error) {
	defer f.enter("rotate %s for %s", name, overlap)()
	s, err := f.mutable(name)
	if err != nil {
		return api.Subscription{}, credential.Secret{}, err
	}
	s.PreviousUntil = noon.Time().Add(overlap)
	return *s, drawn(secret), nil
}

func (f *fakeSubscriptions) Deliveries(_ context.Context, name string, limit int) ([]api.Delivery, error) {
	defer f.enter("deliveries %s %d", name, limit)()
	if _, err := f.find(name); err != nil {
		return nil, err
	}
	return f.deliveries[:min(limit, len(f.deliveries))], nil
}

// last is what was asked for last.
func (f *fakeSubscriptions) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return cmp.Or(append([]string{""}, f.asked...)[len(f.asked)])
}

// fail has calls return an error from now on.
func (f *fakeSubscriptions) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}
