//go:build !linux

package demo

import "syscall"

// apart gives the child a process group of its own, so that a terminal's
// Ctrl-C reaches the demo alone, which then stops the child in order.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
