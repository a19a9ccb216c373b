package testproc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	redisServer = "redis-server"
	// requireRedis set to 1 turns the skip of SkipWithoutRedis into a failure,
	// for a run that must not pass without having tested.
	requireRedis = "REFRESHD_REQUIRE_REDIS"

	redisReadyTimeout = 30 * time.Second
	// askTimeout bounds one PING: a server that accepts and says nothing is
	// asked again on a new connection.
	askTimeout = time.Second
	// portAttempts is how often another free port is picked when somebody took
	// the one before between our look and the server's bind.
	portAttempts = 5
)

// RedisOptions says how a redis-server is run.
type RedisOptions struct {
	// AppendFsync is always, everysec or no; empty runs without an append-only
	// file, so that a restart comes back empty.
	AppendFsync string
	// Port listens on a free port of 127.0.0.1 instead of a unix socket.
	Port bool
	// Dir holds the data; empty is a temporary folder of the test.
	Dir string
	// Args are further directives, such as "--maxmemory", "10mb".
	Args []string
}

// Redis is a redis-server of one test's own. Its methods may be called from
// any goroutine.
type Redis struct {
	dir     string
	network string
	address string
	args    []string

	mu   sync.Mutex
	proc *Process
	past strings.Builder // the output of earlier runs
}

// SkipWithoutRedis skips the test when redis-server is not on PATH, and says
// what to install. With REFRESHD_REQUIRE_REDIS=1 it fails the test instead.
func SkipWithoutRedis(t testing.TB) {
	t.Helper()
	missing, fatal := redisMissing(exec.LookPath, os.Getenv)
	switch {
	case missing == "":
	case fatal:
		t.Fatal(missing)
	default:
		t.Skip(missing)
	}
}

// redisMissing is empty when redis-server can be run.
func redisMissing(look func(string) (string, error), env func(string) string) (words string, fatal bool) {
	if _, err := look(redisServer); err == nil {
		return "", false
	}
	return redisServer + " is not on PATH: install it (Debian and Ubuntu: apt-get install redis-server; " +
		"Fedora: dnf install redis; macOS: brew install redis)", env(requireRedis) == "1"
}

// StartRedis runs a redis-server until the end of the test and returns when it
// answers. Without one on PATH it does what SkipWithoutRedis does.
func StartRedis(t testing.TB, o RedisOptions) *Redis {
	t.Helper()
	SkipWithoutRedis(t)
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	r, err := newRedis(o, socketDir(t, o))
	if err == nil {
		err = r.startFirst(t.Context(), o.Port)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Kill(); err != nil {
			t.Errorf("end of the test: %v", err)
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", redisServer, r)
		}
	})
	return r
}

// socketDir is a folder with a short name: a unix socket's path ends at 107
// bytes, and a test's own folder carries the test's name.
func socketDir(t testing.TB, o RedisOptions) string {
	t.Helper()
	if o.Port {
		return ""
	}
	dir, err := os.MkdirTemp("", "rd-") //nolint:usetesting // t.TempDir is too long for a socket, see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("end of the test: %v", err)
		}
	})
	return dir
}

func newRedis(o RedisOptions, sockets string) (*Redis, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	r := &Redis{dir: dir, args: []string{"--dir", dir, "--save", "", "--daemonize", "no", "--maxmemory-policy", "noeviction"}}
	switch o.AppendFsync {
	case "":
		r.args = append(r.args, "--appendonly", "no")
	case "always", "everysec", "no":
		r.args = append(r.args, "--appendonly", "yes", "--appendfsync", o.AppendFsync)
	default:
		return nil, fmt.Errorf("testproc: AppendFsync is %q, want always, everysec, no or nothing", o.AppendFsync)
	}
	r.args = append(r.args, o.Args...)
	if !o.Port {
		r.network, r.address = "unix", filepath.Join(sockets, "redis.sock")
	}
	return r, nil
}

// startFirst picks the port, if there is to be one, and starts.
func (r *Redis) startFirst(ctx context.Context, port bool) error {
	if !port {
		return r.start(ctx)
	}
	var err error
	for range portAttempts {
		if r.address, err = freePort(ctx); err != nil {
			return err
		}
		r.network = "tcp"
		if err = r.start(ctx); err == nil || !strings.Contains(err.Error(), "Address already in use") {
			return err
		}
	}
	return err
}

func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (r *Redis) start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	args := append([]string{"--port", "0", "--unixsocket", r.address}, r.args...)
	if r.network == "tcp" {
		_, port, err := net.SplitHostPort(r.address)
		if err != nil {
			return err
		}
		args = append([]string{"--bind", "127.0.0.1", "--port", port}, r.args...)
	}
	p, err := start(ctx, Options{Path: redisServer, Args: args})
	if err != nil {
		return err
	}
	r.proc = p
	ctx, cancel := context.WithTimeout(ctx, redisReadyTimeout)
	defer cancel()
	err = poll(ctx, func() error {
		select {
		case <-p.Done():
			return ErrExited
		default:
			return r.answers(ctx)
		}
	}, ErrExited)
	if err != nil {
		return errors.Join(fmt.Errorf("testproc: %s at %s is not ready: %w; its output:\n%s", redisServer, r.address, err, p), p.Kill())
	}
	return nil
}

// answers is nil when the server answers a PING, be it with a demand for a
// password; while it loads its data it does not count.
func (r *Redis) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, r.network, r.address)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing is lost with a connection that carried one PING
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "+PONG") && !strings.HasPrefix(line, "-NOAUTH") {
		return fmt.Errorf("answer to PING: %s", strconv.Quote(line))
	}
	return nil
}

// URL is the server's address as go-redis's ParseURL takes it: unix:///path or
// redis://127.0.0.1:port. It stays the same over a Restart.
func (r *Redis) URL() string {
	if r.network == "tcp" {
		return "redis://" + r.address
	}
	return "unix://" + r.address
}

// Address is what Dial takes: "unix" and a path, or "tcp" and host:port.
func (r *Redis) Address() (network, address string) { return r.network, r.address }

// Dir is the folder of the data, for a test that takes something away from it
// between Kill and Restart.
func (r *Redis) Dir() string { return r.dir }

// String is the output of all runs, the newest at the end.
func (r *Redis) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.past.String() + r.proc.String()
}

func (r *Redis) process() *Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.proc
}

// Stop ends the server in order, with SIGTERM.
func (r *Redis) Stop() error {
	_, err := r.process().Stop()
	return err
}

// Kill ends the server with SIGKILL, as a power cut of the process does.
func (r *Redis) Kill() error { return r.process().Kill() }

// Pause halts the server: connections stay open and nothing is answered.
func (r *Redis) Pause() error { return r.process().Pause() }

// Resume ends a Pause.
func (r *Redis) Resume() error { return r.process().Resume() }

// Restart starts the server again on the same address and data, and returns
// when it answers. One that still runs is killed first.
func (r *Redis) Restart(ctx context.Context) error {
	if err := r.Kill(); err != nil {
		return err
	}
	r.mu.Lock()
	r.past.WriteString(r.proc.String())
	r.mu.Unlock()
	return r.start(ctx)
}
