package store

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
)

// OpenOf returns the credentials with an open attempt of that owner.
func (s *Store) OpenOf(ctx context.Context, owner string) ([]credential.ID, error) {
	owners, err := s.OpenOwners(ctx)
	return owners[owner], err
}

// OpenOwners returns the credentials with an open attempt, by its owner.
func (s *Store) OpenOwners(ctx context.Context) (map[string][]credential.ID, error) {
	pipe := s.client.Pipeline()
	replies := make([]*redis.MapStringStringCmd, len(s.shards))
	keys := make([]string, len(s.shards))
	for i, names := range s.shards {
		keys[i] = names.open
		replies[i] = pipe.HGetAll(ctx, names.open)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("open attempts: %w", s.explain(ctx, err, keys...))
	}
	owners := map[string][]credential.ID{}
	for _, reply := range replies {
		for id, owner := range reply.Val() {
			owners[owner] = append(owners[owner], credential.ID(id))
		}
	}
	return owners, nil
}

// Beat counts this owner's heartbeat on.
func (s *Store) Beat(ctx context.Context) error {
	if err := s.client.HIncrBy(ctx, keyOwners, s.owner, 1).Err(); err != nil {
		return fmt.Errorf("heartbeat: %w", s.explain(ctx, err, keyOwners))
	}
	return nil
}

// Owners returns each owner's heartbeat. One that stands still tells that its
// owner does not reach Redis; whether it is dead is another question.
func (s *Store) Owners(ctx context.Context) (map[string]uint64, error) {
	reply, err := s.client.HGetAll(ctx, keyOwners).Result()
	if err != nil {
		return nil, fmt.Errorf("heartbeats: %w", s.explain(ctx, err, keyOwners))
	}
	owners := make(map[string]uint64, len(reply))
	for owner, count := range reply {
		n, err := strconv.ParseUint(count, 10, 64)
		if err != nil {
			return nil, &CorruptError{Key: keyOwners, Field: owner, Err: errNumber}
		}
		owners[owner] = n
	}
	return owners, nil
}

// Forget removes the heartbeat of an owner that is dead and has nothing open.
func (s *Store) Forget(ctx context.Context, owner string) error {
	if err := s.client.HDel(ctx, keyOwners, owner).Err(); err != nil {
		return fmt.Errorf("forget an owner: %w", s.explain(ctx, err, keyOwners))
	}
	return nil
}
