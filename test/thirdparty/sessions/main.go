package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	headerTimeout   = 10 * time.Second
	shutdownTimeout = 10 * time.Second
)

const usage = `sessions runs a web app whose sessions end when they are not used.

  sessions --listen 127.0.0.1:0 --users 100 --idle 15m

It says "sessions: listening on http://HOST:PORT" on stdout when it is ready, and
ends on SIGTERM or SIGINT. The users are user-1 to user-N, and the password of
user-1 is password-of-user-1.

`

// options are the flags.
type options struct {
	listen string
	idle   time.Duration
	users  int
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "sessions:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx, o, stdout); err != nil {
		_, _ = fmt.Fprintln(stderr, "sessions:", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("sessions", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		_, _ = io.WriteString(stderr, usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `address` to listen on; port 0 picks a free one")
	f.DurationVar(&o.idle, "idle", 15*time.Minute, "`time` after which a session ends that is not used, at least 1s")
	f.IntVar(&o.users, "users", 1, "`number` of users")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.idle < time.Second:
		return o, fmt.Errorf("--idle is %s, want at least 1s", o.idle)
	case o.users < 0:
		return o, fmt.Errorf("--users is %d, want 0 or more", o.users)
	}
	return o, nil
}

func serve(ctx context.Context, o options, stdout io.Writer) error {
	tcp, err := net.ResolveTCPAddr("tcp", o.listen)
	if err != nil {
		return err
	}
	if !tcp.IP.IsLoopback() {
		return fmt.Errorf("--listen is %s, want a loopback address: this server is for tests", o.listen)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", tcp.String())
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: newApp(o).routes(), ReadHeaderTimeout: headerTimeout}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	if _, err := fmt.Fprintln(stdout, "sessions: listening on", "http://"+l.Addr().String()); err != nil {
		return errors.Join(err, srv.Close(), <-ended)
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// The signal has ended ctx; what is in the air is still answered.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err = srv.Shutdown(drain)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
