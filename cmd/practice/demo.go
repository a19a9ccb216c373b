package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/internal/demo"
)

const demoUsage = `practice demo: watch refreshd keep the tokens of a practice provider fresh

Usage:
  practice demo [flags]

It starts a practice provider and refreshd on loopback, stores credentials over
the HTTP API and shows what the events tell: a table on a terminal, lines
elsewhere. Ctrl-C stops refreshd in order. Everything is in a temporary folder,
which is removed at the end.

Examples:
  practice demo
  practice demo --faults
  practice demo --credentials 200 --access-ttl 10s --for 1m | cat

Flags:
`

// runDemo runs the demo until ctx ends and returns the exit code.
func runDemo(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opts, err := parseDemo(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		complain(stderr, fmt.Errorf("%w\nSee practice demo --help", err))
		return exitUsage
	}
	// A terminal that is closed, and a reader of the output that has gone, end
	// the demo in order too: a child is to be stopped.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err := demo.Run(ctx, opts); err != nil {
		complain(stderr, err)
		return exitFailure
	}
	return exitOK
}

// parseDemo reads the flags; help goes to stdout where it is asked for. The
// error is meant for a person.
func parseDemo(args []string, stdout io.Writer) (demo.Options, error) {
	opts := demo.Options{Env: os.Environ(), Out: stdout}
	fs := flag.NewFlagSet("practice demo", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // the caller prints the error
	fs.Usage = func() {}
	fs.StringVar(&opts.Refreshd, "refreshd", "", "`path` of the refreshd program; by default the one beside this program, or on PATH")
	fs.IntVar(&opts.Credentials, "credentials", 50, "how `many` are kept fresh")
	fs.DurationVar(&opts.AccessTTL, "access-ttl", 20*time.Second, "life of an access token")
	fs.DurationVar(&opts.For, "for", 0, "how long it runs; 0 is until Ctrl-C")
	fs.BoolVar(&opts.Faults, "faults", false, "every 15 s the provider answers 503 for 3 s")
	fs.BoolVar(&opts.Keep, "keep", false, "leave the temporary folder in place")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = fmt.Fprint(stdout, demoUsage) // a reader that has gone needs no help
			fs.SetOutput(stdout)
			fs.PrintDefaults()
		}
		return demo.Options{}, err
	}
	if fs.NArg() > 0 {
		return demo.Options{}, fmt.Errorf("unexpected argument %q; practice demo takes flags only", fs.Arg(0))
	}
	var err error
	if opts.Refreshd, err = findRefreshd(opts.Refreshd); err != nil {
		return demo.Options{}, err
	}
	return opts, opts.Validate()
}

// findRefreshd returns the absolute path of the program: the child runs in
// another folder.
func findRefreshd(given string) (string, error) {
	if given == "" {
		given = "refreshd"
		if own, err := os.Executable(); err == nil {
			if beside := filepath.Join(filepath.Dir(own), given); isFile(beside) {
				given = beside
			}
		}
	}
	path, err := exec.LookPath(given)
	if err != nil {
		return "", fmt.Errorf("there is no refreshd program (%w); build it with make build, and name it with --refreshd", err)
	}
	return filepath.Abs(path)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
