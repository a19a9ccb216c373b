package service

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

// The way to the provider is blocked until all permits are out, and then opens for
// all at once. No second of calls at the provider is fuller than the rate even so,
// of two replicas together, and everybody gets his call.
func TestNoSecondSeesMoreCallsThanTheRate(t *testing.T) {
	t.Parallel()
	for _, w := range []backlog{
		{count: 240, concurrency: 16, perSecond: 50},
		{count: 150, concurrency: 50, perSecond: 20},
	} {
		t.Run(fmt.Sprintf("%d at once, %d a second", w.concurrency, w.perSecond), func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: time.Hour}})
			h := newHouse(t, p, testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"}).URL())
			h.config["schedule"] = map[string]any{"refresh_at": 0.01, "jitter": 0, "min_interval": "0s"}
			front := h.startAs("api")
			w.seed(t, p, front.api, 0)
			_, err := front.Stop()
			require.NoError(t, err)
			pass(t.Context(), w.life(w.count-1)/100+2*time.Second)

			delete(h.config, "schedule")
			h.acme()["limits"] = map[string]any{"concurrency": w.concurrency, "per_second": w.perSecond}
			h.acme()["http"] = map[string]any{"proxy": blockedWay(t, w.concurrency)}
			processes := []*testproc.Process{h.launch("api,scheduler,worker"), h.launch("api,scheduler,worker")}
			for _, process := range processes {
				h.ready(process)
			}
			eventually(t, 4*time.Duration(w.count/w.perSecond)*time.Second+patience, func() (bool, string) {
				n := p.Summary().Rotations
				return n >= int64(w.count), fmt.Sprintf("%d of %d", n, w.count)
			})
			assert.Zero(t, presentedOnce(t, p, nil))
			calls := p.Ledger(practice.LedgerQuery{})
			require.Len(t, calls, w.count)
			assert.LessOrEqual(t, mostAtOnce(calls), w.concurrency, "calls in the air together")
			w.withinRate(t, calls)
		})
	}
}

// blockedWay returns the address of a proxy. It answers nobody until so many
// connections were asked for, or the first has waited for nearly as long as one
// may take.
func blockedWay(t *testing.T, connections int) string {
	t.Helper()
	const longest = 4 * time.Second
	opened := make(chan struct{})
	open := sync.OnceFunc(func() { close(opened) })
	var mu sync.Mutex
	asked := 0
	arrive := func() {
		mu.Lock()
		defer mu.Unlock()
		if asked == 0 {
			timer := time.AfterFunc(longest, open)
			t.Cleanup(func() { timer.Stop() })
		}
		if asked++; asked == connections {
			open()
		}
	}
	return serve(t, nil, func(ctx context.Context, ln net.Listener) error {
		var tunnels sync.WaitGroup
		defer tunnels.Wait()
		defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
		for {
			near, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			if err != nil {
				return err
			}
			tunnels.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = near.Close() })()
				defer func() { _ = near.Close() }()
				arrive()
				select {
				case <-opened:
				case <-ctx.Done():
					return
				}
				tunnel(ctx, near)
			})
		}
	})
}

// tunnel serves one connection that asks a proxy for a way to somewhere.
func tunnel(ctx context.Context, near net.Conn) {
	in := bufio.NewReader(near)
	ask, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	far, err := new(net.Dialer).DialContext(ctx, "tcp", ask.Host)
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { _ = far.Close() })()
	defer func() { _ = far.Close() }()
	if _, err := io.Copy(near, strings.NewReader("HTTP/1.1 200 OK\r\n\r\n")); err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		defer func() { _ = near.Close() }()
		_, _ = io.Copy(near, far)
	})
	defer back.Wait()
	defer func() { _ = far.Close() }()
	_, _ = io.Copy(far, in)
}
