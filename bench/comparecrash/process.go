package main

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/bench/internal/rig"
)

// tail is how many bytes of a program's log are looked at, and shown.
const tail = 1 << 16

// start starts a program that outlives ctx. It ends by kill alone, as all of
// them can be killed at any time: that is what is measured here.
func start(ctx context.Context, folder string, c rig.Command) (*rig.Process, error) {
	c.Tail = tail
	return rig.Start(context.WithoutCancel(ctx), folder, c)
}

// startRedis starts the redis-server of one run.
func startRedis(ctx context.Context, folder string) (server *rig.Process, socket string, err error) {
	return rig.StartRedis(ctx, folder, tail, patience("it answered"))
}

// patience waits for what a program does.
func patience(what string) rig.Patience {
	return rig.Patience{What: what, Late: "not before " + what, Within: 30 * time.Second, Every: 10 * time.Millisecond}
}
