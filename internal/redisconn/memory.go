package redisconn

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

const (
	snapshotFile  = "embedded.snapshot"
	clockTick     = 100 * time.Millisecond // how exact the lives of keys are
	snapshotEvery = 5 * time.Second
	// snapshotShare bounds what snapshots may cost: one that took 100 ms is
	// followed by none for 2 s, however large the store grows.
	snapshotShare = 20
	memoryWait    = 5 * time.Second  // for the process of before to write its last snapshot
	snapshotRead  = 30 * time.Second // for the store to be read out as a whole
)

// memory is the in-process store.
type memory struct {
	redis *miniredis.Miniredis
	admin *redis.Client // reads snapshots out
	path  string        // of the snapshot
	log   zerolog.Logger
	saved [sha256.Size]byte // of the snapshot that is on disk

	stop context.CancelFunc
	done sync.WaitGroup
}

func openMemory(ctx context.Context, o Options) (*Conn, error) {
	run, password := rand.Text(), rand.Text()
	c := &Conn{kind: KindMemory, identity: Identity{RunID: run, ReplID: run}}
	if err := lockMemory(ctx, c, o.DataDir); err != nil {
		return c.fail(err)
	}
	m := &memory{redis: miniredis.NewMiniRedis(), path: filepath.Join(o.DataDir, snapshotFile), log: o.Log}
	m.redis.RequireAuth(password)
	if err := m.redis.StartAddr("127.0.0.1:0"); err != nil {
		return c.fail(fmt.Errorf("in-process store: %w", err))
	}
	c.onClose(func() error { m.redis.Close(); return nil })

	options := tune(&redis.Options{Addr: m.redis.Addr(), Password: password}, o.PoolSize, localDial)
	reader := *options
	reader.PoolSize, reader.ReadTimeout = 1, snapshotRead
	m.admin = single(&reader)
	c.onClose(m.admin.Close)
	if err := m.load(ctx); err != nil {
		return c.fail(err)
	}
	m.run(ctx)
	c.onClose(m.end)

	c.clients = newClients(func() *redis.Client { return single(options) })
	c.onClose(c.clients.close)
	o.Log.Warn().Int("max_credentials", MemoryCredentials).
		Msg("no redis-server found: keeping everything in this process. It takes one process and at most 10,000 credentials, and a crash loses the last seconds of changes, though no received token. Install redis-server 7, or set redis.url")
	return c, nil
}

// lockMemory makes sure that no other process uses the data folder, and that
// it does not hold the data of a redis-server, which would be passed over.
func lockMemory(ctx context.Context, c *Conn, dataDir string) error {
	dir := filepath.Join(dataDir, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w; make its folder writable for this user", err)
	}
	users, err := openLock(filepath.Join(dir, usersLock))
	if err != nil {
		return fmt.Errorf("data_dir: %w; make its folder writable for this user", err)
	}
	c.onClose(users.close)
	if err := users.wait(ctx, unix.LOCK_EX, memoryWait); err != nil {
		return fmt.Errorf("data_dir %s is in use by another refreshd (%w), and the in-process store cannot be shared; install redis-server, set redis.url, or stop the other one", dataDir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, appendDir)); err == nil {
		return fmt.Errorf("data_dir %s holds the data of a redis-server, and none is to be used; install redis-server 7, or move %s away to start empty", dataDir, dir)
	}
	return nil
}

// load fills the store from the snapshot, if there is one.
func (m *memory) load(ctx context.Context) error {
	snap, _, err := readSnapshot(m.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := restore(ctx, m.admin, snap); err != nil {
		return fmt.Errorf("%s: %w", m.path, err)
	}
	m.log.Info().Str("snapshot", m.path).Int("keys", len(snap.Keys)).Msg("restored the in-process store")
	return nil
}

// run starts the goroutine that lets time pass in the store, whose keys do
// not expire by themselves, and takes snapshots.
func (m *memory) run(ctx context.Context) {
	ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	m.done.Go(func() {
		tick := time.NewTicker(clockTick)
		defer tick.Stop()
		// Wall time, as Redis itself uses: it goes on during a suspension.
		clock := time.Now().Round(0)
		next := time.Now().Add(snapshotEvery)
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if now := time.Now().Round(0); now.After(clock) {
				m.redis.FastForward(now.Sub(clock))
				clock = now
			}
			if began := time.Now(); began.After(next) {
				if err := m.save(ctx); err != nil {
					m.log.Error().Err(err).Msg("cannot write the snapshot of the in-process store")
				}
				next = time.Now().Add(max(snapshotEvery, snapshotShare*time.Since(began)))
			}
		}
	})
}

// end takes the last snapshot. The clients are closed by then.
func (m *memory) end() error {
	m.stop()
	m.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), snapshotRead)
	defer cancel()
	if err := m.save(ctx); err != nil {
		return fmt.Errorf("the last snapshot of the in-process store: %w", err)
	}
	return nil
}

// save writes a snapshot, unless nothing has changed since the last one.
func (m *memory) save(ctx context.Context) error {
	snap, err := takeSnapshot(ctx, m.admin)
	if err != nil {
		return err
	}
	data, err := encodeSnapshot(snap)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	if sum == m.saved {
		return nil
	}
	if err := replaceFile(m.path, data); err != nil {
		return err
	}
	m.saved = sum
	return nil
}
