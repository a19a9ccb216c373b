package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/internal/app"
)

// garbagePercent lets the heap grow to five times what is live before it is
// collected: that is small, for what is live is the tokens served of late, and
// a refresh makes much garbage. GOGC overrides it.
const garbagePercent = 400

const serveHelp = `Run the service in the foreground.

SIGTERM or SIGINT drains: what was sent to a provider is answered and stored,
nothing new is begun. A second one ends at once, unless it is the same within a
second; the journal keeps what was received. SIGHUP loads the configuration
again; a bad file keeps the old one and says why.

    refreshd serve --config config.yaml
    refreshd serve --roles api,scheduler      # several processes share one Redis`

func (p *program) serveCommand() *cobra.Command {
	var roles []string
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the service", Long: serveHelp, Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			parsed, err := app.ParseRoles(roles)
			if err != nil {
				return usage(err)
			}
			return p.serve(cmd.Context(), parsed)
		},
	}
	cmd.Flags().StringSliceVar(&roles, "roles", []string{"api", "scheduler", "worker"}, "what this process does")
	return cmd
}

// serve runs the service until it is told to stop, and turns signals into
// what it understands.
func (p *program) serve(ctx context.Context, roles app.Roles) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	h := hearing{reload: make(chan struct{}, 1), drain: stop, end: func() {
		p.say("ending at once; the journal keeps what was received")
		os.Exit(exitFailure)
	}}
	done, heard := make(chan struct{}), make(chan struct{})
	defer func() { close(done); <-heard }()
	go func() {
		defer close(heard)
		h.hear(signals, done)
	}()
	return app.Run(ctx, app.Options{
		Config: p.config, Env: os.Environ(), Roles: roles, Version: version, LogTo: p.errOut, Reload: h.reload,
	})
}

// oneWish is for how long a signal counts as the one before it once more. A
// supervisor such as timeout(1) sends it to its child and to the child's group.
const oneWish = time.Second

// hearing is what signals lead to.
type hearing struct {
	reload chan struct{} // has room for one
	drain  func(why error)
	end    func() // at once
}

// hear obeys signals until done is closed.
func (h hearing) hear(signals <-chan os.Signal, done <-chan struct{}) {
	var told stopping
	for {
		select {
		case <-done:
			return
		case got := <-signals:
			now := time.Now()
			switch {
			case got == syscall.SIGHUP:
				select {
				case h.reload <- struct{}{}:
				default:
				}
			case told.by == nil:
				told = stopping{by: got, at: now}
				h.drain(fmt.Errorf("%w: %s", app.ErrStopped, got))
			case !told.again(got, now):
				h.end()
			}
		}
	}
}

// stopping is the signal that the service was first told to stop with, and when.
type stopping struct {
	by os.Signal // nil: it was not
	at time.Time
}

// again reports whether a signal that comes at now says no more than the first.
func (s stopping) again(got os.Signal, now time.Time) bool {
	return got == s.by && now.Sub(s.at) < oneWish
}
