package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// scanPart is about how many keys one command of a search looks at: Redis does
// nothing else meanwhile, for a millisecond or so.
const scanPart = 1000

// DueProviders returns the names of the providers that have a due index, sorted,
// whoever knows them. It looks for the indexes among all keys of the whole Redis,
// a part at a time, which is too much for what is done often.
func (s *Store) DueProviders(ctx context.Context) ([]string, error) {
	found := map[string]bool{}
	var mu sync.Mutex
	scan := func(ctx context.Context, node redis.Cmdable) error {
		for cursor := uint64(0); ; {
			keys, next, err := node.Scan(ctx, cursor, anyDue, scanPart).Result()
			if err != nil {
				return err
			}
			mu.Lock()
			for _, key := range keys {
				if name, ok := providerOfKey(key); ok {
					found[name] = true
				}
			}
			mu.Unlock()
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	}
	var err error
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return scan(ctx, master) })
	} else {
		err = scan(ctx, s.client)
	}
	if err != nil {
		return nil, fmt.Errorf("providers of what is due: %w", err)
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// DueCounts tells of each provider how many credentials are in its due indexes:
// the live ones, but for those that nothing will happen to by itself.
func (s *Store) DueCounts(ctx context.Context, providers ...string) ([]int, error) {
	if len(providers) == 0 {
		return nil, nil
	}
	pipe := s.client.Pipeline()
	var keys []string
	replies := make([][]*redis.IntCmd, len(providers))
	for i, provider := range providers {
		if err := checkName("provider", provider); err != nil {
			return nil, err
		}
		for _, names := range s.shards {
			key := names.due + provider
			keys, replies[i] = append(keys, key), append(replies[i], pipe.ZCard(ctx, key))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("count what is due: %w", s.explain(ctx, err, keys...))
	}
	counts := make([]int, len(providers))
	for i := range replies {
		for _, reply := range replies[i] {
			counts[i] += int(reply.Val())
		}
	}
	return counts, nil
}
