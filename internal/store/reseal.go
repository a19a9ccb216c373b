package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/seal"
)

// sealedCount is how many fields of a record hold something sealed.
const sealedCount = 4

// sealedFields are those fields.
func sealedFields() [sealedCount]string { return [...]string{"s", "a", "l", "u"} }

// resealed is what one record holds under older keys, and the same under the
// primary one, in the order of the sealed fields; empty where there is nothing
// to do.
type resealed struct {
	old, again [sealedCount]string
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
		replies[i] = pipe.HMGet(ctx, s.credKey(id), "h", "r", "s", "a", "l", "u")
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
		again, some, err := s.sealAgain(ids[i], values)
		if errs[i] = err; err == nil && some {
			todo, of = append(todo, again), append(of, ids[i])
		}
	}
	if err := s.replaceSealed(ctx, of, todo); err != nil {
		return 0, fmt.Errorf("replace sealed fields: %w", err)
	}
	return len(todo), itemErrors(ids, errs)
}

// sealAgain opens and seals what older keys have sealed, if there is any. In
// front of the alternates stands a number, in clear.
func (s *Store) sealAgain(id credential.ID, values []any) (r resealed, some bool, err error) {
	var bodies [sealedCount]string
	var older [sealedCount]bool
	for i, field := range sealedFields() {
		r.old[i] = text(values[2+i])
		bodies[i] = r.old[i]
		if field == "a" {
			_, bodies[i], _ = strings.Cut(r.old[i], " ")
		}
		older[i] = r.old[i] != "" && !s.keyset.Current([]byte(bodies[i]))
		some = some || older[i]
	}
	if text(values[0]) == "" || !some {
		return resealed{}, false, nil
	}
	key := s.credKey(id)
	rec, err := s.events.decodeRecord(key, id, text(values[0]), text(values[1]))
	if err != nil {
		return resealed{}, false, err
	}
	for i, field := range sealedFields() {
		if !older[i] {
			continue
		}
		sealed, err := s.sealOnce(key, field, bodies[i], fieldAD(rec, field))
		if err != nil {
			return resealed{}, false, err
		}
		r.again[i] = strings.TrimSuffix(r.old[i], bodies[i]) + sealed
	}
	return r, true, nil
}

// fieldAD returns the associated data of a sealed field.
func fieldAD(rec credential.Record, field string) []byte {
	switch field {
	case "a":
		return seal.AD(rec.ID, sealedAlternates, rec.Grant, 0)
	case "l":
		return seal.AD(rec.ID, sealedSignIn, rec.Grant, 0)
	case "u":
		return seal.AD(rec.ID, sealedUserData, rec.Grant, 0)
	default:
		return seal.AD(rec.ID, sealedToken, rec.Grant, rec.Generation)
	}
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
		args := make([]any, 0, (1+2*len(g.at))*sealedCount)
		for _, field := range sealedFields() {
			args = append(args, field)
		}
		for _, i := range g.at {
			keys = append(keys, s.credKey(ids[i]))
			for n := range sealedCount {
				args = append(args, todo[i].old[n], todo[i].again[n])
			}
		}
		_, err := s.runInt(ctx, s.scripts.reseal, keys, args...)
		return err
	})
}
