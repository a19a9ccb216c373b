package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/refreshd/refreshd/bench/internal/rig"
	"github.com/refreshd/refreshd/internal/practice"
)

const (
	clientID     = "demo"
	clientSecret = "demo-secret"
	accessTTL    = "1h" // so that every grant is refreshed once per run
	// runWithin bounds one run, on a slow machine too.
	runWithin = 5 * time.Minute
	// tail is how many bytes of a program's log an error shows.
	tail = 2000
)

// patience waits so long for what a program does.
func patience(what string, within time.Duration) rig.Patience {
	return rig.Patience{What: what, Late: what, Within: within, Every: 20 * time.Millisecond}
}

// startRedis starts the redis-server of one run.
func startRedis(ctx context.Context, folder string) (server *rig.Process, socket string, err error) {
	return rig.StartRedis(ctx, folder, tail, patience("an answer", 10*time.Second))
}

// programs are the built ones.
type programs struct {
	practice, refreshd, profiled, loop, asynqWorker string
}

// build builds all programs into the folder.
func build(ctx context.Context, folder string) (programs, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", folder+string(filepath.Separator), //nolint:gosec // a temporary folder of ours
		"./cmd/practice", "./cmd/refreshd", "./bench/profiled", "./bench/baseline/loop", "./bench/baseline/asynqworker")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return programs{}, fmt.Errorf("build the programs (run this in the folder of go.mod): %w\n%s", err, out)
	}
	at := func(name string) string { return filepath.Join(folder, name) }
	return programs{
		practice: at("practice"), refreshd: at("refreshd"), profiled: at("profiled"),
		loop: at("loop"), asynqWorker: at("asynqworker"),
	}, nil
}

// bench is what all runs share.
type bench struct {
	bin         programs
	folder      string
	n           int
	concurrency int    // of the loop and of the asynq worker
	limit       int    // refreshd's limits.concurrency
	profile     string // folder for CPU profiles; "" for none

	provider *rig.Process
	url      string
	admin    *practice.Admin
	runs     int
}

// startProvider starts the practice provider as a process of its own.
func (b *bench) startProvider(ctx context.Context) error {
	var err error
	b.provider, err = rig.Start(ctx, b.folder, rig.Command{
		Name: "practice", Path: b.bin.practice, Tail: tail,
		Args: []string{"--access-ttl", accessTTL, "--clients", clientID + ":" + clientSecret, "--client-auth", "basic"},
	})
	if err != nil {
		return err
	}
	address := regexp.MustCompile(`listening on (http://\S+)`)
	return b.provider.Until(ctx, patience("its address", 10*time.Second), func(context.Context) (bool, error) {
		found := address.FindStringSubmatch(b.provider.Tail())
		if found == nil {
			return false, nil
		}
		b.url, b.admin = found[1], practice.NewAdmin(found[1])
		return true, nil
	})
}

// close ends the provider.
func (b *bench) close() {
	if b.admin != nil {
		b.admin.Close()
	}
	if b.provider != nil {
		b.provider.End()
	}
}

// one runs one contender on fresh grants and returns its refreshes per second.
func (b *bench) one(ctx context.Context, name string, run func(ctx context.Context, folder string, grants []practice.Minted) error) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	b.runs++
	folder := filepath.Join(b.folder, fmt.Sprintf("%02d-%s", b.runs, name))
	if err := os.Mkdir(folder, 0o700); err != nil {
		return 0, err
	}
	grants, err := b.admin.Mint(ctx, practice.MintRequest{Count: b.n, Prefix: fmt.Sprintf("r%d-", b.runs)})
	if err != nil {
		return 0, err
	}
	before, err := b.admin.Summary(ctx)
	if err != nil {
		return 0, err
	}
	if err := run(ctx, folder, grants); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	rate, err := b.measured(ctx, before)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return rate, os.RemoveAll(folder)
}

// measured reads from the ledger what happened since before. Anything but one
// rotation for each grant makes the run worthless.
func (b *bench) measured(ctx context.Context, before practice.Summary) (float64, error) {
	after, err := b.admin.Summary(ctx)
	if err != nil {
		return 0, err
	}
	if twice := after.GenerationsPresentedTwice - before.GenerationsPresentedTwice; twice != 0 {
		return 0, fmt.Errorf("%d refresh tokens were presented twice", twice)
	}
	entries, err := b.admin.Ledger(ctx, practice.LedgerQuery{After: uint64(max(before.Presentations, 0))})
	if err != nil {
		return 0, err
	}
	var rotated []int64
	for _, e := range entries {
		if e.RotatedAt != 0 {
			rotated = append(rotated, e.RotatedAt)
		}
	}
	if len(rotated) != b.n {
		return 0, fmt.Errorf("%d rotations of %d grants", len(rotated), b.n)
	}
	return rateOf(rotated)
}

// rotations waits until the provider has rotated n grants since before.
func (b *bench) rotations(ctx context.Context, p *rig.Process, before practice.Summary) error {
	return p.Until(ctx, patience("all grants were refreshed", runWithin), func(ctx context.Context) (bool, error) {
		now, err := b.admin.Summary(ctx)
		if err != nil {
			return false, err
		}
		return now.Rotations-before.Rotations >= int64(b.n), fmt.Errorf("%d of %d so far", now.Rotations-before.Rotations, b.n)
	})
}

// pair runs each contender once.
func (b *bench) pair(ctx context.Context) (p pair, err error) {
	for _, c := range []struct {
		name string
		rate *float64
		run  func(context.Context, string, []practice.Minted) error
	}{
		{"loop", &p.Loop, b.runLoop},
		{"asynq", &p.Asynq, b.runAsynq},
		{"refreshd", &p.Refreshd, b.runRefreshd},
	} {
		var oneErr error
		*c.rate, oneErr = b.one(ctx, c.name, c.run)
		if err = errors.Join(err, oneErr); err != nil {
			return p, err
		}
	}
	return p, nil
}
