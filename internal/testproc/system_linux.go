package testproc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// endsWithTest makes the kernel kill the process when the test binary dies
// without running its cleanups: a panic, a timeout, kill -9.
func endsWithTest() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// standsStill is nil when every thread of the process is stopped by a signal.
// A thread's state is the first field behind its name in parentheses
// (proc_pid_stat(5)).
func standsStill(pid int) error {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return err
	}
	if len(stats) == 0 {
		return fmt.Errorf("process %d has no threads", pid)
	}
	for _, name := range stats {
		stat, err := os.ReadFile(name) //nolint:gosec // a name under /proc that Glob found
		if err != nil {
			return err
		}
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) == 0 || string(fields[0]) != "T" {
			return fmt.Errorf("process %d is not stopped", pid)
		}
	}
	return nil
}
