package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// apiKeyIDLen is how much of a key's hash names it: 16 hex digits.
	apiKeyIDLen = 16
	// buried is how long it is noted that an API key was revoked, or a subscription
	// removed: longer than any process that made it could be kept from hearing of
	// that, and come to put it back.
	buried = 30 * 24 * time.Hour
)

var errKeySpec = errors.New("an API key needs a name and at least one scope")

// KeySpec says what an API key may do.
type KeySpec struct {
	Name    string   // for people
	Scopes  []string // what it may do
	Prefix  string   // of the IDs it may do it with; "" is all
	Subject string   // whose credentials it may do it with; "" is everybody's
}

// Key describes an API key. The key itself is not kept.
type Key struct {
	KeySpec

	ID        string // 16 hex digits
	CreatedAt credential.Millis
}

// storedKey is the stored form of a Key. The scopes of one that is limited to a
// subject stand in a place of their own: a version of refreshd that does not
// know of that limit, and shares Redis with this one, finds it without scopes
// then, and not without the limit.
type storedKey struct {
	Name          string   `json:"name"`
	Scopes        []string `json:"scopes"`
	Prefix        string   `json:"prefix,omitempty"`
	Subject       string   `json:"subject,omitempty"`
	SubjectScopes []string `json:"subject_scopes,omitempty"`
	CreatedAt     int64    `json:"created_at"`
}

func (spec KeySpec) stored(at credential.Millis) storedKey {
	key := storedKey{Name: spec.Name, Scopes: spec.Scopes, Prefix: spec.Prefix, Subject: spec.Subject, CreatedAt: int64(at)}
	if key.Subject != "" {
		key.Scopes, key.SubjectScopes = []string{}, spec.Scopes
	}
	return key
}

// ListKeys returns all API keys, the oldest first.
func (s *Store) ListKeys(ctx context.Context) ([]Key, error) {
	stored, err := s.client.HGetAll(ctx, keyAPIKeys).Result()
	if err != nil {
		return nil, fmt.Errorf("list the API keys: %w", s.explain(ctx, err, keyAPIKeys))
	}
	list := make([]Key, 0, len(stored))
	for field, value := range stored {
		key, err := decodeKey(field, value)
		if err != nil {
			return nil, err
		}
		list = append(list, key)
	}
	slices.SortFunc(list, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

// RevokeKey ends an API key for good, [ErrKeyNotFound] if there is none of
// that ID.
func (s *Store) RevokeKey(ctx context.Context, id string) error {
	fields, err := s.client.HKeys(ctx, keyAPIKeys).Result()
	if err != nil {
		return fmt.Errorf("revoke an API key: %w", s.explain(ctx, err, keyAPIKeys))
	}
	i := slices.IndexFunc(fields, func(field string) bool { return len(id) == apiKeyIDLen && strings.HasPrefix(field, id) })
	if i < 0 {
		return ErrKeyNotFound
	}
	return s.bury(ctx, id, fields[i])
}

// RevokeKeyAgain is [Store.RevokeKey] for a key that was revoked before, which
// Redis may have lost. It reports whether the key was there again.
func (s *Store) RevokeKeyAgain(ctx context.Context, id string) (bool, error) {
	// First, for whoever made it may put it back at this moment.
	if err := s.bury(ctx, id, ""); err != nil {
		return false, err
	}
	err := s.RevokeKey(ctx, id)
	if errors.Is(err, ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (s *Store) bury(ctx context.Context, id, field string) error {
	if _, err := s.runInt(ctx, s.scripts.bury, []string{keyAPIKeys, revoked + id}, field, 1, int64(buried.Seconds())); err != nil {
		return fmt.Errorf("revoke an API key: %w", err)
	}
	return nil
}

func decodeKey(field, value string) (Key, error) {
	var stored storedKey
	if err := json.Unmarshal([]byte(value), &stored); err != nil || len(field) < apiKeyIDLen {
		return Key{}, &CorruptError{Key: keyAPIKeys, Field: field[:min(len(field), apiKeyIDLen)], Err: errKeySpec}
	}
	spec := KeySpec{Name: stored.Name, Scopes: stored.Scopes, Prefix: stored.Prefix, Subject: stored.Subject}
	if spec.Subject != "" {
		spec.Scopes = stored.SubjectScopes
	}
	return Key{KeySpec: spec, ID: field[:apiKeyIDLen], CreatedAt: credential.Millis(stored.CreatedAt)}, nil
}
