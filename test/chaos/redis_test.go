package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/testproc"
)

// The kinds of Redis.
const (
	everysec = "everysec" // synced once a second, with a replica to fail over to
	always   = "always"   // synced with every write, alone
)

// tapeEvery is how often the size of the append-only file is noted.
const tapeEvery = 50 * time.Millisecond

// tailWindow is how much of the newest writes an AOF that is synced once a
// second may lose.
const tailWindow = time.Second

// node is one redis-server.
type node struct {
	*testproc.Redis

	address string
	admin   *redis.Client
}

func startNode(t testing.TB, dir, fsync string) *node {
	t.Helper()
	r := testproc.StartRedis(t, testproc.RedisOptions{
		AppendFsync: fsync, Port: true, Dir: dir,
		Args: []string{"--auto-aof-rewrite-percentage", "0", "--repl-diskless-sync-delay", "0", "--repl-timeout", "5", "--repl-ping-replica-period", "1"},
	})
	_, address := r.Address()
	n := &node{Redis: r, address: address}
	n.admin = redis.NewClient(&redis.Options{Addr: address, DialTimeout: time.Second, ReadTimeout: 3 * time.Second, MaxRetries: -1, DisableIdentity: true})
	t.Cleanup(func() { _ = n.admin.Close() })
	return n
}

// do runs one command, a few times where the server is just coming up.
func (n *node) do(ctx context.Context, args ...any) error {
	err := n.admin.Do(ctx, args...).Err()
	for range 3 {
		if err == nil || ctx.Err() != nil {
			break
		}
		err = n.admin.Do(ctx, args...).Err()
	}
	if err != nil {
		return fmt.Errorf("redis %v: %w", args[0], err)
	}
	return nil
}

// pair is a Redis, with a replica where there is to be one.
type pair struct {
	kind    string
	dir     string
	follows *link // the replica's way to the master

	mu     sync.Mutex
	master *node
	other  *node // nil without a replica
	tape   []mark
}

// mark is the size of the master's append-only file at a moment.
type mark struct {
	at   time.Time
	size int64
}

func startPair(t testing.TB, kind, dir string, ways *links) *pair {
	t.Helper()
	p := &pair{kind: kind, dir: dir}
	p.master = startNode(t, folder(t, dir, "redis-a"), kind)
	if kind != everysec {
		return p
	}
	p.other = startNode(t, folder(t, dir, "redis-b"), kind)
	var err error
	if p.follows, err = ways.open("replication", p.master.address); err != nil {
		t.Fatal(err)
	}
	if err = p.follow(t.Context(), p.other); err == nil {
		err = p.synced(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func folder(t testing.TB, parts ...string) string {
	t.Helper()
	dir := filepath.Join(parts...)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// follow makes a node the master's replica.
func (p *pair) follow(ctx context.Context, n *node) error {
	host, port, err := net.SplitHostPort(p.follows.address())
	if err != nil {
		return err
	}
	return n.do(ctx, "REPLICAOF", host, port)
}

var errNotSynced = errors.New("the replica is not in step")

// synced waits until the replica has what the master has.
func (p *pair) synced(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return await(ctx, func() error {
		info, err := p.other.admin.Info(ctx, "replication").Result()
		if err != nil {
			return err
		}
		if !strings.Contains(info, "master_link_status:up") || !strings.Contains(info, "master_sync_in_progress:0") {
			return errNotSynced
		}
		return nil
	})
}

// current is the master.
func (p *pair) current() *node {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.master
}

// promote makes the replica the master. The old one is to follow it later.
func (p *pair) promote(ctx context.Context) error {
	if err := p.other.do(ctx, "REPLICAOF", "NO", "ONE"); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.master, p.other = p.other, p.master
	p.tape = nil
	return p.follows.lead(p.master.address)
}

// record notes the size of the append-only file until ctx ends.
func (p *pair) record(ctx context.Context) {
	tick := time.NewTicker(tapeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		p.mu.Lock()
		if file, err := aof(p.master.Dir()); err == nil {
			if st, err := os.Stat(file); err == nil {
				p.tape = append(p.tape, mark{time.Now(), st.Size()})
				if len(p.tape) > 200 {
					p.tape = p.tape[100:]
				}
			}
		}
		p.mu.Unlock()
	}
}

// aof is the file that a server appends to.
func aof(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "appendonlydir", "*.incr.aof"))
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", os.ErrNotExist
	}
	return files[len(files)-1], nil
}

// cutTail takes the newest part of the append-only file away, as a power cut
// does: up to a second of it, at any byte. It returns how much that was.
func (p *pair) cutTail(n uint64) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	file, err := aof(p.master.Dir())
	if err != nil {
		return 0, err
	}
	st, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	floor := st.Size()
	for _, m := range p.tape {
		if time.Since(m.at) < tailWindow {
			floor = min(m.size, st.Size())
			break
		}
	}
	p.tape = nil
	lost := st.Size() - floor
	if lost > 0 {
		lost = int64(n % uint64(lost+1)) //nolint:gosec // a size of a file is not negative
	}
	return lost, os.Truncate(file, st.Size()-lost)
}

// await asks until the answer is nil, and returns the last answer when ctx
// ends.
func await(ctx context.Context, ask func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: last answer: %w", context.Cause(ctx), err)
		}
	}
}
