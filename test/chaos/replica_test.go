package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/test/harness"
	"github.com/refreshd/refreshd/test/oracle"
)

// How long a journal may wait, after its disk takes writes again, until it tries one:
// nothing that came before is on that disk until then.
const (
	firstHeal = 2 * time.Second  // where one write has failed
	healPause = 10 * time.Second // where many have
)

// span is from one moment to another, which may still be to come.
type span struct{ from, to time.Time }

// startLimit bounds one start of a replica, startsLimit a whole row of them
// while Redis is away.
const (
	startLimit  = 45 * time.Second
	startsLimit = 120 * time.Second
)

// replica is one of the services.
type replica struct {
	n       int
	program string
	dir     string // configuration, log, rules
	data    string // data_dir
	disk    string // the mount that data is on; "" where it has none of its own
	log     *os.File
	toRedis *link
	ways    map[string]*link // to each provider
	key     func() string

	mu      sync.Mutex
	proc    *process
	api     *harness.API // nil while it is not ready
	stream  *harness.API // the same, for what takes its time
	owner   string
	kills   []oracle.Kill
	starts  int
	trouble []string
	slow    time.Duration // for which a record's way to the disk is held up
	shut    span          // in which no record gets there at all

	ruled sync.Mutex // held while the file of rules is written
	rules []string
}

func (r *replica) name() string { return laneReplica(r.n) }

func (r *replica) file(name string) string { return filepath.Join(r.dir, name) }

// reach returns who to ask, nil while nobody answers, and the name of its run.
func (r *replica) reach() (api *harness.API, run string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.api, r.name() + " " + r.owner
}

// streams returns whose events to follow, nil while nobody answers.
func (r *replica) streams() *harness.API {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stream
}

// rule changes the rules that the process goes by. A rename replaces them as a
// whole.
func (r *replica) rule(change func(rules []string) []string) error {
	r.ruled.Lock()
	defer r.ruled.Unlock()
	r.rules = change(r.rules)
	text := strings.Join(r.rules, "\n") + "\n"
	if err := os.WriteFile(r.file("rules.new"), []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(r.file("rules.new"), r.file("rules"))
}

func (r *replica) addRule(rule string) error {
	return r.rule(func(rules []string) []string { return append(rules, rule) })
}

// dropRules takes the rules away that have a text in them.
func (r *replica) dropRules(text string) error {
	return r.rule(func(rules []string) []string {
		return slices.DeleteFunc(rules, func(s string) bool { return strings.Contains(s, text) })
	})
}

// fired reports how often a rule's point has acted.
func (r *replica) fired(rule string) int {
	point, _, _ := strings.Cut(rule, "=")
	data, err := os.ReadFile(r.file("fired"))
	if err != nil {
		return 0
	}
	count := 0
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, point+" ") {
			count++
		}
	}
	return count
}

// shot reports whether a rule killed the process with that ID, and when: one
// that was taken away in the same moment may still have acted. The process
// writes the last line of the file right before it dies.
func (r *replica) shot(pid int) (at time.Time, ok bool) {
	data, err := os.ReadFile(r.file("fired"))
	if err != nil || !strings.Contains(string(data), fmt.Sprintf(" kill %d\n", pid)) {
		return time.Time{}, false
	}
	info, err := os.Stat(r.file("fired"))
	if err != nil {
		return time.Time{}, false
	}
	return info.ModTime(), true
}

// start starts the process and waits until it is ready. One that ends before,
// because Redis is away or a rule killed it, is started again without that
// rule.
func (r *replica) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startsLimit)
	defer cancel()
	for {
		err := r.startOnce(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s does not start: %w", r.name(), err)
		}
		if !errors.Is(err, errEndedEarly) {
			return err
		}
		if err := r.dropRules("=kill"); err != nil {
			return err
		}
		harness.Pass(ctx, stepLength)
	}
}

func (r *replica) startOnce(ctx context.Context) error {
	p, err := run(r.program, []string{"serve", "--config", r.file("config.yaml")}, []string{
		"REFRESHD_FAILPOINTS_FILE=" + r.file("rules"), "REFRESHD_FAILPOINTS_LOG=" + r.file("fired"), "GOMEMLIMIT=256MiB",
	}, r.log)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.proc = p
	r.starts++
	r.mu.Unlock()
	match, err := p.awaitReady(ctx, startLimit)
	if err != nil {
		err = errors.Join(err, p.kill())
		r.gone(p)
		if words := p.died(); words != "" {
			r.complain("%s: %s", r.name(), words)
		}
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	r.api = &harness.API{Base: "http://" + match[1], Key: r.key(), HTTP: &http.Client{Transport: transport, Timeout: callLimit}}
	r.stream = &harness.API{Base: r.api.Base, Key: r.api.Key, HTTP: &http.Client{Transport: transport}}
	r.owner = match[3]
	if !r.shut.to.IsZero() {
		r.shut = span{} // its journal is another one
	}
	return nil
}

// died notes the end of a process that had no time for anything.
func (r *replica) died(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slow := r.slow
	if open := r.shut.to.IsZero() || at.Before(r.shut.to); !r.shut.from.IsZero() && open {
		slow = max(slow, at.Sub(r.shut.from))
	}
	r.kills = append(r.kills, oracle.Kill{Owner: r.name(), At: at, Slow: slow})
	r.away()
}

// gone notes the end of a process that came before anyone looked, and reports
// whether a rule killed it. On a busy machine the end is noticed long after.
func (r *replica) gone(p *process) (shot bool) {
	at, shot := r.shot(p.cmd.Process.Pid)
	if shot {
		r.died(at)
	}
	r.died(p.ended)
	return shot
}

// away forgets how to reach the process. The caller holds mu.
func (r *replica) away() {
	if r.api != nil {
		r.api.HTTP.CloseIdleConnections()
		r.api, r.stream = nil, nil
	}
}

// slowed notes for how long the journal's disk is held up.
func (r *replica) slowed(by time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slow = by
}

// unwritable notes that the journal's disk takes nothing from a moment on, writable
// from when on the journal has surely written again.
func (r *replica) unwritable(from time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shut = span{from: from}
}

func (r *replica) writable(from time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shut.to = from
}

func (r *replica) complain(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble = append(r.trouble, fmt.Sprintf(format, args...))
}

// kill kills the process.
func (r *replica) kill() error {
	r.died(time.Now())
	if err := r.proc.kill(); err != nil {
		return err
	}
	r.died(r.proc.ended) // it may have lived until then
	return nil
}

// stop ends the process in order.
func (r *replica) stop() error {
	r.mu.Lock()
	r.away()
	r.mu.Unlock()
	if err := r.proc.signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := r.proc.ends(endLimit); err != nil {
		r.complain("%s did not end within %s of SIGTERM", r.name(), endLimit)
		return r.kill()
	}
	if words := r.proc.died(); words != "" {
		r.complain("%s: %s", r.name(), words)
	}
	return nil
}

// check brings the process back if it ended by itself. expected says that a
// rule was there to end it.
func (r *replica) check(ctx context.Context, expected bool) error {
	if r.proc.running() {
		return nil
	}
	shot := r.gone(r.proc)
	if words := r.proc.died(); words != "" {
		r.complain("%s died of itself: %s", r.name(), words)
	} else if !expected && !shot {
		r.complain("%s ended by itself: %s", r.name(), r.proc.cmd.ProcessState)
	}
	return r.start(ctx)
}

// configuration is the replica's own.
func (r *replica) configure(settings map[string]any) error {
	data, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(r.file("config.yaml"), data, 0o600)
}
