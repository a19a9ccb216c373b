package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// metaSchema is the layout of everything that is not a record.
const metaSchema = 1

var errMeta = errors.New("it is no description that refreshd wrote")

// checkMeta compares this process with the description of the installation,
// and writes one where there is none.
func (s *Store) checkMeta(ctx context.Context) error {
	canary, err := s.keyset.Check()
	if err != nil {
		return fmt.Errorf("keyset: %w", err)
	}
	ours := s.keyset.Fingerprint()
	reply, err := s.runList(ctx, s.scripts.meta, []string{keyMeta}, metaSchema, len(s.shards), s.epoch, ours, canary)
	if err != nil {
		return fmt.Errorf("description of the installation: %w", err)
	}
	if len(reply) != 5 {
		return errReply
	}
	schema, err := strconv.ParseUint(text(reply[0]), 10, 64)
	if err != nil {
		return &CorruptError{Key: keyMeta, Field: "schema", Err: errMeta}
	}
	if schema > metaSchema {
		return &SchemaError{Key: keyMeta, Found: schema, Known: metaSchema}
	}
	shards, err := strconv.Atoi(text(reply[1]))
	if err != nil {
		return &CorruptError{Key: keyMeta, Field: "shards", Err: errMeta}
	}
	if shards != len(s.shards) {
		return &ShardsError{Stored: shards, Configured: len(s.shards)}
	}
	if s.epoch = text(reply[2]); s.epoch == "" {
		return &CorruptError{Key: keyMeta, Field: "epoch", Err: errMeta}
	}
	return s.moveCanary(ctx, s.keyset, text(reply[3]), text(reply[4]), canary)
}

// Installed compares what Redis holds now with the installation that this
// process started on. The error is [ErrEmptied] where there is none any more,
// [ErrReplaced] where it is another one: what is not found there was not
// necessarily never stored.
func (s *Store) Installed(ctx context.Context) error {
	epoch, err := s.client.HGet(ctx, keyMeta, "epoch").Result()
	switch {
	case isMissing(err):
		return ErrEmptied
	case err != nil:
		return fmt.Errorf("description of the installation: %w", s.explain(ctx, err, keyMeta))
	case epoch != s.epoch:
		return ErrReplaced
	default:
		return nil
	}
}

// HoldsInstallation is [Store.Installed] for whoever goes on by it: ours, another, or neither
// where Redis holds no installation any more.
func (s *Store) HoldsInstallation(ctx context.Context) (ours, another bool, err error) {
	err = s.Installed(ctx)
	switch {
	case err == nil:
		return true, false, nil
	case errors.Is(err, ErrReplaced):
		return false, true, nil
	case errors.Is(err, ErrEmptied):
		return false, false, nil
	default:
		return false, false, err
	}
}

// Described reports whether this Redis holds an installation of refreshd.
func Described(ctx context.Context, client redis.UniversalClient) (bool, error) {
	n, err := client.Exists(ctx, keyMeta).Result()
	if err != nil {
		return false, fmt.Errorf("description of the installation: %w", err)
	}
	return n > 0, nil
}

// Installation returns the name of the installation that this Redis holds, as
// [Store.Epoch] does of the one that a store was made on; "" if there is none.
func Installation(ctx context.Context, client redis.UniversalClient) (string, error) {
	epoch, err := client.HGet(ctx, keyMeta, "epoch").Result()
	if err != nil && !isMissing(err) {
		return "", fmt.Errorf("description of the installation: %w", err)
	}
	return epoch, nil
}

// Rotated tells the installation of a rotation: from now on a process whose
// keyset lacks the new primary key is refused at its start. It is called before
// anything is sealed with that key, and refuses a keyset that cannot open what
// is stored ([*KeysetError]).
func (s *Store) Rotated(ctx context.Context, next Canary) error {
	canary, err := next.Check()
	if err != nil {
		return fmt.Errorf("keyset: %w", err)
	}
	values, err := s.client.HMGet(ctx, keyMeta, "keyset", "canary").Result()
	if err != nil {
		return fmt.Errorf("description of the installation: %w", s.explain(ctx, err, keyMeta))
	}
	if values[0] == nil {
		return nil // this Redis came back empty: nothing in it needs a key
	}
	return s.moveCanary(ctx, next, text(values[0]), text(values[1]), canary)
}

// moveCanary compares a keyset with the stored canary, and puts its own in that
// one's place after a rotation. It never goes back: of processes that load a
// rotated keyset one after the other, the last ones still seal with the key of
// before, and a start of theirs changes nothing.
func (s *Store) moveCanary(ctx context.Context, keyset Canary, stored, blob string, canary []byte) error {
	ours := keyset.Fingerprint()
	if err := keyset.Verify([]byte(blob)); err != nil {
		return &KeysetError{Stored: stored, Configured: ours, Err: err}
	}
	if stored == ours || keyset.Behind([]byte(blob)) {
		return nil
	}
	// Whoever else does the same at this moment may win: with the same keyset
	// it comes to the same, with a later one that is the right canary.
	if _, err := s.runInt(ctx, s.scripts.canary, []string{keyMeta}, stored, ours, canary); err != nil {
		return fmt.Errorf("description of the installation: %w", err)
	}
	return nil
}
