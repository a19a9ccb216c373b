package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// stopWithin is how long refreshd may take to drain: a little more than an
	// attempt with the provider's default timeout.
	stopWithin = 45 * time.Second
	// lastLines is how much of a dead child's log is shown.
	lastLines = 15
)

// ErrChildEnded is returned when refreshd ended without being told to.
var ErrChildEnded = errors.New("refreshd ended by itself")

// child is the running refreshd.
type child struct {
	cmd  *exec.Cmd
	dir  folder
	done chan struct{} // closed when it has ended
	err  error         // how; to be read after done
}

// startChild starts refreshd on the folder's configuration. What it logs goes
// to the folder's log. It is ended by stop alone: the end of a context would
// kill it in the middle of a refresh.
func startChild(dir folder, o Options) (*child, error) {
	log, err := os.OpenFile(dir.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(o.Refreshd, "serve", "--config", dir.config()) //nolint:gosec,noctx // the user names the program; see above
	cmd.Dir = string(dir)
	cmd.Env = o.childEnv()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = apart()
	if err := errors.Join(cmd.Start(), log.Close()); err != nil {
		return nil, fmt.Errorf("start refreshd: %w", err)
	}
	c := &child{cmd: cmd, dir: dir, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = cmd.Wait()
	}()
	return c, nil
}

// stop asks refreshd to drain and waits for its end. It kills one that takes
// too long, by its own process ID. The error is [ErrChildEnded], with the end
// of the log, where refreshd had ended before. An ended ctx hurries nothing.
func (c *child) stop(ctx context.Context, within time.Duration) error {
	select {
	case <-c.done:
		return c.endedByItself(ctx)
	default:
	}
	if err := c.signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		err := c.signal(syscall.SIGKILL)
		if err == nil {
			<-c.done
		}
		stopRedis(ctx, c.dir.redisSocket())
		return errors.Join(fmt.Errorf("refreshd did not stop within %s and was killed", within), err)
	}
	if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() != syscall.SIGTERM {
		return c.endedByItself(ctx) // somebody else's signal was there before ours
	}
	if c.err != nil {
		stopRedis(ctx, c.dir.redisSocket())
		return fmt.Errorf("refreshd did not stop in order: %w; the end of its log:\n%s", c.err, tail(c.dir.log(), lastLines))
	}
	return nil
}

// endedByItself clears up after a refreshd that has ended untold.
func (c *child) endedByItself(ctx context.Context) error {
	stopRedis(ctx, c.dir.redisSocket())
	return fmt.Errorf("%w (%s); the end of its log:\n%s", ErrChildEnded, c.cmd.ProcessState, tail(c.dir.log(), lastLines))
}

func (c *child) signal(sig os.Signal) error {
	if err := c.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s to refreshd: %w", sig, err)
	}
	return nil
}

// stopRedis ends the embedded redis-server of a refreshd that could not do it
// itself: it outlives the death of its owner on purpose, and its folder is
// about to go. Where nobody listens, there is nothing to do.
func stopRedis(ctx context.Context, socket string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	// The answer is the end of the connection.
	if _, err := conn.Write([]byte("SHUTDOWN NOSAVE\r\n")); err == nil {
		_, _ = conn.Read(make([]byte, 1))
	}
}

// tail is the last lines of a file.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path) //nolint:gosec // a file of the demo's own folder
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	all := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
