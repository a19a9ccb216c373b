package redisconn

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

const (
	usersLock   = "users.lock"
	serverLock  = "server.lock"
	serverLog   = "redis.log"
	appendDir   = "appendonlydir" // where redis-server 7 keeps its append-only files
	serverTick  = 10 * time.Millisecond
	handOver    = 20 * time.Second // for the last user of before to stop its server
	startWithin = 30 * time.Second // for a server that is not loading to answer
)

// server is this process's share in the redis-server of a data folder.
type server struct {
	path   string // of the redis-server program
	dir    string // <data_dir>/redis
	socket string
	log    zerolog.Logger
	users  lock // held shared while this process uses the server

	child int // the process we started and have not reaped; 0 if none

	stop context.CancelFunc // ends the watch; nil before it began
	done sync.WaitGroup
}

func openServer(ctx context.Context, o Options, path string) (*Conn, error) {
	c := &Conn{kind: KindServer}
	s := &server{path: path, dir: filepath.Join(o.DataDir, "redis"), log: o.Log}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	c.onClose(s.leave)
	if err := s.ensure(ctx); err != nil {
		return c.fail(fmt.Errorf("embedded redis-server: %w (its log is %s)", err, filepath.Join(s.dir, serverLog)))
	}
	s.watch(ctx)

	options := tune(&redis.Options{Network: "unix", Addr: s.socket}, o.PoolSize, localDial)
	c.clients = newClients(func() *redis.Client { return single(options) })
	c.onClose(c.clients.close)
	in, err := readInfo(ctx, c.clients.main)
	if err != nil {
		return c.fail(err)
	}
	if err := fit(in, durability(ctx, c.clients.main, in)); err != nil {
		return c.fail(fmt.Errorf("the redis-server at %s: %w; or set redis.url", path, err))
	}
	if err := importSnapshot(ctx, c.clients.main, o.DataDir, o.Log); err != nil {
		return c.fail(err)
	}
	o.Log.Info().Str("socket", s.socket).Str("version", in["redis_version"]).Int64("pid", in.number("process_id")).Msg("using the embedded redis-server")
	return c, nil
}

// prepare makes the folder and takes a share of the users' lock.
func (s *server) prepare(ctx context.Context) (err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w; make its folder writable for this user", err)
	}
	if s.socket, err = socketPath(s.dir); err != nil {
		return err
	}
	if s.users, err = openLock(filepath.Join(s.dir, usersLock)); err != nil {
		return fmt.Errorf("data_dir: %w; make its folder writable for this user", err)
	}
	if err := s.users.wait(ctx, unix.LOCK_SH, handOver); err != nil {
		_ = s.users.close()
		return fmt.Errorf("data_dir %s is in use by a refreshd with the in-process store (%w); stop that one, or give this one a data_dir of its own", filepath.Dir(s.dir), err)
	}
	return nil
}

// ensure returns when the server answers, having started it if nobody else
// has. Whoever gets the server's lock starts it and hands the lock down, so
// that there is never a second one on the same files.
func (s *server) ensure(ctx context.Context) error {
	tick := time.NewTicker(serverTick)
	defer tick.Stop()
	silentSince := time.Now()
	for {
		err := ping(ctx, s.socket)
		switch {
		case err == nil:
			return nil
		case isLoading(err):
			silentSince = time.Now()
		case s.child != 0:
			if status, gone := s.reap(); gone {
				return fmt.Errorf("it ended at once (%s): %s", status, s.lastWords())
			}
		default:
			if startErr := s.startIfFree(ctx); startErr != nil {
				return startErr
			}
		}
		if time.Since(silentSince) > startWithin {
			return fmt.Errorf("it runs, and does not answer on %s (%w); look for the process that holds %s",
				s.socket, err, filepath.Join(s.dir, serverLock))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// leave ends this process's use of the server, and the server itself if
// nobody else uses it.
func (s *server) leave() error {
	if s.stop != nil {
		s.stop()
	}
	s.done.Wait()
	defer func() { _ = s.users.close() }() // ends our use, or lets the next one in
	if err := s.users.take(unix.LOCK_EX); err != nil {
		s.log.Info().Msg("other processes go on using the embedded redis-server")
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOver)
	defer cancel()
	return s.shutdown(ctx)
}

// shutdown ends the server in order and returns when it is gone. The server
// refuses while it writes a new append-only file, so it is asked again.
func (s *server) shutdown(ctx context.Context) error {
	held, err := openLock(filepath.Join(s.dir, serverLock))
	if err != nil {
		return err
	}
	defer func() { _ = held.close() }()
	tick := time.NewTicker(serverTick)
	defer tick.Stop()
	const askAgain = 100 // ticks
	for n := 0; held.take(unix.LOCK_EX) != nil; n++ {
		if n%askAgain == 0 {
			// Its answer is that it goes away; whether it did, the lock tells.
			_ = ask(ctx, s.socket, "SHUTDOWN")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the embedded redis-server did not stop within %s and goes on running; nothing is lost", handOver)
		case <-tick.C:
		}
	}
	for s.child != 0 {
		if _, gone := s.reap(); gone {
			break
		}
		<-tick.C // the lock goes a moment before the process does
	}
	s.log.Info().Msg("the embedded redis-server has stopped")
	return nil
}
