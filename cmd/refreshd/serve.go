package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/internal/app"
)

// garbagePercent lets the heap grow to five times what is live before it is
// collected: that is small, for what is live is the tokens served of late, and
// a refresh makes much garbage. GOGC overrides it.
const garbagePercent = 400

const serveHelp = `Run the service in the foreground.

SIGTERM or SIGINT drains: what was sent to a provider is answered and stored,
nothing new is begun. A second one ends at once; the journal keeps what was
received. SIGHUP loads the configuration again; a bad file keeps the old one
and says why.

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
	reload := make(chan struct{}, 1)
	done, heard := make(chan struct{}), make(chan struct{})
	defer func() { close(done); <-heard }()
	go func() {
		defer close(heard)
		stopping := false
		for {
			select {
			case <-done:
				return
			case got := <-signals:
				switch {
				case got == syscall.SIGHUP:
					select {
					case reload <- struct{}{}:
					default:
					}
				case stopping:
					p.say("ending at once; the journal keeps what was received")
					os.Exit(exitFailure)
				default:
					stopping = true
					stop(fmt.Errorf("%w: %s", app.ErrStopped, got))
				}
			}
		}
	}()
	return app.Run(ctx, app.Options{
		Config: p.config, Env: os.Environ(), Roles: roles, Version: version, LogTo: p.errOut, Reload: reload,
	})
}
