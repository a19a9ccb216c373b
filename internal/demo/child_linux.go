package demo

import "syscall"

// apart gives the child a process group of its own, so that a terminal's
// Ctrl-C reaches the demo alone, which then stops the child in order. Should
// the demo be killed, the kernel asks the child to stop.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
