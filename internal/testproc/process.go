package testproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"
)

const (
	defaultReadyTimeout = 30 * time.Second
	defaultStopTimeout  = 30 * time.Second
	defaultOutputLimit  = 1 << 20

	// killTimeout bounds the wait for a process that got SIGKILL or SIGSTOP:
	// the kernel needs no time worth naming, a busy machine does.
	killTimeout = 30 * time.Second
	// pipeDelay is how long the output of an ended process may still come from
	// a child that inherited its pipes, such as a redis-server it supervised.
	pipeDelay = 250 * time.Millisecond
	// pollEvery is the step of the few waits that have nothing to wait on.
	pollEvery = 5 * time.Millisecond
)

// ErrExited says that the process ended before it said what was waited for.
var ErrExited = errors.New("the process has ended")

// Options says what to run.
type Options struct {
	// Path is the program, as Build returns it.
	Path string
	// Args are the arguments without the program's name.
	Args []string
	// Env is added to the environment of the test, as name=value.
	Env []string
	// Dir is the working folder; empty is the test's.
	Dir string
	// Ready is waited for before Start returns, in what the process writes to
	// stdout or stderr. Without it Start returns as soon as the process runs.
	Ready *regexp.Regexp
	// ReadyTimeout bounds that wait; 30 s unless set.
	ReadyTimeout time.Duration
	// StopTimeout is how long Stop waits before it kills; 30 s unless set.
	StopTimeout time.Duration
	// OutputLimit is how many bytes of the newest output are kept; 1 MiB
	// unless set.
	OutputLimit int
}

// Process is a running program. Its methods may be called from any goroutine.
type Process struct {
	cmd         *exec.Cmd
	out         *output
	ready       []string
	stopTimeout time.Duration
	done        chan struct{}
}

// Start runs the program and waits until it is ready. It fails the test with
// the program's output when it ends before that or takes too long. At the end
// of the test the process is killed, and its output is logged if the test
// failed.
func Start(t testing.TB, o Options) *Process {
	t.Helper()
	p, err := start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Errorf("end of the test: %v", err)
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", o.Path, p)
		}
	})
	return p
}

func start(ctx context.Context, o Options) (*Process, error) {
	out := newOutput(withDefault(o.OutputLimit, defaultOutputLimit))
	stdout, stderr := &stream{out: out}, &stream{out: out}
	// The process is ended by Stop, Kill or the test's cleanup, not by a
	// context: a context's end would be a third, unordered way.
	cmd := exec.Command(o.Path, o.Args...) //nolint:gosec,noctx // a test names the program it runs, and ends it itself
	cmd.Dir = o.Dir
	cmd.Env = append(os.Environ(), o.Env...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = pipeDelay
	cmd.SysProcAttr = endsWithTest()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("testproc: start %s: %w", o.Path, err)
	}
	p := &Process{
		cmd: cmd, out: out, done: make(chan struct{}),
		stopTimeout: withDefault(o.StopTimeout, defaultStopTimeout),
	}
	go func() {
		defer close(p.done)
		// What it returns is read from cmd.ProcessState; an exit status is no
		// error here, and neither is a pipe that a child still held.
		_ = cmd.Wait()
		stdout.flush()
		stderr.flush()
	}()
	if o.Ready == nil {
		return p, nil
	}
	ctx, cancel := context.WithTimeout(ctx, withDefault(o.ReadyTimeout, defaultReadyTimeout))
	defer cancel()
	match, err := p.WaitFor(ctx, o.Ready)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("testproc: %s is not ready: %w; its output:\n%s", o.Path, err, p), p.Kill())
	}
	p.ready = match
	return p, nil
}

func withDefault[T int | time.Duration](given, otherwise T) T {
	if given <= 0 {
		return otherwise
	}
	return given
}

// ReadyMatch is what Options.Ready matched, with its groups: an address that
// the program picked, for example. Empty without Options.Ready.
func (p *Process) ReadyMatch() []string { return slices.Clone(p.ready) }

// PID is the process's ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// String is the newest output, whole lines of stdout and stderr in the order
// in which they came.
func (p *Process) String() string { return p.out.String() }

// Done is closed when the process has ended and its output is complete.
func (p *Process) Done() <-chan struct{} { return p.done }

// WaitFor waits until the expression matches in the output, counting what was
// said before the call as far as it is kept, and returns the match with its
// groups. Use (?m) for anchors: what is searched is several lines. The error
// is ErrExited, or the context's.
func (p *Process) WaitFor(ctx context.Context, re *regexp.Regexp) ([]string, error) {
	var from int64
	for {
		match, next, changed := p.out.find(re, from)
		if match != nil {
			return match, nil
		}
		from = next
		select {
		case <-changed:
		case <-p.done:
			if match, _, _ := p.out.find(re, from); match != nil {
				return match, nil
			}
			return nil, fmt.Errorf("waiting for %q: %w (%s)", re, ErrExited, p.cmd.ProcessState)
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %q: %w", re, context.Cause(ctx))
		}
	}
}

// Wait waits for the end of the process.
func (p *Process) Wait(ctx context.Context) (*os.ProcessState, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the end of process %d: %w", p.PID(), context.Cause(ctx))
	}
}

// Signal sends a signal to the process; one that has ended is left alone.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s to process %d: %w", sig, p.PID(), err)
	}
	return nil
}

// Stop sends SIGTERM and waits for the end. A process that outlives
// Options.StopTimeout is killed, and Stop says so. A paused process does not
// see the signal before Resume.
func (p *Process) Stop() (*os.ProcessState, error) {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return nil, err
	}
	if err := p.endsWithin(p.stopTimeout); err != nil {
		return nil, errors.Join(fmt.Errorf("not stopped by SIGTERM: %w", err), p.Kill())
	}
	return p.cmd.ProcessState, nil
}

func (p *Process) endsWithin(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("process %d still runs after %s: %w", p.PID(), limit, os.ErrDeadlineExceeded)
	}
}

// Kill sends SIGKILL and waits for the end. On a process that has ended it
// does nothing.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	return p.endsWithin(killTimeout)
}

// Pause sends SIGSTOP and, where the system tells (Linux), waits until the
// process stands still.
func (p *Process) Pause() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	return poll(ctx, func() error {
		select {
		case <-p.done:
			return fmt.Errorf("pause process %d: %w", p.PID(), ErrExited)
		default:
			return standsStill(p.PID())
		}
	}, ErrExited)
}

// Resume sends SIGCONT.
func (p *Process) Resume() error { return p.Signal(syscall.SIGCONT) }

// poll asks until the answer is nil or is the one that ends the matter, and
// returns the last answer when the context ends first.
func poll(ctx context.Context, ask func() error, final error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil || errors.Is(err, final) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: last answer: %w", context.Cause(ctx), err)
		}
	}
}
