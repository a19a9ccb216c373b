package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

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

// ReplicationID tells one run of Redis from another. runID changes with every
// start of the server, replID with every promotion of a replica; in a cluster
// they are those of all masters. A Redis with others may lack the last writes.
func (s *Store) ReplicationID(ctx context.Context) (runID, replID string, err error) {
	if s.runID != nil {
		runID, err = s.runID(ctx)
		return runID, "", err
	}
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return identify(ctx, s.client)
	}
	var mu sync.Mutex
	var runs, repls []string
	err = cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		run, repl, err := identify(ctx, master)
		mu.Lock()
		defer mu.Unlock()
		runs, repls = append(runs, run), append(repls, repl)
		return err
	})
	if err != nil {
		return "", "", err
	}
	// In the order of the runs, so that both lists speak of the same masters.
	order := make([]int, len(runs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(runs[a], runs[b]) })
	sortedRuns, sortedRepls := make([]string, len(runs)), make([]string, len(runs))
	for i, from := range order {
		sortedRuns[i], sortedRepls[i] = runs[from], repls[from]
	}
	return strings.Join(sortedRuns, ","), strings.Join(sortedRepls, ","), nil
}

// identify asks one server who it is.
func identify(ctx context.Context, client redis.Cmdable) (runID, replID string, err error) {
	pipe := client.Pipeline()
	server, replication := pipe.Info(ctx, "server"), pipe.Info(ctx, "replication")
	if _, err := pipe.Exec(ctx); err != nil {
		return "", "", fmt.Errorf("identity of redis: %w", err)
	}
	return infoField(server.Val(), "run_id"), infoField(replication.Val(), "master_replid"), nil
}

func infoField(info, name string) string {
	_, rest, ok := strings.Cut(info, "\n"+name+":")
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

// Accept makes [Store.Begin] refuse, with an [*IdentityError], any Redis but
// the one that [Store.ReplicationID] told the caller about. Whoever runs on a
// Redis that may lose acknowledged writes accepts one when he has rolled
// forward what it may have lost. Before the first call every Redis is taken;
// the in-process store always is.
func (s *Store) Accept(runID, replID string) {
	if s.memory {
		return
	}
	var b strings.Builder
	repls := strings.Split(replID, ",")
	for i, run := range strings.Split(runID, ",") {
		if i < len(repls) {
			b.WriteString(" " + run + ":" + repls[i])
		}
	}
	s.runs.Store(new(b.String()))
}

// accepted returns what the begin script compares with; "" takes any Redis.
func (s *Store) accepted() string {
	if runs := s.runs.Load(); runs != nil {
		return *runs
	}
	return ""
}
