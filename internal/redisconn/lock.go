package redisconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errLocked says that somebody else holds the lock.
var errLocked = errors.New("locked by another process")

const lockEvery = 20 * time.Millisecond

// lock is a file under flock(2). The kernel frees it when the last process
// that holds the open file ends, however it ends.
type lock struct{ file *os.File }

func openLock(path string) (lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the path is made of data_dir, which the operator sets
	if err != nil {
		return lock{}, fmt.Errorf("lock: %w", err)
	}
	return lock{f}, nil
}

// take takes the lock (unix.LOCK_SH or unix.LOCK_EX) or returns errLocked at
// once. A shared lock that is to become exclusive and cannot is lost.
func (l lock) take(how int) error {
	for {
		err := unix.Flock(int(l.file.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return errLocked
		default:
			return fmt.Errorf("lock %s: %w", l.file.Name(), err)
		}
	}
}

// wait takes the lock, or returns errLocked when limit has passed and the
// context's cause when that ends first.
func (l lock) wait(ctx context.Context, how int, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errLocked)
	defer cancel()
	tick := time.NewTicker(lockEvery)
	defer tick.Stop()
	for {
		if err := l.take(how); !errors.Is(err, errLocked) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (l lock) close() error { return l.file.Close() }
