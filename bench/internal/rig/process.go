package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// killAfter is how long a process that was told to stop may take for it.
const killAfter = 45 * time.Second

// A Command says what to run, and where its words go.
type Command struct {
	Name string // of its log, in the folder
	Path string
	Args []string
	Env  []string // added to this program's
	In   io.Reader
	Tail int // how many bytes at the end of its log are looked at and shown
}

// A Process is a running program. Its methods are for one goroutine.
type Process struct {
	name string
	log  string
	tail int
	cmd  *exec.Cmd
	stop context.CancelFunc
	done chan struct{}
	err  error // to be read after done
}

// Start runs a program in the folder until ctx ends or it is stopped: with
// SIGTERM first, and with SIGKILL where that takes too long. Whoever starts one
// calls Wait, End or Kill in the end.
func Start(ctx context.Context, folder string, c Command) (*Process, error) {
	p := &Process{name: c.Name, log: filepath.Join(folder, c.Name+".log"), tail: c.Tail, done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	ctx, p.stop = context.WithCancel(ctx)
	p.cmd = exec.CommandContext(ctx, c.Path, c.Args...) //nolint:gosec // programs that were just built, and redis-server
	p.cmd.Dir = folder
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = c.In, log, log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = killAfter
	p.cmd.SysProcAttr = apart()
	if err := p.cmd.Start(); err != nil {
		p.stop()
		return nil, errors.Join(fmt.Errorf("start %s: %w", c.Name, err), log.Close())
	}
	go func() {
		defer close(p.done)
		p.err = errors.Join(p.cmd.Wait(), log.Close())
	}()
	return p, nil
}

// Wait waits for the end of a program that ends by itself.
func (p *Process) Wait() error {
	<-p.done
	p.stop()
	if p.err != nil {
		return fmt.Errorf("%s: %w; the end of its log:\n%s", p.name, p.err, p.Tail())
	}
	return nil
}

// End stops a program and waits for that. How it ended does not matter.
func (p *Process) End() {
	p.stop()
	<-p.done
}

// Kill sends SIGKILL to all processes, as nearly at the same moment as can be,
// and waits for their end.
func Kill(all ...*Process) error {
	var errs []error
	for _, p := range all {
		errs = append(errs, p.strike())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, p := range all {
		<-p.done
		p.stop()
	}
	return nil
}

// strike sends SIGKILL and does not wait.
func (p *Process) strike() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	return nil
}

// A Patience says how long something is waited for, and what the error says if
// it does not come.
type Patience struct {
	What   string        // that the program ended before
	Late   string        // is said when the time is up
	Within time.Duration // is the time
	Every  time.Duration // it is asked again
}

// Until waits until asked is true. The error has what was asked last, and the
// end of the program's log.
func (p *Process) Until(ctx context.Context, wait Patience, asked func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, wait.Within)
	defer cancel()
	tick := time.NewTicker(wait.Every)
	defer tick.Stop()
	for {
		ok, err := asked(ctx)
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%s ended before %s: %w; the end of its log:\n%s", p.name, wait.What, errors.Join(p.err, err), p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s: %s: %w; the end of its log:\n%s", p.name, wait.Late, errors.Join(context.Cause(ctx), err), p.Tail())
		}
	}
}

// Tail is the end of what the program said.
func (p *Process) Tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text[max(0, len(text)-p.tail):]))
}
