package ssf

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// lookEvery is how long keys are used without looking for others: much
	// shorter than a new one is published before it signs.
	lookEvery = 30 * time.Second
	// saveTimes bounds how often keys are stored anew because somebody else
	// stored some meanwhile.
	saveTimes = 5
)

var errBusy = errors.New("the signing keys were changed by others all the while")

// KeyStore keeps the signing keys, sealed, for all replicas.
type KeyStore interface {
	// SigningKeys returns what was saved and its revision; nil and 0 if
	// nothing was.
	SigningKeys(ctx context.Context) (keys []byte, revision uint64, err error)
	// SaveSigningKeys replaces what has that revision. It reports false, and
	// changes nothing, if something else is stored.
	SaveSigningKeys(ctx context.Context, keys []byte, revision uint64) (bool, error)
}

// Ring has the signing keys of all replicas: the first that needs one makes it.
// It is used by many goroutines.
type Ring struct {
	store KeyStore
	now   func() credential.Millis // the store's clock

	mu       sync.Mutex
	keys     []Key
	revision uint64
	looked   credential.Millis // when they were read
}

// NewRing returns a ring that has read no key yet.
func NewRing(store KeyStore, now func() credential.Millis) *Ring {
	return &Ring{store: store, now: now}
}

// Published returns the keys that receivers are to know: one that is to sign,
// the one that signs, and those of before whose tokens may still lie about.
func (r *Ring) Published(ctx context.Context) ([]Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.look(ctx); err != nil {
		return nil, err
	}
	return publishedAt(r.keys, r.now()), nil
}

// Rotate has a new key made, see [Ring.Published], and returns it. It takes
// over within the hour; with immediate it does at once, and the others are
// withdrawn. The error is [ErrRotating] while one waits to take over.
func (r *Ring) Rotate(ctx context.Context, immediate bool) (Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked = 0
	if err := r.look(ctx); err != nil {
		return Key{}, err
	}
	for range saveTimes {
		next, err := rotate(r.keys, r.now(), immediate)
		if err != nil {
			return Key{}, err
		}
		saved, err := r.save(ctx, next)
		if err != nil || saved {
			return next[len(next)-1], err
		}
		if err := r.load(ctx); err != nil {
			return Key{}, err
		}
	}
	return Key{}, errBusy
}

// signer returns the key to sign with.
func (r *Ring) signer(ctx context.Context) (Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.look(ctx); err != nil {
		return Key{}, err
	}
	return signerAt(r.keys, r.now()), nil
}

// look reads the keys if that was not done just now, and makes the first. While
// the store is away, those that were read serve on.
func (r *Ring) look(ctx context.Context) error {
	if age := r.now().Sub(r.looked); r.keys != nil && r.looked != 0 && age >= 0 && age < lookEvery {
		return nil
	}
	for range saveTimes {
		err := r.load(ctx)
		if err != nil {
			if r.keys != nil && r.looked != 0 {
				r.looked = r.now() // and are looked for again in a while
				return nil
			}
			return err
		}
		if r.keys != nil {
			return nil
		}
		first, err := newKey(r.now())
		if err != nil {
			return err
		}
		if _, err := r.save(ctx, []Key{first}); err != nil {
			return err
		}
	}
	return errBusy
}

func (r *Ring) load(ctx context.Context) error {
	text, revision, err := r.store.SigningKeys(ctx)
	if err != nil {
		return fmt.Errorf("signing keys: %w", err)
	}
	if text == nil {
		r.keys, r.revision = nil, revision
		return nil
	}
	keys, err := decodeKeys(text)
	if err != nil {
		return err
	}
	r.keys, r.revision, r.looked = keys, revision, r.now()
	return nil
}

// save stores keys in the place of those that were read, and reports false if
// others are stored by now.
func (r *Ring) save(ctx context.Context, keys []Key) (bool, error) {
	text, err := encodeKeys(keys)
	if err != nil {
		return false, err
	}
	saved, err := r.store.SaveSigningKeys(ctx, text, r.revision)
	if err != nil {
		return false, fmt.Errorf("signing keys: %w", err)
	}
	if saved {
		r.keys, r.revision, r.looked = keys, r.revision+1, r.now()
	}
	return saved, nil
}
