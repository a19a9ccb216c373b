package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
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
	reply, err := s.runList(ctx, s.scripts.meta, []string{keyMeta}, metaSchema, len(s.shards), rand.Text(), ours, canary)
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
	stored := text(reply[3])
	if err := s.keyset.Verify([]byte(text(reply[4]))); err != nil {
		return &KeysetError{Stored: stored, Configured: ours, Err: err}
	}
	if stored == ours {
		return nil
	}
	// A rotation: from now on the canary tells who can open what the new key
	// seals. Whoever else does the same at this moment may win.
	if _, err := s.runInt(ctx, s.scripts.canary, []string{keyMeta}, stored, ours, canary); err != nil {
		return fmt.Errorf("description of the installation: %w", err)
	}
	return nil
}
