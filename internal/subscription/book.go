package subscription

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// pollEvery is how often changes of other processes are looked for.
	pollEvery = time.Second
	// leaves is how long what is known of a deleted subscription stays: longer
	// than a delivery that had begun can take, and than a process needs to hear
	// of the deletion.
	leaves = 30 * time.Second
)

// Record is a subscription as it is stored.
type Record struct {
	Name      string
	Version   uint64            // grows with every change
	Content   credential.Secret // sealed at rest
	CreatedAt credential.Millis
	UpdatedAt credential.Millis
}

// Stored is everything that is stored at one moment.
type Stored struct {
	Records  []Record
	Deleted  map[string]credential.Millis // names whose lanes are still there, and since when
	Revision uint64                       // grows with every change of any of it
}

// Store keeps the subscriptions that were made through the API. Its methods
// may be called concurrently.
type Store interface {
	Revision(ctx context.Context) (uint64, error)
	// Read returns what can be read beside the error for what cannot.
	Read(ctx context.Context) (Stored, error)
	// Save replaces the record of the version given, 0 for none, and returns
	// it with its new version. It fails with [ErrChanged] if that is not what
	// is stored.
	Save(ctx context.Context, r Record) (Record, error)
	// Remove ends deliveries and removes the record of that version, with
	// [ErrChanged] likewise. What its lanes hold stays.
	Remove(ctx context.Context, name string, version uint64) error
	// Forget removes what the lanes of a deleted subscription hold.
	Forget(ctx context.Context, name string) error
}

// Entry is a subscription and where it comes from.
type Entry struct {
	Settings

	Configured bool              // it stands in config.yaml
	Version    uint64            // 0 where it is configured
	CreatedAt  credential.Millis // 0 where it is configured
	UpdatedAt  credential.Millis
}

// Options are what a [Book] is made of.
type Options struct {
	Store Store
	// Apply takes over all that there are, ordered by name. It is called by
	// one goroutine at a time.
	Apply func(ctx context.Context, list []Entry) error
	Rules func() Rules
	Now   func() credential.Millis // the store's clock
	Log   zerolog.Logger
}

// Book knows all subscriptions and follows their changes.
type Book struct {
	opts Options

	mu         sync.Mutex // one change or look at the store at a time
	configured []Settings
	stored     []Entry
	deleted    map[string]credential.Millis
	revision   uint64
	applied    bool // what was read is taken over

	known atomic.Pointer[[]Entry] // as it was taken over last; never changed

	ctx    context.Context //nolint:containedctx // the poll's own life
	cancel context.CancelFunc
	loops  sync.WaitGroup
}

// NewBook returns a book that knows of none.
func NewBook(opts Options) *Book {
	ctx, cancel := context.WithCancel(context.Background())
	b := &Book{opts: opts, ctx: ctx, cancel: cancel}
	b.known.Store(&[]Entry{})
	return b
}

// Start begins to follow what other processes change.
func (b *Book) Start() { b.loops.Go(b.poll) }

// Stop ends the following. It can be called twice, and without Start.
func (b *Book) Stop() {
	b.cancel()
	b.loops.Wait()
}

func (b *Book) poll() {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-ticker.C:
		}
		if err := b.sync(b.ctx); err != nil && b.ctx.Err() == nil {
			b.opts.Log.Warn().Err(err).Msg("the stored subscriptions cannot be followed, again in a second")
		}
		b.forget(b.ctx)
	}
}

// SetConfigured replaces the subscriptions of the configuration and takes them
// over with those that are stored, or leaves all as it was. prepare is called
// before that, while nothing is applied; what it returns undoes it.
func (b *Book) SetConfigured(ctx context.Context, list []Settings, prepare func() (undo func())) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, undo := b.configured, prepare()
	b.configured = list
	err := b.refresh(ctx)
	if err != nil {
		undo()
		b.configured = before
	}
	return err
}

// List returns all, ordered by name, as they are stored now.
func (b *Book) List(ctx context.Context) ([]Entry, error) {
	if err := b.sync(ctx); err != nil {
		return nil, err
	}
	return b.Known(), nil
}

// Known returns all, ordered by name, as this process last heard of them: it
// asks nobody. The list is not to be changed.
func (b *Book) Known() []Entry { return *b.known.Load() }

// Find returns one as it is stored now, [ErrNotFound] if there is none of that
// name.
func (b *Book) Find(ctx context.Context, name string) (Entry, error) {
	list, err := b.List(ctx)
	if err != nil {
		return Entry{}, err
	}
	i := slices.IndexFunc(list, func(e Entry) bool { return e.Name == name })
	if i < 0 {
		return Entry{}, ErrNotFound
	}
	return list[i], nil
}

// sync takes over what has changed in the store.
func (b *Book) sync(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	revision, err := b.opts.Store.Revision(ctx)
	if err != nil {
		return err
	}
	if b.applied && revision == b.revision {
		return nil
	}
	return b.refresh(ctx)
}

// refresh reads what is stored and has all of it applied. A record that cannot
// be read keeps no other from being delivered.
func (b *Book) refresh(ctx context.Context) error {
	found, err := b.opts.Store.Read(ctx)
	if unreadable, ok := errors.AsType[*UnreadableError](err); ok {
		b.opts.Log.Error().Err(unreadable).Msg("stored subscriptions cannot be read; the others are delivered")
	} else if err != nil {
		return err
	}
	stored := make([]Entry, 0, len(found.Records))
	for _, record := range found.Records {
		settings, err := decode(record.Name, record.Content)
		if err != nil {
			b.opts.Log.Error().Err(err).Str("subscription", record.Name).Msg("a stored subscription cannot be read; the others are delivered")
			continue
		}
		stored = append(stored, Entry{Settings: settings, Version: record.Version, CreatedAt: record.CreatedAt, UpdatedAt: record.UpdatedAt})
	}
	b.stored, b.deleted, b.revision = stored, found.Deleted, found.Revision
	list := b.all()
	err = b.opts.Apply(ctx, list)
	b.applied = err == nil
	if err == nil {
		b.known.Store(&list)
	}
	return err
}

// all returns the configured ones and the stored ones, of which those with a
// configured one's name have no part in anything.
func (b *Book) all() []Entry {
	list := make([]Entry, 0, len(b.configured)+len(b.stored))
	for _, s := range b.configured {
		list = append(list, Entry{Settings: s.clone(), Configured: true})
	}
	for _, e := range b.stored {
		if !b.isConfigured(e.Name) {
			e.Settings = e.clone()
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(x, y Entry) int { return cmp.Compare(x.Name, y.Name) })
	return list
}

func (b *Book) isConfigured(name string) bool {
	return slices.ContainsFunc(b.configured, func(s Settings) bool { return s.Name == name })
}

// forget removes what is left of subscriptions that were deleted a while ago.
func (b *Book) forget(ctx context.Context) {
	b.mu.Lock()
	var names []string
	for name, since := range b.deleted {
		if b.opts.Now() >= since.Add(leaves) {
			names = append(names, name)
		}
	}
	b.mu.Unlock()
	for _, name := range names {
		if err := b.opts.Store.Forget(ctx, name); err != nil && ctx.Err() == nil {
			b.opts.Log.Warn().Err(err).Str("subscription", name).Msg("what is left of a deleted subscription cannot be removed, again in a second")
		}
	}
}

// leaving is how long a name that was deleted stays taken.
func (b *Book) leaving(name string) time.Duration {
	since, deleted := b.deleted[name]
	if !deleted {
		return 0
	}
	return max(since.Add(leaves).Sub(b.opts.Now()), 0) + pollEvery
}

// wrapped says which subscription an error is about.
func wrapped(doing, name string, err error) error {
	return fmt.Errorf("%s subscription %s: %w", doing, name, err)
}
