package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
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
	value, err := json.Marshal(spec.stored(now))
	if err != nil {
		return Key{}, fmt.Errorf("encode an API key: %w", err)
	}
	if err := s.client.HSet(ctx, keyAPIKeys, field, value).Err(); err != nil {
		return Key{}, fmt.Errorf("store an API key: %w", s.explain(ctx, err, keyAPIKeys))
	}
	return Key{KeySpec: spec, ID: field[:apiKeyIDLen], CreatedAt: now}, nil
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
