package store

import (
	"context"
	"strconv"
)

// versioned reads a value that is changed as a whole; "" and 0 where there is
// none.
func (s *Store) versioned(ctx context.Context, key string) (value string, revision uint64, err error) {
	fields, err := s.client.HMGet(ctx, key, "revision", "value").Result()
	if err != nil {
		return "", 0, s.explain(ctx, err, key)
	}
	if fields[0] == nil {
		return "", 0, nil
	}
	if revision, err = strconv.ParseUint(text(fields[0]), 10, 64); err != nil || revision == 0 {
		return "", 0, &CorruptError{Key: key, Field: "revision", Err: errNumber}
	}
	return text(fields[1]), revision, nil
}

// swap replaces a value of that revision, 0 where there is none; the new one
// has the next. It reports false if another is stored.
func (s *Store) swap(ctx context.Context, key string, revision uint64, value []byte) (bool, error) {
	n, err := s.runInt(ctx, s.scripts.swap, []string{key}, revision, value)
	return n == 1, err
}
