package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// Positions in an event log are stream IDs, "<ms>-<n>".
const (
	// startOfLog is before every entry.
	startOfLog = "0"
	// trimStep is how much of the log one script trims at most: Redis does
	// nothing else meanwhile.
	trimStep = 10 * time.Second
)

// Events returns up to count entries of a shard's log after a position ("0" is
// before the first, "$" behind the last), waiting up to block for one; none is
// no error. An entry that this version of refreshd cannot read comes with an
// empty Event, so that a reader can pass it.
func (s *Store) Events(ctx context.Context, shard int, after string, count int, block time.Duration) ([]credential.LogEntry, error) {
	names, err := s.ofShard(shard)
	if err != nil {
		return nil, err
	}
	if block <= 0 {
		block = -1 // go-redis waits for ever with 0
	}
	streams, err := s.client.XRead(ctx, &redis.XReadArgs{Streams: []string{names.events, after}, Count: int64(count), Block: block}).Result()
	if err != nil {
		if isMissing(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("event log: %w", s.explain(ctx, err, names.events))
	}
	var list []credential.LogEntry
	for _, stream := range streams {
		for _, message := range stream.Messages {
			entry := credential.LogEntry{Position: message.ID, At: momentOf(message.ID)}
			if e, err := s.events.decodeEvent(text(message.Values["e"])); err == nil {
				entry.Event = e
			}
			list = append(list, entry)
		}
	}
	return list, nil
}

func momentOf(position string) credential.Millis {
	ms, _, _ := strings.Cut(position, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return 0
	}
	return credential.Millis(n)
}

// LastEvent returns the position of the newest entry that a shard's log ever
// had, "0" if it never had one.
func (s *Store) LastEvent(ctx context.Context, shard int) (string, error) {
	names, err := s.ofShard(shard)
	if err != nil {
		return "", err
	}
	newest, err := s.client.XRevRangeN(ctx, names.events, "+", "-", 1).Result()
	switch {
	case err != nil:
		return "", fmt.Errorf("end of the event log: %w", s.explain(ctx, err, names.events))
	case len(newest) == 0:
		return s.TrimmedTo(ctx, shard)
	default:
		return newest[0].ID, nil
	}
}

// TrimmedTo returns the position of the newest entry that was trimmed off a
// shard's log, "0" if none ever was. A reader that stands before it has missed
// something.
func (s *Store) TrimmedTo(ctx context.Context, shard int) (string, error) {
	names, err := s.ofShard(shard)
	if err != nil {
		return "", err
	}
	position, err := s.client.Get(ctx, names.trimmed).Result()
	switch {
	case isMissing(err):
		return startOfLog, nil
	case err != nil:
		return "", fmt.Errorf("start of the event log: %w", s.explain(ctx, err, names.trimmed))
	default:
		return position, nil
	}
}

// TrimEvents trims entries older than before off all logs, and returns how
// many there were.
func (s *Store) TrimEvents(ctx context.Context, before credential.Millis) (int64, error) {
	if err := failpoint.Hit(failpoint.EventTrim); err != nil {
		return 0, fmt.Errorf("trim the event log: %w", err)
	}
	var trimmed int64
	for _, names := range s.shards {
		for {
			reply, err := s.runList(ctx, s.scripts.trim, []string{names.events, names.trimmed}, int64(before), trimStep.Milliseconds())
			if err != nil {
				return trimmed, fmt.Errorf("trim the event log: %w", err)
			}
			if len(reply) != 2 {
				return trimmed, errReply
			}
			n, ok := reply[0].(int64)
			if !ok {
				return trimmed, errReply
			}
			trimmed += n
			if reply[1] != int64(1) {
				break
			}
		}
	}
	return trimmed, nil
}
