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

	"github.com/refreshd/refreshd/test/oracle"
)

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
	api     *client // nil while it is not ready
	owner   string
	rules   []string
	kills   []oracle.Kill
	starts  int
	trouble []string
}

func (r *replica) name() string { return laneReplica(r.n) }

func (r *replica) file(name string) string { return filepath.Join(r.dir, name) }

// reach returns who to ask, nil while nobody answers.
func (r *replica) reach() (api *client, owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.api, r.owner
}

// arm writes the rules that the process goes by. A rename replaces them as a
// whole.
func (r *replica) arm() error {
	text := strings.Join(r.rules, "\n") + "\n"
	if err := os.WriteFile(r.file("rules.new"), []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(r.file("rules.new"), r.file("rules"))
}

func (r *replica) addRule(rule string) error {
	r.rules = append(r.rules, rule)
	return r.arm()
}

func (r *replica) dropRule(rule string) error {
	r.rules = slices.DeleteFunc(r.rules, func(s string) bool { return s == rule })
	return r.arm()
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

// shot reports whether a rule killed the process with that ID: one that was
// taken away in the same moment may still have acted.
func (r *replica) shot(pid int) bool {
	data, err := os.ReadFile(r.file("fired"))
	return err == nil && strings.Contains(string(data), fmt.Sprintf(" kill %d\n", pid))
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
		r.rules = slices.DeleteFunc(r.rules, func(s string) bool { return strings.Contains(s, "=kill") })
		if err := r.arm(); err != nil {
			return err
		}
		pass(ctx, stepLength)
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
		words := p.died()
		r.died(time.Now())
		if words != "" {
			r.complain("%s: %s", r.name(), words)
		}
		return errors.Join(err, p.kill())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	r.api = &client{base: "http://" + match[1], key: r.key(), http: &http.Client{Transport: transport, Timeout: 5 * time.Second}}
	r.owner = match[3]
	return nil
}

// died notes the end of a process that had no time for anything.
func (r *replica) died(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kills = append(r.kills, oracle.Kill{Owner: r.owner, At: at})
	r.away()
}

// away forgets how to reach the process. The caller holds mu.
func (r *replica) away() {
	if r.api != nil {
		r.api.http.CloseIdleConnections()
		r.api = nil
	}
}

func (r *replica) complain(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble = append(r.trouble, fmt.Sprintf(format, args...))
}

// kill kills the process.
func (r *replica) kill() error {
	r.died(time.Now())
	err := r.proc.kill()
	r.died(time.Now()) // it may have lived until now
	return err
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
	r.died(time.Now())
	if words := r.proc.died(); words != "" {
		r.complain("%s died of itself: %s", r.name(), words)
	} else if !expected && !r.shot(r.proc.cmd.Process.Pid) {
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
