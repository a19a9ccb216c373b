package redisconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

const (
	// chunk is how many commands or values are sent at once: the in-process
	// store answers each command before it reads the next.
	chunk = 500
	// importMark holds, in a redis-server, the checksum of the snapshot that
	// it took over. It is outside our prefix, so that snapshots never hold it.
	importMark = "redisconn:imported"
)

// restore writes a snapshot into an empty store.
func restore(ctx context.Context, client *redis.Client, snap snapshot) error {
	for part := range slices.Chunk(commands(snap, time.Now()), chunk) {
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			send(ctx, p, part)
			return nil
		})
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	return nil
}

func send(ctx context.Context, p redis.Pipeliner, cmds [][]any) {
	for _, cmd := range cmds {
		p.Do(ctx, cmd...)
	}
}

// commands are what rebuilds the snapshot, without the keys whose time has
// come.
func commands(snap snapshot, now time.Time) [][]any {
	var cmds [][]any
	for _, k := range snap.Keys {
		if k.ExpiresAt != 0 && k.ExpiresAt <= now.UnixMilli() {
			continue
		}
		cmds = append(cmds, rebuild(k)...)
		if k.ExpiresAt != 0 {
			cmds = append(cmds, []any{"PEXPIREAT", k.Key, k.ExpiresAt})
		}
	}
	return cmds
}

func rebuild(k snapshotKey) [][]any {
	var cmds [][]any
	add := func(command string, values []string) {
		for part := range slices.Chunk(values, chunk) { // an even number: pairs stay together
			cmd := []any{command, k.Key}
			for _, v := range part {
				cmd = append(cmd, v)
			}
			cmds = append(cmds, cmd)
		}
	}
	switch k.Type {
	case "hash":
		add("HSET", k.Values)
	case "set":
		add("SADD", k.Values)
	case "list":
		add("RPUSH", k.Values)
	case "string":
		add("SET", k.Values)
	case "zset":
		scored := slices.Clone(k.Values)
		for i := 0; i+1 < len(scored); i += 2 { // read as member, score; written the other way round
			scored[i], scored[i+1] = scored[i+1], scored[i]
		}
		add("ZADD", scored)
	case "stream":
		for _, e := range k.Entries {
			cmd := []any{"XADD", k.Key, e.ID}
			for _, f := range e.Fields {
				cmd = append(cmd, f)
			}
			cmds = append(cmds, cmd)
		}
	}
	return cmds
}

// importSnapshot takes over what an in-process store left in the data folder,
// for the day on which redis-server gets installed. It is all or nothing, and
// once: the mark goes in with the data, and the file is renamed.
func importSnapshot(ctx context.Context, client *redis.Client, dataDir string, log zerolog.Logger) error {
	path := filepath.Join(dataDir, snapshotFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	one, err := openLock(filepath.Join(dataDir, "redis", "import.lock"))
	if err != nil {
		return err
	}
	defer func() { _ = one.close() }()
	if err := one.wait(ctx, unix.LOCK_EX, startWithin); err != nil {
		return fmt.Errorf("waiting for another refreshd to take %s over: %w", path, err)
	}
	snap, sum, err := readSnapshot(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // the other one did
	}
	if err != nil {
		return err
	}
	mark, err := client.Get(ctx, importMark).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	if mark != sum { // else we ended between taking it over and renaming it
		if err := importInto(ctx, client, path, snap, sum); err != nil {
			return err
		}
	}
	log.Info().Str("snapshot", path).Int("keys", len(snap.Keys)).Msg("the embedded redis-server has taken over what the in-process store held")
	return os.Rename(path, path+".imported")
}

func importInto(ctx context.Context, client *redis.Client, path string, snap snapshot, sum string) error {
	present := client.Scan(ctx, 0, ours, chunk).Iterator()
	if present.Next(ctx) {
		return fmt.Errorf("both the embedded redis-server and %s hold credentials; move away the one that is out of date", path)
	}
	if err := present.Err(); err != nil {
		return err
	}
	_, err := client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		send(ctx, p, commands(snap, time.Now()))
		p.Set(ctx, importMark, sum, 0)
		return nil
	})
	if err != nil {
		return fmt.Errorf("taking %s over: %w", path, err)
	}
	return nil
}
