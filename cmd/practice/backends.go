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
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/practice/backends"
)

const backendsUsage = `practice backends: backends of one's own to practise against, of five shapes

Usage:
  practice backends [flags]

It serves, on loopback and in memory: password (a token with a life, and a login),
bearer (with a refresh token that works once), header and cookie (sliding
sessions) and graphql. The user alice with the password practice-password can log
in to each. The configuration with which refreshd speaks to them goes to stdout,
behind the line that says where they answer, or to the file --config.

Example:
  practice backends --config shapes.yaml &
  refreshd serve --config shapes.yaml &
  echo practice-password | refreshd put cookie:alice --provider cookie --username alice
  refreshd list

Flags:
`

const (
	// leastIdle leaves an extension enough time.
	leastIdle = time.Minute
	// leastLife is what a refresh needs.
	leastLife = 5 * time.Second
	// stopWait bounds how long calls under way are waited for.
	stopWait = 5 * time.Second
)

// backendsOptions are the flags of practice backends.
type backendsOptions struct {
	listen, config string
	life, idle     time.Duration
}

// runBackends serves until ctx ends and returns the exit code.
func runBackends(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opts, err := parseBackends(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		complain(stderr, fmt.Errorf("%w\nSee practice backends --help", err))
		return exitUsage
	}
	if err := serveBackends(ctx, opts, stdout, stderr); err != nil {
		complain(stderr, err)
		return exitFailure
	}
	return exitOK
}

func parseBackends(args []string, stdout io.Writer) (backendsOptions, error) {
	var o backendsOptions
	fs := flag.NewFlagSet("practice backends", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // the caller prints the error
	fs.Usage = func() {}
	fs.StringVar(&o.listen, "listen", "127.0.0.1:0", "`address` to listen on; port 0 takes a free one")
	fs.StringVar(&o.config, "config", "", "`file` to write refreshd's configuration to; one that was written by practice before is replaced")
	fs.DurationVar(&o.life, "life", time.Minute, "life of an access token of password and bearer")
	fs.DurationVar(&o.idle, "idle", 3*time.Minute, "after how long unused a session of header, cookie and graphql ends")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = fmt.Fprint(stdout, backendsUsage) // a reader that has gone needs no help
			fs.SetOutput(stdout)
			fs.PrintDefaults()
		}
		return o, err
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; practice backends takes flags only", fs.Arg(0))
	case o.life < leastLife:
		return o, fmt.Errorf("--life is %s; allowed are %s and more", o.life, leastLife)
	case o.idle < leastIdle:
		return o, fmt.Errorf("--idle is %s; allowed are %s and more", o.idle, leastIdle)
	}
	return o, nil
}

func serveBackends(ctx context.Context, o backendsOptions, stdout, stderr io.Writer) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	base := "http://" + ln.Addr().String()
	if err := announceBackends(o, base, stdout, stderr); err != nil {
		return errors.Join(err, ln.Close())
	}
	server := &http.Server{Handler: backends.Shapes(o.life, o.idle), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	if err = server.Shutdown(stop); err != nil {
		err = errors.Join(err, server.Close())
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// announceBackends tells where they answer and how refreshd gets there. The
// kernel queues connections from the listening on.
func announceBackends(o backendsOptions, base string, stdout, stderr io.Writer) error {
	text := backends.ShapesConfig(base, o.idle)
	if o.config == "" {
		_, err := fmt.Fprintf(stdout, "practice: listening on %s\n%s", base, text)
		return err
	}
	if err := writeConfig(o.config, text); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "practice: listening on %s\n", base); err != nil {
		return err
	}
	_, err := fmt.Fprintf(stderr, "practice: wrote %s; start refreshd serve --config %s, and log in as %s with %s\n",
		o.config, o.config, backends.ShapesUser, backends.ShapesPassword)
	return err
}

// writeConfig writes a file, unless one is there that is somebody's own.
func writeConfig(path, text string) error {
	switch before, err := os.ReadFile(path); { //nolint:gosec // whoever runs the program names the file
	case err == nil && !strings.HasPrefix(string(before), backends.ShapesMark):
		return fmt.Errorf("%s is there and was not written by practice; give --config another name", path)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}
