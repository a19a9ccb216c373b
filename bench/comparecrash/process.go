package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

const (
	readyWithin = 30 * time.Second
	askAgain    = 10 * time.Millisecond // between two looks at whether something is so
	mostTail    = 1 << 16               // bytes of a log that are looked at
)

// command says what to run, and where its words go.
type command struct {
	name string // of its log, in the folder
	path string
	args []string
	env  []string // added to this program's
}

// process is a running program. It ends by kill alone, as all of them can be
// killed at any time: that is what is measured here.
type process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // to be read after done
}

// start runs a program in the folder.
func start(folder string, c command) (*process, error) {
	p := &process{name: c.name, log: filepath.Join(folder, c.name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	p.cmd = exec.Command(c.path, c.args...) //nolint:gosec,noctx // programs that were just built, and redis-server; ended by kill
	p.cmd.Dir = folder
	p.cmd.Env = append(os.Environ(), c.env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = apart()
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", c.name, err), log.Close())
	}
	go func() {
		defer close(p.done)
		p.err = errors.Join(p.cmd.Wait(), log.Close())
	}()
	return p, nil
}

// strike sends SIGKILL and does not wait.
func (p *process) strike() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	return nil
}

// kill sends SIGKILL and waits for the end.
func (p *process) kill() error {
	if err := p.strike(); err != nil {
		return err
	}
	<-p.done
	return nil
}

// killAll kills processes as nearly at the same moment as can be.
func killAll(all []*process) error {
	var errs []error
	for _, p := range all {
		errs = append(errs, p.strike())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, p := range all {
		<-p.done
	}
	return nil
}

// says waits until the program has logged what matches, and returns its groups.
func (p *process) says(ctx context.Context, pattern *regexp.Regexp) (found []string, err error) {
	err = p.until(ctx, "it was ready", func(context.Context) (bool, error) {
		found = pattern.FindStringSubmatch(p.tail())
		return found != nil, nil
	})
	return found, err
}

// until waits until asked is true, for at most readyWithin. The error says if the
// program has ended meanwhile.
func (p *process) until(ctx context.Context, what string, asked func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
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
			return fmt.Errorf("%s: not before %s: %w; the end of its log:\n%s", p.name, what, errors.Join(context.Cause(ctx), err), p.tail())
		}
	}
}

// tail is the end of what the program said.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text[max(0, len(text)-mostTail):]))
}
