// Command practice runs a practice provider: an OAuth 2.0 authorization server
// for demonstrations, tests and benchmarks, which misbehaves on demand and
// keeps a ledger of every refresh token that was presented. It keeps everything
// in memory and is no part of a production image.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/internal/practice"
)

const usage = `practice: an OAuth 2.0 provider to practise against

Usage:
  practice [flags]
  practice demo [flags]        watch refreshd at work, see practice demo --help
  practice backends [flags]    backends with a login of their own, see practice backends --help

It prints one line to stdout as soon as it answers:
  practice: listening on http://127.0.0.1:PORT

Example, with the client demo and its secret demo-secret:
  practice --listen 127.0.0.1:7421 --access-ttl 20s &
  curl -d '{"count":1}' http://127.0.0.1:7421/admin/grants
  curl -u demo:demo-secret -d grant_type=refresh_token -d refresh_token=rt_... \
       http://127.0.0.1:7421/token
  curl -d '{"kind":"status","status":503,"for":"30s"}' http://127.0.0.1:7421/admin/faults
  curl http://127.0.0.1:7421/admin/ledger/summary

Flags:
`

// Exit codes, as those of refreshd.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run serves until ctx ends and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "demo" {
		return runDemo(ctx, args[1:], stdout, stderr)
	}
	if len(args) > 0 && args[0] == "backends" {
		return runBackends(ctx, args[1:], stdout, stderr)
	}
	listen, opts, err := parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		complain(stderr, fmt.Errorf("%w\nSee practice --help", err))
		return exitUsage
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		complain(stderr, err)
		return exitFailure
	}
	server := practice.New(opts)
	// The kernel queues connections from here on, so the line may come first.
	if _, err := fmt.Fprintf(stdout, "practice: listening on http://%s\n", ln.Addr()); err != nil {
		complain(stderr, errors.Join(err, ln.Close()))
		return exitFailure
	}
	if err := server.Serve(ctx, ln); err != nil {
		complain(stderr, err)
		return exitFailure
	}
	return exitOK
}

// complain tells a person; there is nobody to tell that it failed.
func complain(stderr io.Writer, err error) {
	_, _ = fmt.Fprintf(stderr, "practice: %v\n", err)
}

// parse reads the flags; help goes to stdout where it is asked for. The error
// is meant for a person.
func parse(args []string, stdout io.Writer) (listen string, opts practice.Options, err error) {
	fs := flag.NewFlagSet("practice", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // the caller prints the error
	fs.Usage = func() {}
	rotate, clients := true, ""
	fs.StringVar(&listen, "listen", "127.0.0.1:0", "`address` to listen on; port 0 takes a free one")
	fs.DurationVar(&opts.AccessTTL, "access-ttl", 20*time.Second, "life of an access token; 0 is 20s")
	fs.BoolVar(&rotate, "rotate", true, "a refresh spends the refresh token and issues another")
	fs.StringVar((*string)(&opts.Reuse), "reuse", string(practice.ReuseStrict), "`policy` when a spent refresh token comes back: strict (the family dies), grace, off (refused, no more)")
	fs.DurationVar(&opts.Grace, "grace", 10*time.Second, "how long a spent refresh token works with --reuse grace; 0 is 10s")
	fs.DurationVar(&opts.RefreshTTL, "refresh-ttl", 0, "life of a refresh token; 0 is for ever")
	fs.StringVar(&clients, "clients", "demo:demo-secret", "`id:secret[,id:secret]` of the clients")
	fs.StringVar((*string)(&opts.ClientAuth), "client-auth", string(practice.ClientAuthAny), "`way` in which clients authenticate: basic, post, none, any")
	fs.DurationVar(&opts.Latency, "latency", 0, "added to every token call")
	fs.BoolVar(&opts.RotateBeforeLatency, "rotate-before-latency", false, "rotate first and add the latency then")
	fs.StringVar((*string)(&opts.ExpiresIn), "expires-in", string(practice.ExpiresInNormal), "`form` in which a reply tells the life: normal, missing, string")
	fs.StringVar(&opts.AdminKey, "admin-key", "", "bearer `token` for /admin; none leaves it open")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = fmt.Fprint(stdout, usage) // a reader that has gone needs no help
			fs.SetOutput(stdout)
			fs.PrintDefaults()
		}
		return "", practice.Options{}, err
	}
	if fs.NArg() > 0 {
		return "", practice.Options{}, fmt.Errorf("unexpected argument %q; practice takes flags only", fs.Arg(0))
	}
	opts.NoRotate = !rotate
	if opts.Clients, err = practice.ParseClients(clients); err != nil {
		return "", practice.Options{}, fmt.Errorf("--clients: %w", err)
	}
	return listen, opts, opts.Validate()
}
