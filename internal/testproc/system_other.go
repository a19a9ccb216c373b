//go:build !linux

package testproc

import "syscall"

// endsWithTest sets nothing: only Linux can tie a child's life to its parent's.
func endsWithTest() *syscall.SysProcAttr { return nil }

// standsStill takes the signal's delivery for granted.
func standsStill(int) error { return nil }
