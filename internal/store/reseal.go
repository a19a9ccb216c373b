package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/seal"
)

// resealed is what one record holds under an older key, and the same under the
// primary one; empty where there is nothing to do.
type resealed struct {
	s, newS string
	a, newA string
}

// Reseal seals with the primary key what older ones have sealed in the records
// of these IDs, and returns in how many it found such a thing. Nothing else of
// them changes, no version, no clock and no open attempt. A record that is
// written meanwhile is left as it is then: only a call that finds nothing says
// that all is done. Records that cannot be opened are an [*ItemsError], and
// do not count; the others are done.
func (s *Store) Reseal(ctx context.Context, ids ...credential.ID) (found int, err error) {
	if len(ids) == 0 {
		return 0, nil
	}
	pipe := s.client.Pipeline()
	replies := make([]*redis.SliceCmd, len(ids))
	for i, id := range ids {
		replies[i] = pipe.HMGet(ctx, s.credKey(id), "h", "r", "s", "a")
	}
	if _, err := pipe.Exec(ctx); err != nil && !isWrongType(err) {
		return 0, fmt.Errorf("read sealed fields: %w", err)
	}
	errs := make([]error, len(ids))
	var todo []resealed
	var of []credential.ID
	for i, reply := range replies {
		values, err := reply.Result()
		if err != nil {
			errs[i] = s.explain(ctx, err, s.credKey(ids[i]))
			continue
		}
		again, err := s.sealAgain(ids[i], values)
		if errs[i] = err; err == nil && (again.newS != "" || again.newA != "") {
			todo, of = append(todo, again), append(of, ids[i])
		}
	}
	if err := s.replaceSealed(ctx, of, todo); err != nil {
		return 0, fmt.Errorf("replace sealed fields: %w", err)
	}
	return len(todo), itemErrors(ids, errs)
}

// sealAgain opens and seals what an older key has sealed.
func (s *Store) sealAgain(id credential.ID, values []any) (resealed, error) {
	again := resealed{s: text(values[2]), a: text(values[3])}
	mark, sealed, _ := strings.Cut(again.a, " ")
	oldS := again.s != "" && !s.keyset.Current([]byte(again.s))
	oldA := again.a != "" && !s.keyset.Current([]byte(sealed))
	if text(values[0]) == "" || (!oldS && !oldA) {
		return resealed{}, nil
	}
	key := s.credKey(id)
	rec, err := s.events.decodeRecord(key, id, text(values[0]), text(values[1]))
	if err != nil {
		return resealed{}, err
	}
	if oldS {
		if again.newS, err = s.sealOnce(key, "s", again.s, seal.AD(id, sealedToken, rec.Grant, rec.Generation)); err != nil {
			return resealed{}, err
		}
	}
	if oldA {
		if again.newA, err = s.sealOnce(key, "a", sealed, seal.AD(id, sealedAlternates, rec.Grant, 0)); err != nil {
			return resealed{}, err
		}
		again.newA = mark + " " + again.newA
	}
	return again, nil
}

func (s *Store) sealOnce(key, field, sealed string, ad []byte) (string, error) {
	plain, err := s.keyset.Open([]byte(sealed), ad)
	if err != nil {
		return "", &CorruptError{Key: key, Field: field, Err: err}
	}
	again, err := s.keyset.Seal(plain, ad)
	return string(again), err
}

func (s *Store) replaceSealed(ctx context.Context, ids []credential.ID, todo []resealed) error {
	return s.eachGroup(s.groups(len(ids), func(i int) credential.ID { return ids[i] }), func(g group) error {
		keys := make([]string, 0, len(g.at))
		args := make([]any, 0, 4*len(g.at))
		for _, i := range g.at {
			keys = append(keys, s.credKey(ids[i]))
			args = append(args, todo[i].s, todo[i].newS, todo[i].a, todo[i].newA)
		}
		_, err := s.runInt(ctx, s.scripts.reseal, keys, args...)
		return err
	})
}
