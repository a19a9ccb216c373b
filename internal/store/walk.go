package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
)

// Walk visits every live credential of a provider, of every one if it is "",
// a part at a time and without secrets. It reads the keys themselves and no
// index: what has been there all along is visited at least once, whatever the
// indexes say. It begins with the cursor "" and is at its end when next is "";
// a part may be empty. A cursor is text that can be stored, and is good until
// Redis is restarted.
//
// count is about how many keys of the whole Redis are looked at. Records that
// cannot be read are an [*ItemsError]; the others hold, and so does next.
func (s *Store) Walk(ctx context.Context, provider, cursor string, count int) (list []credential.Held, next string, err error) {
	shard, at, err := s.parseWalk(cursor)
	if err != nil {
		return nil, "", err
	}
	node, match, last := redis.Cmdable(s.client), anyCred, true
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		// A node's cursor means nothing to another, so one shard is walked
		// after the other, each on the node that has it.
		names := s.shards[shard]
		if node, err = cluster.MasterForKey(ctx, names.open); err != nil {
			return nil, "", fmt.Errorf("walk: %w", err)
		}
		match, last = names.cred+"*", shard == len(s.shards)-1
	}
	keys, at, err := node.Scan(ctx, at, match, int64(max(count, 1))).Result()
	if err != nil {
		return nil, "", fmt.Errorf("walk: %w", err)
	}
	switch {
	case at != 0:
		next = strconv.Itoa(shard) + ":" + strconv.FormatUint(at, 10)
	case !last:
		next = strconv.Itoa(shard+1) + ":0"
	}
	ids := make([]credential.ID, 0, len(keys))
	for _, key := range keys {
		// What is not in the shard of its own ID is not of our writing.
		if id, ok := idOfKey(key); ok && s.credKey(id) == key && !id.IsClient() {
			ids = append(ids, id)
		}
	}
	found, err := s.Records(ctx, ids...)
	for _, h := range found {
		if h != nil && h.Record.State != credential.StateDeleted && (provider == "" || h.Record.Provider == provider) {
			list = append(list, *h)
		}
	}
	return list, next, err
}

func (s *Store) parseWalk(cursor string) (shard int, at uint64, err error) {
	if cursor == "" {
		return 0, 0, nil
	}
	first, second, _ := strings.Cut(cursor, ":")
	shard, err = strconv.Atoi(first)
	if err != nil || shard < 0 || shard >= len(s.shards) {
		return 0, 0, ErrBadCursor
	}
	if at, err = strconv.ParseUint(second, 10, 64); err != nil {
		return 0, 0, ErrBadCursor
	}
	return shard, at, nil
}
