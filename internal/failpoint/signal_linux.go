//go:build failpoints

package failpoint

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// end sends the process a signal that nobody can catch. It is aimed at the
// calling thread (tgkill(2)): the kernel then acts before the call returns,
// while a signal to the process may meet another thread first and let this one
// go on past its point.
func end(sig syscall.Signal) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Tgkill(os.Getpid(), unix.Gettid(), sig); err != nil {
		panic("failpoint: " + sig.String() + ": " + err.Error())
	}
}
