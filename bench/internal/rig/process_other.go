//go:build !linux

package rig

import "syscall"

// apart keeps a terminal's Ctrl-C from a process that is stopped in order.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
