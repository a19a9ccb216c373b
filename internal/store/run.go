package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
)

// gate says on which runs of Redis something may be written.
type gate struct{ begins, writes string }

// closed stands for a run that no Redis ever has.
const closed = "-"

// Run names the run of Redis that answers: its run ID, which changes with every
// start of the server, and its replication ID, which changes with every
// promotion of a replica; those of all masters, in a cluster. A Redis whose run
// is another may lack the last writes.
func (s *Store) Run(ctx context.Context) (string, error) {
	if s.runID != nil {
		return s.runID(ctx)
	}
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return identify(ctx, s.client)
	}
	var mu sync.Mutex
	var runs []string
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		run, err := identify(ctx, master)
		mu.Lock()
		defer mu.Unlock()
		runs = append(runs, run)
		return err
	})
	if err != nil {
		return "", err
	}
	slices.Sort(runs)
	return strings.Join(runs, " "), nil
}

// identify asks one server who it is.
func identify(ctx context.Context, client redis.Cmdable) (string, error) {
	pipe := client.Pipeline()
	server, replication := pipe.Info(ctx, "server"), pipe.Info(ctx, "replication")
	if _, err := pipe.Exec(ctx); err != nil {
		return "", fmt.Errorf("run of redis: %w", err)
	}
	return infoField(server.Val(), "run_id") + ":" + infoField(replication.Val(), "master_replid"), nil
}

func infoField(info, name string) string {
	_, rest, ok := strings.Cut(info, "\n"+name+":")
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

// Pass lets [Store.Begin] and [Store.Apply] pass on the runs of Redis that are
// named, as [Store.Run] names them, and on no other: they fail with a
// [*RunError] there. "" lets nothing pass. Until the first call everything
// passes.
func (s *Store) Pass(begins, writes string) { s.gate.Store(&gate{begins: begins, writes: writes}) }

func (s *Store) begins() string {
	if g := s.gate.Load(); g != nil {
		return orClosed(g.begins)
	}
	return ""
}

func (s *Store) writes() string {
	if g := s.gate.Load(); g != nil {
		return orClosed(g.writes)
	}
	return ""
}

func orClosed(run string) string {
	if run == "" {
		return closed
	}
	return run
}

// expected returns what a script compares its Redis with; "" for any. The
// in-process store cannot be asked from a script, and never changes under one.
func (s *Store) expected(ctx context.Context, run string) (string, error) {
	if run == "" || !s.memory {
		return prefixed(run), nil
	}
	found, err := s.runID(ctx)
	if err == nil && found != run {
		err = &RunError{Expected: run, Found: found}
	}
	return "", err
}

// prefixed is the form in which a script looks for its own run in the list.
func prefixed(run string) string {
	if run == "" {
		return ""
	}
	return " " + run
}

// anotherRun reads a script's refusal to write into another run than expected.
func anotherRun(reply []any, expected string) error {
	if len(reply) == 2 && text(reply[0]) == "run" {
		return &RunError{Expected: strings.TrimSpace(expected), Found: text(reply[1])}
	}
	return nil
}

// Restore is [Store.Apply] for what a process puts back into the run of Redis
// that it names, before anything else may be written there. again says that the
// writes were made before, perhaps where the clock was ahead of this one.
func (s *Store) Restore(ctx context.Context, run string, writes []credential.Write, again bool) ([]credential.Status, error) {
	skewed := s.skewed.Load()
	if again {
		skewed = nil
	}
	return s.apply(ctx, orClosed(run), skewed, writes, again)
}
