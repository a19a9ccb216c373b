package journal

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	lockExclusive = unix.LOCK_EX | unix.LOCK_NB
	lockShared    = unix.LOCK_SH | unix.LOCK_NB
)

// flock takes a lock without waiting. It belongs to this opening of the file:
// another opening of it, in this process too, finds it taken.
func flock(f *os.File, how int) (locked bool, err error) {
	err = retry(func() error { return unix.Flock(int(f.Fd()), how) })
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return true, nil
}

// release gives up the lock and closes the file. Closing alone is not enough
// while a child process is being started: until it has become another program
// it has a copy of the file, and with it the lock.
func release(f *os.File) error {
	_ = retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) }) // of a file that is closed already; Close says so
	return f.Close()
}

// retry repeats a system call that a signal has interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
