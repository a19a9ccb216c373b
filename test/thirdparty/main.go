package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const (
	headerTimeout   = 10 * time.Second
	shutdownTimeout = 10 * time.Second
	// minAccessTTL is the shortest life of which the library, which rounds to
	// seconds and then cuts off, still makes an expires_in above zero.
	minAccessTTL = 2 * time.Second
)

const usage = `thirdparty runs an authorization server composed of github.com/ory/fosite.

  thirdparty --listen 127.0.0.1:0 --client app:s3cret --users 200 --access-ttl 20s

It says "thirdparty: listening on http://HOST:PORT" on stdout when it is ready,
and ends on SIGTERM or SIGINT. The users are user-1 to user-N, and the password
of user-1 is password-of-user-1.

`

// options are the flags.
type options struct {
	listen    string
	accessTTL time.Duration
	clients   map[string]string
	redirect  string
	users     int
	inside    int
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
		_, _ = fmt.Fprintln(stderr, "thirdparty:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx, o, stdout); err != nil {
		_, _ = fmt.Fprintln(stderr, "thirdparty:", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{clients: map[string]string{}}
	f := flag.NewFlagSet("thirdparty", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		_, _ = io.WriteString(stderr, usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `address` to listen on; port 0 picks a free one")
	f.DurationVar(&o.accessTTL, "access-ttl", 20*time.Second, "`life` of an access token, at least 2s")
	f.Func("client", "`id:secret` of a client, both form-encoded (a colon is %3A, a percent sign %25); may be given again", func(v string) error {
		return addClient(o.clients, v)
	})
	f.StringVar(&o.redirect, "redirect-uri", "http://127.0.0.1/callback", "redirect `URI` of all clients; on a loopback IP any port will do")
	f.IntVar(&o.users, "users", 1, "`number` of users")
	f.IntVar(&o.inside, "inside", 0, "how `many` requests may be inside the library at once; 0 is no limit, 1 makes its rotation atomic")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case len(o.clients) == 0:
		return o, errors.New("no --client given")
	case o.accessTTL < minAccessTTL:
		return o, fmt.Errorf("--access-ttl is %s, want at least %s", o.accessTTL, minAccessTTL)
	case o.users < 0 || o.inside < 0:
		return o, fmt.Errorf("--users is %d and --inside is %d, want 0 or more", o.users, o.inside)
	}
	return o, nil
}

// addClient takes what would stand before base64 in a Basic header (RFC 6749,
// section 2.3.1), so that an ID may hold a colon.
func addClient(clients map[string]string, v string) error {
	encodedID, encodedSecret, ok := strings.Cut(v, ":")
	id, idErr := url.QueryUnescape(encodedID)
	secret, secretErr := url.QueryUnescape(encodedSecret)
	if !ok || idErr != nil || secretErr != nil || id == "" || secret == "" {
		return errors.New("want id:secret, both form-encoded")
	}
	clients[id] = secret
	return nil
}

func serve(ctx context.Context, o options, stdout io.Writer) error {
	l, err := listenLoopback(ctx, o.listen)
	if err != nil {
		return err
	}
	base := "http://" + l.Addr().String()
	s, err := newServer(ctx, o, base)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	srv := &http.Server{Handler: s.routes(), ReadHeaderTimeout: headerTimeout}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	if _, err := fmt.Fprintln(stdout, "thirdparty: listening on", base); err != nil {
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

func listenLoopback(ctx context.Context, address string) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	if !tcp.IP.IsLoopback() {
		return nil, fmt.Errorf("--listen is %s, want a loopback address: this server is for tests", address)
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", tcp.String())
}
