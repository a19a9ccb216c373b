// Command profiled is refreshd serve with a CPU profile of its whole run. It
// wires the service exactly as the program does; the service itself has no
// endpoint for profiles.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"

	"github.com/refreshd/refreshd/internal/app"
)

func main() {
	config := flag.String("config", "config.yaml", "configuration `file`")
	profile := flag.String("profile", "cpu.pprof", "`file` to write the profile to")
	flag.Parse()
	if err := run(*config, *profile); err != nil {
		fmt.Fprintf(os.Stderr, "profiled: %v\n", err)
		os.Exit(1)
	}
}

func run(config, profile string) (err error) {
	file, err := os.Create(profile) //nolint:gosec // the user names the file
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	roles, err := app.ParseRoles([]string{"api", "scheduler", "worker"})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return app.Run(ctx, app.Options{Config: config, Env: os.Environ(), Roles: roles, Version: "profiled", LogTo: os.Stderr})
}
