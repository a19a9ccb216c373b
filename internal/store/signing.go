package store

import (
	"context"
	"fmt"

	"github.com/refreshd/refreshd/internal/seal"
)

// sealedSigning names the signing keys among what is sealed. They belong to no
// credential.
const sealedSigning = "signing keys"

func signingAD(revision uint64) []byte { return seal.AD("", sealedSigning, 0, revision) }

// SigningKeys returns what was saved with [Store.SaveSigningKeys], and its
// revision; nil and 0 if nothing ever was.
func (s *Store) SigningKeys(ctx context.Context) (keys []byte, revision uint64, err error) {
	sealed, revision, err := s.versioned(ctx, keySigning)
	if err != nil {
		return nil, 0, fmt.Errorf("signing keys: %w", err)
	}
	if revision == 0 {
		return nil, 0, nil
	}
	keys, err = s.keyset.Open([]byte(sealed), signingAD(revision))
	if err != nil {
		return nil, 0, &CorruptError{Key: keySigning, Field: "value", Err: err}
	}
	return keys, revision, nil
}

// SaveSigningKeys seals keys and stores them in the place of those of that
// revision; they have the next. It reports false, and changes nothing, if
// others are stored.
func (s *Store) SaveSigningKeys(ctx context.Context, keys []byte, revision uint64) (bool, error) {
	sealed, err := s.keyset.Seal(keys, signingAD(revision+1))
	if err != nil {
		return false, fmt.Errorf("signing keys: %w", err)
	}
	saved, err := s.swap(ctx, keySigning, revision, sealed)
	if err == nil && !saved {
		var stored string
		stored, _, err = s.versioned(ctx, keySigning)
		saved = stored == string(sealed) // by this very call, whose answer was lost: nobody seals the same
	}
	if err != nil {
		return false, fmt.Errorf("signing keys: %w", err)
	}
	return saved, nil
}

// ResealSigningKeys seals the signing keys with the primary key if an older one
// has sealed them, and reports whether that was so. Keys that are changed
// meanwhile are left as they are then: only a call that finds nothing says that
// all is done.
func (s *Store) ResealSigningKeys(ctx context.Context) (found bool, err error) {
	sealed, revision, err := s.versioned(ctx, keySigning)
	if err != nil {
		return false, fmt.Errorf("signing keys: %w", err)
	}
	if revision == 0 || s.keyset.Current([]byte(sealed)) {
		return false, nil
	}
	keys, err := s.keyset.Open([]byte(sealed), signingAD(revision))
	if err != nil {
		return false, &CorruptError{Key: keySigning, Field: "value", Err: err}
	}
	_, err = s.SaveSigningKeys(ctx, keys, revision)
	return true, err
}
