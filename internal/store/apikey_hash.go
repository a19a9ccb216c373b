package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/refreshd/refreshd/internal/credential"
)

// AddKey stores an API key by the SHA-256 of its text, which is enough for a
// key that is drawn at random.
func (s *Store) AddKey(ctx context.Context, hash [sha256.Size]byte, spec KeySpec) (Key, error) {
	if spec.Name == "" || len(spec.Scopes) == 0 {
		return Key{}, errKeySpec
	}
	now, err := s.Now(ctx)
	if err != nil {
		return Key{}, err
	}
	field := hex.EncodeToString(hash[:])
	value, err := spec.encode(now)
	if err != nil {
		return Key{}, err
	}
	if err := s.client.HSet(ctx, keyAPIKeys, field, value).Err(); err != nil {
		return Key{}, fmt.Errorf("store an API key: %w", s.explain(ctx, err, keyAPIKeys))
	}
	return Key{KeySpec: spec, ID: field[:apiKeyIDLen], CreatedAt: now}, nil
}

// RestoreKey puts an API key back that Redis has lost, as [Store.AddKey] stored
// it, unless it was revoked meanwhile. It reports whether it was missing.
func (s *Store) RestoreKey(ctx context.Context, hash [sha256.Size]byte, key Key) (bool, error) {
	value, err := key.encode(key.CreatedAt)
	if err != nil {
		return false, err
	}
	n, err := s.runInt(ctx, s.scripts.keyRestore, []string{keyAPIKeys, revoked + key.ID}, hex.EncodeToString(hash[:]), value)
	if err != nil {
		return false, fmt.Errorf("put an API key back: %w", err)
	}
	return n == 1, nil
}

func (spec KeySpec) encode(at credential.Millis) ([]byte, error) {
	value, err := json.Marshal(spec.stored(at))
	if err != nil {
		return nil, fmt.Errorf("encode an API key: %w", err)
	}
	return value, nil
}

// KeyByHash returns what an API key may do, [ErrKeyNotFound] if there is none
// of that hash.
func (s *Store) KeyByHash(ctx context.Context, hash [sha256.Size]byte) (Key, error) {
	field := hex.EncodeToString(hash[:])
	value, err := s.client.HGet(ctx, keyAPIKeys, field).Result()
	switch {
	case isMissing(err):
		return Key{}, ErrKeyNotFound
	case err != nil:
		return Key{}, fmt.Errorf("look up an API key: %w", s.explain(ctx, err, keyAPIKeys))
	}
	return decodeKey(field, value)
}
