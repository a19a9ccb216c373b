package redisconn

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
)

// Kind says what is at the other end.
type Kind string

// The kinds.
const (
	KindServer   Kind = "embedded-server" // a redis-server that refreshd runs
	KindMemory   Kind = "embedded-memory" // the in-process store
	KindExternal Kind = "external"        // what redis.url names
)

const embeddedName = "the embedded redis-server"

// MemoryCredentials is how many credentials the in-process store is meant for.
const MemoryCredentials = 10_000

// Options say which Redis to use.
type Options struct {
	// URL is redis://, rediss://, unix:// or redis+sentinel://; empty for the
	// embedded one. It may hold a password.
	URL credential.Secret
	// DataDir is where the embedded one keeps its data. It is created with
	// mode 0700 where it is missing.
	DataDir string
	// PoolSize is the number of connections of each client; zero leaves it to
	// go-redis.
	PoolSize int
	// NoServer uses the in-process store even where redis-server is installed.
	NoServer bool
	Log      zerolog.Logger
}

// Conn is a Redis in use. Its methods may be called concurrently.
type Conn struct {
	kind     Kind
	name     string   // scheme and address that redis.url names, without user and password; else ""
	identity Identity // of the in-process store, which cannot be asked
	clients  clients
	settings settings // of the server, as of a few seconds ago

	closing  sync.Once
	closeErr error
	closers  []func() error // run last to first
}

// Open connects to what o names, or starts it, and returns once it answers
// and was found fit. It waits for a server that is not there yet, or still
// loads its data, until ctx ends or 30 s have passed without an answer.
// Errors name the key to change and never hold a password.
func Open(ctx context.Context, o Options) (*Conn, error) {
	if !o.URL.IsZero() {
		return openExternal(ctx, o)
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("data_dir %s: %w", o.DataDir, err)
	}
	o.DataDir = dir
	if !o.NoServer {
		if path, err := exec.LookPath("redis-server"); err == nil {
			return openServer(ctx, o, path)
		}
	}
	return openMemory(ctx, o)
}

// Name is what is at the other end, for people: scheme and address that redis.url
// names, without user and password, or the embedded one.
func (c *Conn) Name() string {
	switch {
	case c.name != "":
		return c.name
	case c.kind == KindMemory:
		return "the in-process store"
	default:
		return embeddedName
	}
}

// Kind says what is at the other end.
func (c *Conn) Kind() Kind { return c.kind }

// Client is the client for everything but the queue. It honours the context
// of every call.
func (c *Conn) Client() redis.UniversalClient { return c.clients.main }

// QueueClient is a client with connections of its own for asynq: commands
// whose context has already ended are carried out all the same, see
// [DetachHook].
func (c *Conn) QueueClient() redis.UniversalClient { return c.clients.queue }

// MaxCredentials is how many credentials may be stored; zero is no limit.
func (c *Conn) MaxCredentials() int {
	if c.kind == KindMemory {
		return MemoryCredentials
	}
	return 0
}

// Close disconnects. An embedded server ends if no other process uses it; the
// in-process store is written to its snapshot. Close waits for that, and may
// be called twice.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		var errs []error
		for _, end := range slices.Backward(c.closers) {
			errs = append(errs, end())
		}
		c.closeErr = errors.Join(errs...)
	})
	return c.closeErr
}

// onClose adds what Close has to undo.
func (c *Conn) onClose(end func() error) { c.closers = append(c.closers, end) }

// fail closes what was opened so far and returns err.
func (c *Conn) fail(err error) (*Conn, error) {
	return nil, errors.Join(err, c.Close())
}
