package subscription

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// attempts bounds how often a change is made again because somebody else came
// first.
const attempts = 5

// NewSecret draws a secret of Standard Webhooks.
func NewSecret() credential.Secret {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return credential.NewSecret("whsec_" + base64.StdEncoding.EncodeToString(random[:]))
}

// Create adds a subscription. It gets the events that are committed from now
// on; where its name was configured before, it goes on from there.
func (b *Book) Create(ctx context.Context, s Settings) (Entry, error) {
	if err := CheckName(s.Name); err != nil {
		return Entry{}, &InvalidError{[]Problem{{Field: "name", Text: err.Error()}}}
	}
	if found := s.Check(b.opts.Rules()); len(found) > 0 {
		return Entry{}, &InvalidError{found}
	}
	switch _, err := b.Find(ctx, s.Name); {
	case err == nil:
		return Entry{}, ErrExists
	case !errors.Is(err, ErrNotFound):
		return Entry{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if wait := b.leaving(s.Name); wait > 0 {
		return Entry{}, &LeavingError{Name: s.Name, Again: wait}
	}
	entry, err := b.save(ctx, Entry{Settings: s})
	if errors.Is(err, ErrChanged) {
		err = ErrExists
	}
	return entry, err
}

// Replace changes the settings of a subscription, all but its secrets.
func (b *Book) Replace(ctx context.Context, s Settings) (Entry, error) {
	return b.change(ctx, s.Name, func(before Settings) Settings {
		next := s
		next.Secrets = before.Secrets
		return next
	})
}

// Rotate gives a subscription a new secret, beside which the old one signs for
// as long as overlap says.
func (b *Book) Rotate(ctx context.Context, name string, secret credential.Secret, overlap time.Duration) (Entry, error) {
	return b.change(ctx, name, func(before Settings) Settings {
		return before.Rotated(secret, b.opts.Now().Time(), overlap)
	})
}

// SetEnabled turns the deliveries of a subscription on or off.
func (b *Book) SetEnabled(ctx context.Context, name string, enabled bool) (Entry, error) {
	return b.change(ctx, name, func(before Settings) Settings {
		before.Enabled = enabled
		return before
	})
}

// change makes a change of one that was made through the API, again if
// somebody else came first.
func (b *Book) change(ctx context.Context, name string, to func(before Settings) Settings) (Entry, error) {
	for left := attempts; ; left-- {
		before, err := b.mutable(ctx, name)
		if err != nil {
			return Entry{}, err
		}
		next := before
		next.Settings = to(before.Settings)
		if found := next.Check(b.opts.Rules()); len(found) > 0 {
			return Entry{}, &InvalidError{found}
		}
		b.mu.Lock()
		entry, err := b.save(ctx, next)
		b.mu.Unlock()
		if !errors.Is(err, ErrChanged) || left == 0 {
			return entry, err
		}
	}
}

// mutable finds one that does not stand in the configuration.
func (b *Book) mutable(ctx context.Context, name string) (Entry, error) {
	entry, err := b.Find(ctx, name)
	if err == nil && entry.Configured {
		err = &ManagedError{Name: name}
	}
	return entry, err
}

// save stores an entry and takes it over.
func (b *Book) save(ctx context.Context, e Entry) (Entry, error) {
	content, err := encode(e.Settings)
	if err != nil {
		return Entry{}, wrapped("encode", e.Name, err)
	}
	record, err := b.opts.Store.Save(ctx, Record{
		Name: e.Name, Version: e.Version, Content: content, CreatedAt: e.CreatedAt,
	})
	if err != nil {
		b.applied = false // what is stored may be this, or somebody else's
		return Entry{}, err
	}
	e.Version, e.CreatedAt, e.UpdatedAt = record.Version, record.CreatedAt, record.UpdatedAt
	return e, b.refresh(ctx)
}

// Delete ends a subscription. Deliveries under way come to their end; then
// nothing is left of it.
func (b *Book) Delete(ctx context.Context, name string) error {
	for left := attempts; ; left-- {
		entry, err := b.mutable(ctx, name)
		if err != nil {
			return err
		}
		b.mu.Lock()
		err = b.opts.Store.Remove(ctx, name, entry.Version)
		b.applied = false
		if err == nil {
			err = b.refresh(ctx)
		}
		b.mu.Unlock()
		if !errors.Is(err, ErrChanged) || left == 0 {
			return err
		}
	}
}
