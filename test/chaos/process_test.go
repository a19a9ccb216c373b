package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// endLimit bounds the wait for a process that was told to end.
const endLimit = 40 * time.Second

var (
	readyLine   = regexp.MustCompile(`"listen":"([^"]+)","redis":"([^"]+)","owner":"([^"]+)".*"message":"ready"`)
	messageLine = regexp.MustCompile(`"level":"([^"]+)".*"message":"([^"]*)"`)
)

// process is one run of a program, whose output goes to a file.
type process struct {
	cmd   *exec.Cmd
	ready chan []string // gets the match of the ready line
	done  chan struct{} // closed when it has ended and its output is complete
	ended time.Time     // when that was; to be read after done

	mu    sync.Mutex
	said  map[string]int // warnings and errors, by message
	panic string         // the line with which it died of itself
}

// run starts a program.
func run(path string, args, env []string, log *os.File) (*process, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...) // the program under test, ended by its own PID
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = write, write
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	_ = write.Close() // ours; the process has its own
	if err != nil {
		return nil, errors.Join(err, read.Close())
	}
	p := &process{cmd: cmd, ready: make(chan []string, 1), done: make(chan struct{}), said: map[string]int{}}
	go func() {
		defer close(p.done)
		p.listen(read, log)
		p.ended = time.Now()
		_ = cmd.Wait() // what it returns is in cmd.ProcessState
	}()
	return p, nil
}

func (p *process) listen(read, log *os.File) {
	defer read.Close() //nolint:errcheck // only read from
	lines := bufio.NewScanner(read)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		line := lines.Text()
		_, _ = fmt.Fprintln(log, line) // a log that cannot be written is missed by whoever reads it
		if match := readyLine.FindStringSubmatch(line); match != nil {
			p.ready <- match
		}
		p.hear(line)
	}
}

func (p *process) hear(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") || strings.Contains(line, "DATA RACE") {
		p.panic = line
	}
	if match := messageLine.FindStringSubmatch(line); match != nil && match[1] != "info" && match[1] != "debug" {
		p.said[match[2]]++
	}
}

// died returns the words with which the process died of itself, "" if it did
// not.
func (p *process) died() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.panic
}

func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s to process %d: %w", sig, p.cmd.Process.Pid, err)
	}
	return nil
}

// kill ends the process at once and waits for the end.
func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	return p.ends(endLimit)
}

func (p *process) ends(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("process %d still runs after %s", p.cmd.Process.Pid, limit)
	}
}

// running reports whether it has not ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// errEndedEarly says that the process ended before it was ready.
var errEndedEarly = errors.New("it ended before it was ready")

// awaitReady waits for the ready line.
func (p *process) awaitReady(ctx context.Context, limit time.Duration) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case match := <-p.ready:
		return match, nil
	case <-p.done:
		select {
		case match := <-p.ready:
			return match, nil
		default:
			return nil, errEndedEarly
		}
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
