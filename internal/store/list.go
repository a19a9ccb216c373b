package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
)

// listPart is the least number of IDs that are read from a shard at a time.
const listPart = 64

// Filter says which credentials are listed. Empty fields let everything pass.
type Filter struct {
	Provider string
	State    credential.State
	Labels   map[string]string // all of them, with these values
	Prefix   string            // of the ID
	Subject  string            // whose it is
}

func (f Filter) passes(r credential.Record) bool {
	if (f.Provider != "" && r.Provider != f.Provider) || (f.State != "" && r.State != f.State) || (f.Subject != "" && r.Subject != f.Subject) {
		return false
	}
	for name, value := range f.Labels {
		if have, ok := r.Labels[name]; !ok || have != value {
			return false
		}
	}
	return true
}

// List returns the limit credentials that pass the filter and come behind the
// cursor, sorted by ID in the order of bytes, and the cursor for those behind
// them: "" if there are none. The first call's cursor is "". What is stored or
// deleted meanwhile may be in a page or not; everything else is in exactly one.
//
// A filter that few pass reads many records for a page. Records that cannot be
// read take a place in the page that they would stand in, whatever the filter:
// they are an [*ItemsError] beside the others of that page, which hold. With a
// Subject they are left out: whose they are cannot be told, and whoever may see
// one subject's alone must not see their IDs.
func (s *Store) List(ctx context.Context, f Filter, cursor string, limit int) (page []credential.Held, next string, err error) {
	if cursor != "" {
		if _, err := credential.ParseID(cursor); err != nil {
			return nil, "", fmt.Errorf("%w: %w", ErrBadCursor, err)
		}
	}
	if limit < 1 {
		return nil, "", fmt.Errorf("a page of %d", limit)
	}
	var bad ItemsError
	after, last := cursor, ""
	for {
		ids, end, err := s.idsAfter(ctx, f.Prefix, after, max(limit+1, listPart))
		if err != nil {
			return nil, "", fmt.Errorf("list: %w", err)
		}
		records, err := s.Records(ctx, ids...)
		part, partial := errors.AsType[*ItemsError](err)
		if err != nil && !partial {
			return nil, "", err
		}
		for i, h := range records {
			unreadable := partial && part.At(i) != nil
			if unreadable && f.Subject != "" {
				continue
			}
			if !unreadable && (h == nil || !isListed(h.Record) || !f.passes(h.Record)) {
				continue
			}
			if len(page)+len(bad.IDs) == limit {
				return page, last, itemErrors(bad.IDs, bad.Errs)
			}
			last = string(ids[i])
			if unreadable {
				bad.IDs, bad.Errs = append(bad.IDs, ids[i]), append(bad.Errs, part.At(i))
				continue
			}
			page = append(page, *h)
		}
		if end {
			return page, "", itemErrors(bad.IDs, bad.Errs)
		}
		after = string(ids[len(ids)-1])
	}
}

// idsAfter returns at least most of the IDs that come first behind after, over
// all shards, unless end reports that there are not more.
func (s *Store) idsAfter(ctx context.Context, prefix, after string, most int) (ids []credential.ID, end bool, err error) {
	by := &redis.ZRangeBy{Min: "-", Max: "+", Count: int64(most)}
	if prefix != "" {
		by.Min, by.Max = "["+prefix, "["+prefix+"\xff"
	}
	if after != "" && after >= prefix {
		by.Min = "(" + after
	}
	pipe := s.client.Pipeline()
	keys := make([]string, len(s.shards))
	replies := make([]*redis.StringSliceCmd, len(s.shards))
	for i, names := range s.shards {
		keys[i] = names.ids
		replies[i] = pipe.ZRangeByLex(ctx, names.ids, by)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, false, s.explain(ctx, err, keys...)
	}
	// Behind the last ID of a shard that has more, nothing is known of it.
	horizon, end := "", true
	for _, reply := range replies {
		part := reply.Val()
		if len(part) == most {
			if last := part[most-1]; end || cmp.Less(last, horizon) {
				horizon = last
			}
			end = false
		}
		for _, id := range part {
			ids = append(ids, credential.ID(id))
		}
	}
	slices.Sort(ids)
	if !end {
		ids = slices.DeleteFunc(ids, func(id credential.ID) bool { return string(id) > horizon })
	}
	return ids, end, nil
}
