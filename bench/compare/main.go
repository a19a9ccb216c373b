package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/bench/internal/rig"
)

const usage = `compare: refreshes per second of a plain loop (L), an ordinary asynq worker (N)
and refreshd, against a practice provider on this machine

Usage:
  go run ./bench/compare [flags]

With the defaults it takes less than two minutes on two cores. It needs
redis-server on PATH, and uses loopback and one temporary folder only.

Examples:
  go run ./bench/compare
  go run ./bench/compare --pairs 1 --profile /tmp && go tool pprof -top /tmp/refreshd-03.pprof

Flags:
`

// maxLimit is the largest limits.concurrency that refreshd's configuration takes.
const maxLimit = 10_000

// defaultLimit keeps both cores busy: with fewer in the air they wait for the
// disk, with more they look after idle connections.
const defaultLimit = 1_000

// settings are the flags.
type settings struct {
	pairs, n           int
	concurrency, limit int
	out, profile       string
}

func main() {
	var s settings
	flag.IntVar(&s.pairs, "pairs", 5, "how often each is run, in turns")
	flag.IntVar(&s.n, "n", 10_000, "refreshes per run")
	flag.IntVar(&s.concurrency, "concurrency", 64, "calls in the air of the loop and of the asynq worker")
	flag.IntVar(&s.limit, "limit", defaultLimit, "refreshd's limits.concurrency")
	flag.StringVar(&s.out, "out", "text", "text or json")
	flag.StringVar(&s.profile, "profile", "", "`folder` for CPU profiles of refreshd; profiling slows it down a little")
	flag.Usage = func() {
		_, _ = fmt.Fprint(flag.CommandLine.Output(), usage) // a reader that has gone needs no help
		flag.PrintDefaults()
	}
	flag.Parse()
	err := s.check()
	if flag.NArg() > 0 {
		err = errors.Join(err, fmt.Errorf("unexpected argument %q; it takes flags only", flag.Arg(0)))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "compare: %v\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, s)
	if ctx.Err() != nil {
		err = errors.New("interrupted; the programs were stopped and the folder removed")
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "compare: %v\n", err)
		os.Exit(1)
	}
}

func (s settings) check() error {
	var errs []error
	if s.pairs < 1 || s.pairs > 100 {
		errs = append(errs, fmt.Errorf("--pairs is %d; allowed: 1 to 100", s.pairs))
	}
	if s.n < 100 || s.n > 500_000 {
		errs = append(errs, fmt.Errorf("--n is %d; allowed: 100 to 500000", s.n))
	}
	if s.concurrency < 1 || s.concurrency > 1000 {
		errs = append(errs, fmt.Errorf("--concurrency is %d; allowed: 1 to 1000", s.concurrency))
	}
	if s.limit < 1 || s.limit > maxLimit {
		errs = append(errs, fmt.Errorf("--limit is %d; allowed: 1 to %d", s.limit, maxLimit))
	}
	if s.out != "text" && s.out != "json" {
		errs = append(errs, fmt.Errorf("--out is %q; allowed: text, json", s.out))
	}
	return errors.Join(errs...)
}

func run(ctx context.Context, s settings) (err error) {
	began := time.Now()
	host, err := rig.ThisMachine(ctx)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "bench-") // short: a unix socket's path ends at 107 bytes
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	b := &bench{folder: folder, n: s.n, concurrency: s.concurrency, limit: s.limit}
	if s.profile != "" {
		if b.profile, err = filepath.Abs(s.profile); err != nil {
			return err
		}
	}
	say("building")
	if b.bin, err = build(ctx, folder); err != nil {
		return err
	}
	defer b.close()
	if err := b.startProvider(ctx); err != nil {
		return err
	}
	var pairs []pair
	for i := range s.pairs {
		p, err := b.pair(ctx)
		if err != nil {
			return err
		}
		say(fmt.Sprintf("pair %d of %d: L %.0f/s, N %.0f/s, refreshd %.0f/s", i+1, s.pairs, p.Loop, p.Asynq, p.Refreshd))
		pairs = append(pairs, p)
	}
	say("took " + time.Since(began).Round(time.Second).String())
	found := newReport(host, s.n, pairs)
	if s.out == "json" {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(found)
	}
	_, err = fmt.Print(found.table())
	return err
}

// say tells how far it is; the result alone goes to the standard output.
func say(text string) { fmt.Fprintln(os.Stderr, "compare: "+text) }
