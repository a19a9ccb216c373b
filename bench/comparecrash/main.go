package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/bench/internal/rig"
	"github.com/refreshd/refreshd/internal/practice"
)

const usage = `comparecrash: what a kill -9 amid refreshes costs, with refreshd and with a plain
worker on asynq and golang.org/x/oauth2, against a practice provider on this machine

Usage:
  go run ./bench/comparecrash [flags]

Both scenarios take about nine minutes with the defaults. It needs redis-server
on PATH, and uses loopback and one temporary folder only. The table goes to the
standard output, everything else to the standard error.

Examples:
  go run ./bench/comparecrash
  go run ./bench/comparecrash --scenario kill --rounds 1 --provider grace
  go run ./bench/comparecrash --scenario slow --lock-ttl 10s,45s

Flags:
`

// The scenarios.
const (
	scenarioKill = "kill"
	scenarioSlow = "slow"
)

const (
	// slowLatency is longer than the plain worker's lock lasts by default, and
	// well within the timeouts of both.
	slowLatency = 12 * time.Second
	maxLatency  = 15 * time.Second
	// mostCredentials is half of the largest limits.concurrency that refreshd's
	// configuration takes.
	mostCredentials = 5_000
)

// settings are the flags.
type settings struct {
	credentials, rounds int
	providers           []practice.Reuse
	scenarios           []string
	locks               []time.Duration
	latency             time.Duration
	slowLatency         time.Duration
	seed                uint64
}

// raw are the flags that are lists.
type raw struct{ providers, scenarios, locks string }

func main() {
	var s settings
	var r raw
	flag.IntVar(&s.credentials, "credentials", 1000, "how many are in the air at once")
	flag.IntVar(&s.rounds, "rounds", 3, "how often each run is made, each with a seed of its own")
	flag.StringVar(&r.providers, "provider", "strict,grace", "`which` providers: strict revokes the family when a spent token comes back, grace takes it for 30 s")
	flag.StringVar(&r.scenarios, "scenario", scenarioKill+","+scenarioSlow, "`which`: kill, slow (a provider that takes longer than the plain worker's lock lasts)")
	flag.StringVar(&r.locks, "lock-ttl", "10s", "life of the plain worker's lock; several `durations` make several columns")
	flag.DurationVar(&s.latency, "latency", time.Second, "of the provider in the scenario kill; single answers take from half to one and a half of it")
	flag.DurationVar(&s.slowLatency, "slow-latency", slowLatency, "of the provider in the scenario slow")
	flag.Uint64Var(&s.seed, "seed", 1, "of the first round: the moment of the kill, and how long which answer takes")
	flag.Usage = func() {
		_, _ = fmt.Fprint(flag.CommandLine.Output(), usage) // a reader that has gone needs no help
		flag.PrintDefaults()
	}
	flag.Parse()
	err := errors.Join(s.read(r), s.check())
	if flag.NArg() > 0 {
		err = errors.Join(err, fmt.Errorf("unexpected argument %q; it takes flags only", flag.Arg(0)))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "comparecrash: %v\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, s)
	if ctx.Err() != nil {
		err = errors.New("interrupted; the programs were killed and the folder removed")
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "comparecrash: %v\n", err)
		os.Exit(1)
	}
}

// read fills in the lists.
func (s *settings) read(r raw) error {
	var errs []error
	for name := range strings.SplitSeq(r.providers, ",") {
		if name != string(practice.ReuseStrict) && name != string(practice.ReuseGrace) {
			errs = append(errs, fmt.Errorf("--provider has %q; allowed: strict, grace", name))
		}
		s.providers = append(s.providers, practice.Reuse(name))
	}
	for name := range strings.SplitSeq(r.scenarios, ",") {
		if name != scenarioKill && name != scenarioSlow {
			errs = append(errs, fmt.Errorf("--scenario has %q; allowed: kill, slow", name))
		}
		s.scenarios = append(s.scenarios, name)
	}
	for text := range strings.SplitSeq(r.locks, ",") {
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Second {
			errs = append(errs, fmt.Errorf("--lock-ttl has %q; allowed: 1s and above", text))
		}
		s.locks = append(s.locks, d)
	}
	return errors.Join(errs...)
}

func (s *settings) check() error {
	var errs []error
	if s.credentials < 10 || s.credentials > mostCredentials {
		errs = append(errs, fmt.Errorf("--credentials is %d; allowed: 10 to %d", s.credentials, mostCredentials))
	}
	if s.rounds < 1 || s.rounds > 100 {
		errs = append(errs, fmt.Errorf("--rounds is %d; allowed: 1 to 100", s.rounds))
	}
	for name, d := range map[string]time.Duration{"--latency": s.latency, "--slow-latency": s.slowLatency} {
		if d < time.Millisecond || d > maxLatency {
			errs = append(errs, fmt.Errorf("%s is %s; allowed: 1ms to %s", name, d, maxLatency))
		}
	}
	return errors.Join(errs...)
}

// contender is a subject under its name in the table.
type contender struct {
	name string
	make func(s site, bin programs, reuse practice.Reuse) (subject, error)
}

func (s *settings) contenders() []contender {
	var all []contender
	for _, ttl := range s.locks {
		all = append(all, plainContender(ttl))
	}
	return append(all, refreshdContender())
}

func plainContender(ttl time.Duration) contender {
	return contender{"plain, lock " + ttl.String(), func(s site, bin programs, _ practice.Reuse) (subject, error) {
		return newPlain(s, bin.plainWorker, ttl), nil
	}}
}

func refreshdContender() contender {
	return contender{"refreshd", func(s site, bin programs, reuse practice.Reuse) (subject, error) {
		granted := time.Duration(0)
		if reuse == practice.ReuseGrace {
			granted = grace
		}
		return newService(s, bin.refreshd, granted)
	}}
}

func run(ctx context.Context, s settings) (err error) {
	began := time.Now()
	host, err := rig.ThisMachine(ctx)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "crash-") // short: a unix socket's path ends at 107 bytes
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	say("building")
	bin, err := build(ctx, folder)
	if err != nil {
		return err
	}
	var out strings.Builder
	out.WriteString(heading(host, s))
	for _, scenario := range s.scenarios {
		columns, err := s.rounded(ctx, scenario, bin, folder)
		if err != nil {
			return err
		}
		out.WriteString("\n" + s.title(scenario) + "\n\n" + table(scenario, columns))
	}
	out.WriteString(notes)
	say("took " + time.Since(began).Round(time.Second).String())
	_, err = fmt.Print(out.String())
	return err
}

// rounded makes all rounds of a scenario; the contenders take turns.
func (s *settings) rounded(ctx context.Context, scenario string, bin programs, folder string) ([]column, error) {
	var columns []column
	for _, reuse := range s.providers {
		for _, c := range s.contenders() {
			columns = append(columns, column{head: providerTitle(reuse), under: c.name})
		}
	}
	for round := range s.rounds {
		n := 0
		for _, reuse := range s.providers {
			for _, c := range s.contenders() {
				p := plan{
					scenario: scenario, contender: c, reuse: reuse, credentials: s.credentials,
					latency: s.latency, quiet: quiet, seed: s.seed + uint64(round),
				}
				if scenario == scenarioSlow {
					p.latency = s.slowLatency
				}
				in := filepath.Join(folder, fmt.Sprintf("%s-%d-%d", scenario, round, n))
				got, err := p.carryOut(ctx, bin, in)
				if err != nil {
					return nil, fmt.Errorf("%s, %s, %s: %w", scenario, reuse, c.name, err)
				}
				say(fmt.Sprintf("%s, round %d of %d, %s, %s: %d in the air, %d lost, at rest after %.1f s",
					scenario, round+1, s.rounds, reuse, c.name, got.InAir, got.Lost, got.Rest))
				columns[n].rounds = append(columns[n].rounds, got)
				n++
				if err := os.RemoveAll(in); err != nil {
					return nil, err
				}
			}
		}
	}
	return columns, nil
}

func providerTitle(reuse practice.Reuse) string {
	if reuse == practice.ReuseGrace {
		return "grace " + grace.String()
	}
	return string(reuse)
}

func heading(m rig.Machine, s settings) string {
	return fmt.Sprintf("%d cores, %.1f GiB of memory, %s, Redis %s (everysec); asynq %s, x/oauth2 %s\n%s rounds of each (seed %d and up): median, and least to most where they differ\n",
		m.Cores, m.MemoryGiB, m.Go, m.Redis, moduleVersion("github.com/hibiken/asynq"), moduleVersion("golang.org/x/oauth2"), fmt.Sprint(s.rounds), s.seed)
}

func (s *settings) title(scenario string) string {
	if scenario == scenarioSlow {
		return fmt.Sprintf("slow: two processes, nobody is killed, the provider answers after %s", s.slowLatency)
	}
	return fmt.Sprintf("kill: two processes, both killed with SIGKILL amid their refreshes and started again; the provider answers after %s to %s", s.latency/2, s.latency*3/2)
}

const notes = `
All counts but the last two are those of the provider's ledger, and of its answer
to the access token that each subject holds in the end. An answer counts as
delivered when the kernel of the subject's side has taken it and did not throw it
away; one that was given shortly before the kill may have died in the process.
The provider rotates before its delay for one half of the requests, after it for
the other half. refreshd runs with limits.concurrency at twice the number of
credentials and without jitter, so that all are in the air together; both of its
processes use one data_dir. Each process of the plain worker has as many tasks at a
time as there are credentials, so that one alone could carry all of them.
`

// say tells how far it is; the result alone goes to the standard output.
func say(text string) { fmt.Fprintln(os.Stderr, "comparecrash: "+text) }
