package main

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

const (
	killAfter = 45 * time.Second      // of a process that was told to stop
	askAgain  = 20 * time.Millisecond // between two looks at whether something is so
)

// command says what to run, and where its words go.
type command struct {
	name string // of its log, in the folder
	path string
	args []string
	env  []string // added to this program's
	in   io.Reader
}

// process is a running program.
type process struct {
	name string
	log  string
	stop context.CancelFunc
	done chan struct{}
	err  error // to be read after done
}

// start runs a program until ctx ends or it is stopped: with SIGTERM first,
// and with SIGKILL where that takes too long.
func start(ctx context.Context, folder string, c command) (*process, error) {
	p := &process{name: c.name, log: filepath.Join(folder, c.name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	ctx, p.stop = context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, c.path, c.args...) //nolint:gosec // programs that were just built, and redis-server
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killAfter
	cmd.SysProcAttr = apart()
	if err := cmd.Start(); err != nil {
		p.stop()
		return nil, errors.Join(fmt.Errorf("start %s: %w", c.name, err), log.Close())
	}
	go func() {
		defer close(p.done)
		p.err = errors.Join(cmd.Wait(), log.Close())
	}()
	return p, nil
}

// wait waits for the end of a program that ends by itself.
func (p *process) wait() error {
	<-p.done
	p.stop()
	if p.err != nil {
		return fmt.Errorf("%s: %w; the end of its log:\n%s", p.name, p.err, p.tail())
	}
	return nil
}

// end stops a program and waits for that. How it ended does not matter.
func (p *process) end() {
	p.stop()
	<-p.done
}

// until waits until asked is true, for at most a time. The error says if the
// program has ended meanwhile.
func (p *process) until(ctx context.Context, what string, within time.Duration, asked func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for {
		ok, err := asked(ctx)
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%s ended before %s: %w; the end of its log:\n%s", p.name, what, errors.Join(p.err, err), p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s: %s: %w; the end of its log:\n%s", p.name, what, errors.Join(context.Cause(ctx), err), p.tail())
		}
	}
}

// tail is the end of what the program said.
func (p *process) tail() string {
	const most = 2000
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text[max(0, len(text)-most):]))
}
