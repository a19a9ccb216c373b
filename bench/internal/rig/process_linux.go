package rig

import "syscall"

// apart keeps a terminal's Ctrl-C from a process that is stopped in order, and
// has the kernel end it should this program be killed.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
