package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
)

// Load reads records with their secrets, in the order of ids; nil where there
// is none. Tombstones have the state [credential.StateDeleted]. A session that
// was touched is as its last touch has left it.
//
// Where single records cannot be read the error is an [*ItemsError], they are
// nil, and the others hold.
func (s *Store) Load(ctx context.Context, ids ...credential.ID) ([]*credential.Held, error) {
	return s.read(ctx, ids, true)
}

// Records does what Load does and opens no secret: Token, Alternates, SignIn and
// UserData are left empty.
func (s *Store) Records(ctx context.Context, ids ...credential.ID) ([]*credential.Held, error) {
	return s.read(ctx, ids, false)
}

func (s *Store) read(ctx context.Context, ids []credential.ID, secrets bool) ([]*credential.Held, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	fields := []string{"h", "r", "o", "t"}
	if secrets {
		fields = []string{"h", "r", "o", "t", "s", "a", "l", "u"}
	}
	keys := make([]string, len(ids))
	pipe := s.client.Pipeline()
	replies := make([]*redis.SliceCmd, len(ids))
	for i, id := range ids {
		keys[i] = s.credKey(id)
		replies[i] = pipe.HMGet(ctx, keys[i], fields...)
	}
	if _, err := pipe.Exec(ctx); err != nil && !isWrongType(err) {
		return nil, fmt.Errorf("read records: %w", err)
	}
	list := make([]*credential.Held, len(ids))
	errs := make([]error, len(ids))
	for i, reply := range replies {
		values, err := reply.Result()
		switch {
		case err != nil && isWrongType(err):
			errs[i] = s.explain(ctx, err, keys[i])
		case err != nil:
			return nil, fmt.Errorf("read records: %w", err)
		default:
			list[i], errs[i] = s.held(keys[i], ids[i], values)
		}
	}
	return list, itemErrors(ids, errs)
}

// held reads the fields h, r, o, t and, if they were asked for, s, a, l and u.
func (s *Store) held(key string, id credential.ID, values []any) (*credential.Held, error) {
	h := text(values[0])
	if h == "" {
		return nil, nil //nolint:nilnil // there is no such record, and that is no error
	}
	held := new(credential.Held)
	var err error
	if held.Record, held.Attempt, err = s.decodeState(key, id, values); err != nil {
		return nil, err
	}
	if len(values) == 4 {
		return held, nil
	}
	if held.Alternates, err = s.openAlternates(key, held.Record, text(values[5])); err != nil {
		return nil, err
	}
	if err = s.openSecrets(key, held, values[4], values[6], values[7]); err != nil {
		return nil, err
	}
	return held, nil
}

// decodeState reads the fields h, r, o and t.
func (s *Store) decodeState(key string, id credential.ID, values []any) (credential.Record, *credential.Attempt, error) {
	rec, err := s.events.decodeRecord(key, id, text(values[0]), text(values[1]))
	if err != nil {
		return credential.Record{}, nil, err
	}
	if rec, err = withTouch(key, rec, text(values[3])); err != nil {
		return credential.Record{}, nil, err
	}
	open, err := decodeAttempt(key, text(values[2]))
	return rec, open, err
}

// openSecrets opens what an exchange presents and compares: the fields s, l and
// u.
func (s *Store) openSecrets(key string, held *credential.Held, sealed, signIn, data any) (err error) {
	if held.Token, err = s.openToken(key, held.Record, text(sealed)); err != nil {
		return err
	}
	if held.SignIn, err = s.openSignIn(key, held.Record, text(signIn)); err != nil {
		return err
	}
	held.UserData, err = s.openUserData(key, held.Record, text(data))
	return err
}

// isMissing reports whether err says that there is no such key, field or
// entry.
func isMissing(err error) bool { return errors.Is(err, redis.Nil) }
