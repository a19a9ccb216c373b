package service

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
	"github.com/refreshd/refreshd/client/eventlog"
)

const (
	hookAway = 250 * time.Millisecond
	hookSlow = 100 * time.Millisecond
)

// flakyHook is a webhook's endpoint that fails at one delivery in five, is slow
// at one in a hundred, and is restarted every now and then.
type flakyHook struct {
	*receiver

	stays    time.Duration // until it is restarted
	lost     int           // events that were taken, and then the answer was another
	restarts int
}

func newFlakyHook(t *testing.T, stays time.Duration) *flakyHook {
	t.Helper()
	secret, verify := newSecret(t)
	f := &flakyHook{stays: stays, receiver: &receiver{history: newHistory("webhook"), secret: secret, verify: verify, known: map[string]bool{}}}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f.url = "http://" + ln.Addr().String() + "/hook"
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- f.comeAndGo(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	return f
}

// comeAndGo serves on one address, but for moments in which nobody does.
func (f *flakyHook) comeAndGo(ctx context.Context, ln net.Listener) error {
	address := ln.Addr().String()
	for {
		up, cancel := context.WithTimeout(ctx, f.stays)
		err := serveHTTP(up, ln, f)
		cancel()
		if err != nil || ctx.Err() != nil {
			return err
		}
		f.mu.Lock()
		f.restarts++
		f.mu.Unlock()
		for {
			if !pause(ctx, hookAway) {
				return nil
			}
			if ln, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err == nil {
				break
			}
		}
	}
}

// pause reports false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ServeHTTP takes or refuses one delivery.
func (f *flakyHook) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch n := rand.IntN(100); {
	case n < 10:
		f.mu.Lock()
		f.refused++
		f.mu.Unlock()
		w.WriteHeader(http.StatusServiceUnavailable)
	case n < 20: // it took the event, and its word of that is lost
		f.receiver.ServeHTTP(noAnswer{}, req)
		f.mu.Lock()
		f.lost++
		f.mu.Unlock()
		w.WriteHeader(http.StatusBadGateway)
	default:
		if n < 21 && !pause(req.Context(), hookSlow) {
			return // restarted meanwhile
		}
		f.receiver.ServeHTTP(w, req)
	}
}

// noAnswer is where an answer goes that nobody hears.
type noAnswer struct{}

// Header returns a header that goes nowhere.
func (noAnswer) Header() http.Header { return http.Header{} }

// Write drops the body.
func (noAnswer) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader drops the status.
func (noAnswer) WriteHeader(int) {}

// watchOnAndOff follows the events with the SDK from the first on, as a program
// that dies after some and starts again behind the last one that it noted.
func watchOnAndOff(ctx context.Context, c *client.Client, h *history) {
	noted := client.FromStart
	for ctx.Err() == nil {
		left := 20 + rand.IntN(200)
		for e, err := range c.Watch(ctx, client.Filter{Types: []string{"credential.*"}}, noted) {
			if err != nil {
				h.fault("the stream ended: %v", err)
				return
			}
			if e.IsReset() {
				h.fault("events are said to be missing")
			}
			h.add(seenEvent(e.ID, string(e.Type), e.Credential, string(e.State), e.Version, e.PreviousVersion))
			if left--; left < 0 {
				break
			} else if left%10 == 0 {
				noted = e.Cursor
			}
		}
	}
}

func seenEvent(id, kind, credential, state string, version, previous uint64) cloudEvent {
	e := cloudEvent{ID: id, Type: kind}
	e.Data.Credential, e.Data.State, e.Data.Version, e.Data.PreviousVersion = credential, state, version, previous
	return e
}

// groupReader reads the log in Redis as a consumer group of one, which dies in
// the middle of one page in five.
type groupReader struct {
	*history

	client *redis.Client
	deaths int
}

const readerGroup, readerName = "mail", "mail-1"

func (g *groupReader) run(ctx context.Context) {
	stream := eventlog.Stream(0)
	for ctx.Err() == nil {
		err := g.client.XGroupCreateMkStream(ctx, stream, readerGroup, "0").Err()
		if err == nil || strings.HasPrefix(err.Error(), "BUSYGROUP") {
			err = g.live(ctx, stream)
		}
		if err != nil && ctx.Err() == nil {
			g.fault("the log in Redis: %v", err)
			return
		}
	}
}

// live handles first what was handed to a life before, and not acknowledged.
func (g *groupReader) live(ctx context.Context, stream string) error {
	for from := "0"; ; {
		pages, err := g.client.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: readerGroup, Consumer: readerName, Streams: []string{stream, from}, Count: 50, Block: 200 * time.Millisecond,
		}).Result()
		if errors.Is(err, redis.Nil) {
			continue
		} else if err != nil {
			return err
		}
		page := pages[0].Messages
		if len(page) == 0 {
			from = ">"
			continue
		}
		diesAt := -1
		if rand.IntN(5) == 0 {
			diesAt = rand.IntN(len(page))
		}
		handled := make([]string, 0, len(page))
		for i, entry := range page {
			if err := g.hand(entry); err != nil {
				return err
			}
			if i == diesAt {
				g.deaths++
				return nil
			}
			handled = append(handled, entry.ID)
		}
		if err := g.client.XAck(ctx, stream, readerGroup, handled...).Err(); err != nil {
			return err
		}
	}
}

func (g *groupReader) hand(entry redis.XMessage) error {
	stored, ok := entry.Values["e"].(string)
	if !ok {
		return errors.New("an entry without an event")
	}
	e, err := eventlog.Decode("urn:x", entry.ID, stored)
	if err != nil || e.Data.Credential == "" {
		return err
	}
	g.add(seenEvent(e.ID, e.Type, e.Data.Credential, e.Data.State, e.Data.Version, e.Data.PreviousVersion))
	return nil
}
