//go:build failpoints && !linux

package failpoint

import (
	"os"
	"syscall"
)

// end sends the process a signal that nobody can catch.
func end(sig syscall.Signal) {
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		panic("failpoint: " + sig.String() + ": " + err.Error())
	}
}
