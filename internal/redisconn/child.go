package redisconn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what every Unix takes; Linux would take 107.
const maxSocketPath = 103

// socketPath places the server's socket in dir or, where that path would be
// too long, in a folder of the system's temporary one whose name every process
// that shares dir finds. That folder is made.
func socketPath(dir string) (string, error) {
	path, short, err := findSocket(dir)
	if err != nil || short == "" {
		return path, err
	}
	if err := os.Mkdir(short, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("socket of the embedded redis-server: %w", err)
	}
	if err := ownFolder(short); err != nil {
		return "", err
	}
	return path, nil
}

// findSocket tells the same place without making anything; short is the folder
// in the temporary one, if it is there.
func findSocket(dir string) (path, short string, err error) {
	const name = "redis.sock"
	path = filepath.Join(dir, name)
	if len(path) <= maxSocketPath {
		return path, "", nil
	}
	sum := sha256.Sum256([]byte(dir))
	short = filepath.Join(os.TempDir(), fmt.Sprintf("refreshd-%d-%s", os.Geteuid(), hex.EncodeToString(sum[:6])))
	path = filepath.Join(short, name)
	if len(path) > maxSocketPath {
		return "", "", fmt.Errorf("data_dir and TMPDIR are both too long for a socket (%s has %d bytes, %d are allowed); choose a shorter data_dir", path, len(path), maxSocketPath)
	}
	return path, short, nil
}

// ownFolder refuses a folder that is not this user's alone. Anybody may have
// made it first: what is connected to must be ours.
func ownFolder(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("socket of the embedded redis-server: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s is not a folder of this user alone; remove it, or choose a shorter data_dir", dir)
	}
	return nil
}

// startIfFree starts the server if its lock is free.
func (s *server) startIfFree(ctx context.Context) error {
	held, err := openLock(filepath.Join(s.dir, serverLock))
	if err != nil {
		return err
	}
	defer func() { _ = held.close() }() // the child has it from here on
	if err := held.take(unix.LOCK_EX); err != nil {
		if errors.Is(err, errLocked) {
			return nil
		}
		return err
	}
	return s.start(ctx, held)
}

// start runs the server with the lock that it inherits. It has a session of
// its own, so that neither a terminal's Ctrl-C nor our own death reaches it,
// and none of our environment, which may hold secrets.
func (s *server) start(ctx context.Context, held lock) error {
	out, err := openLog(filepath.Join(s.dir, serverLog))
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.path, //nolint:gosec // found on PATH, as the operator installed it
		"--port", "0", "--unixsocket", s.socket, "--unixsocketperm", "700",
		"--dir", s.dir, "--daemonize", "no",
		"--appendonly", "yes", "--appendfsync", "always", "--save", "",
		"--maxmemory-policy", noEviction, "--hash-max-listpack-value", "4096")
	cmd.Dir = s.dir
	cmd.Env = []string{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{held.file}
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.path, err)
	}
	s.child = cmd.Process.Pid
	// It may outlive us, so nobody waits for it: it is reaped by number.
	return cmd.Process.Release()
}

// openLog opens the server's log for appending. A large one of before is kept
// as redis.log.old.
func openLog(path string) (*os.File, error) {
	const large = 10 << 20
	if st, err := os.Stat(path); err == nil && st.Size() > large {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600) //nolint:gosec // made of data_dir, which the operator sets
}

// reap asks, without waiting, whether our child has ended.
func (s *server) reap() (status string, gone bool) {
	var ws unix.WaitStatus
	pid, err := unix.Wait4(s.child, &ws, unix.WNOHANG, nil)
	switch {
	case errors.Is(err, unix.EINTR), err == nil && pid == 0:
		return "", false
	case err != nil:
		status = err.Error()
	case ws.Signaled():
		status = "killed by " + ws.Signal().String()
	default:
		status = fmt.Sprintf("exit code %d", ws.ExitStatus())
	}
	s.child = 0
	return status, true
}

// lastWords are the last lines of the server's log.
func (s *server) lastWords() string {
	const lines, most = 3, 2000
	text, err := os.ReadFile(filepath.Join(s.dir, serverLog))
	if err != nil {
		return "it left no log"
	}
	text = bytes.TrimSpace(text[max(0, len(text)-most):])
	all := strings.Split(string(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], " | ")
}

// ask sends one inline command to the server's socket and returns what it
// answered as an error, unless that was an ordinary reply. go-redis would not
// do here: it backs off for up to a second after a failed dial.
func ask(ctx context.Context, socket, command string) error {
	const within = 500 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if refusal, failed := strings.CutPrefix(strings.TrimSpace(line), "-"); failed {
		return refused(refusal)
	}
	return nil
}

func ping(ctx context.Context, socket string) error { return ask(ctx, socket, "PING") }

// refused is an error reply.
type refused string

// Error returns the reply.
func (r refused) Error() string { return string(r) }

func isLoading(err error) bool {
	reply, ok := errors.AsType[refused](err)
	return ok && strings.HasPrefix(string(reply), "LOADING")
}
