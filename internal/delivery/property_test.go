package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/event/eventtest"
)

// faultyCarrier is a receiver that fails as it is told, and notes what came.
type faultyCarrier struct {
	mu   sync.Mutex
	fail func(credential.Event) *Outcome // nil: it is taken
	got  []credential.Event
}

func (c *faultyCarrier) Carry(_ context.Context, entry credential.LogEntry) Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if outcome := c.fail(entry.Event); outcome != nil {
		return *outcome
	}
	c.got = append(c.got, entry.Event)
	return Outcome{Result: Delivered, Status: 204}
}

// mortalLanes are lanes of which a holder may die: what he stores then does not
// arrive, and his lease runs out.
type mortalLanes struct {
	testLanes

	dies func() bool
}

func (l mortalLanes) Advance(ctx context.Context, subscription string, lane int, holder credential.Nonce, last []string, done *Delivery) (Progress, error) {
	if l.dies() {
		return 0, eventtest.ErrAway
	}
	return l.testLanes.Advance(ctx, subscription, lane, holder, last, done)
}

func (l mortalLanes) Fail(ctx context.Context, subscription string, lane int, holder credential.Nonce, last []string, f Failure) (Verdict, error) {
	if l.dies() {
		return Verdict{}, eventtest.ErrAway
	}
	return l.testLanes.Fail(ctx, subscription, lane, holder, last, f)
}

// Whatever fails, dies, is enabled or replayed in between: each version of each
// credential arrives, for the first time in order, and always under one ID.
func TestEveryVersionArrivesInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		b := eventtest.Setup(t, rapid.IntRange(1, 3).Draw(r, "shards"))
		log := event.NewLog(b.Store, zerolog.Nop())
		defer log.Stop()
		carrier := &faultyCarrier{}
		percent := func(of int, what string) func() bool {
			return func() bool { return rapid.IntRange(0, 99).Draw(r, what) < of }
		}
		fails, dies := percent(40, "fails"), percent(10, "dies")
		carrier.fail = func(credential.Event) *Outcome {
			if !fails() {
				return nil
			}
			o := &Outcome{Result: Refused, Status: 503, Err: errRefused}
			o.Gone = percent(3, "gone")()
			if percent(20, "asks for time")() {
				o.RetryAfter = time.Minute
			}
			return o
		}
		healthy := false
		d := New(Options{
			Log: log, Lanes: mortalLanes{testLanes{b.Store.Store}, func() bool { return !healthy && dies() }}, Subscriptions: testSubscriptions{b.Store.Store}, Gaps: testSubscriptions{b.Store.Store},
			Queue: noQueue{}, Retention: 96 * time.Hour, Now: b.Clock, Logger: zerolog.Nop(), Registerer: prometheus.NewRegistry(),
		})
		defer d.Stop()
		sub := Subscription{Name: "ui", Carrier: carrier, Filter: event.Filter{Types: []string{"credential.*"}}}
		require.NoError(r, d.SetSubscriptions(t.Context(), []Subscription{sub}))
		work := func() {
			require.NoError(r, d.notify(d.find("ui")))
			found, err := d.opts.Subscriptions.Audit(t.Context(), "ui")
			require.NoError(r, err)
			for _, lane := range found.Pending {
				_ = d.Advance(t.Context(), "ui", lane) // fails where its holder dies
			}
			if found.Disabled {
				require.NoError(r, b.Store.Enable(t.Context(), "ui"))
			}
		}
		ids := inLane(6, false)
		versions := map[credential.ID]uint64{}
		r.Repeat(map[string]func(*rapid.T){
			"an event": func(r *rapid.T) {
				id := rapid.SampledFrom(ids).Draw(r, "of")
				b.Emit(id)
				versions[id]++
			},
			"work": func(*rapid.T) { work() },
			"time": func(r *rapid.T) {
				b.PassTime(time.Duration(rapid.IntRange(1, 600_000).Draw(r, "ms")) * time.Millisecond)
			},
			"replay": func(r *rapid.T) {
				if !percent(20, "replays")() {
					r.Skip("seldom")
				}
				from := make([]string, b.Store.Shards())
				for shard := range from {
					from[shard] = event.Start
				}
				_, err := b.Store.Replay(t.Context(), "ui", from)
				require.NoError(r, err)
			},
		})
		healthy, carrier.fail = true, func(credential.Event) *Outcome { return nil }
		for range 3 { // a lease runs out, a probe, then all
			b.PassTime(24 * time.Hour)
			work()
		}
		found, err := d.opts.Subscriptions.Audit(t.Context(), "ui")
		require.NoError(r, err)
		require.Empty(r, found.Pending)
		require.Zero(r, found.Oldest)
		arrived(r, carrier.got, versions)
	})
}

// arrived judges what a receiver got.
func arrived(t require.TestingT, got []credential.Event, versions map[credential.ID]uint64) {
	newest, ids := map[credential.ID]uint64{}, map[string]string{}
	for _, e := range got {
		require.LessOrEqual(t, e.Version, newest[e.ID]+1, "%s: a version is missing", e.ID)
		newest[e.ID] = max(newest[e.ID], e.Version)
		key := fmt.Sprintf("%s/%d", e.ID, e.Version)
		if known := ids[key]; known != "" {
			require.Equal(t, known, e.EventID(), "a duplicate has another ID")
		}
		ids[key] = e.EventID()
	}
	for id, version := range versions {
		require.Equal(t, version, newest[id], id)
	}
}

// errRefused is how the receiver refuses.
var errRefused = errors.New("refused")

// noQueue drops tasks: audits find what they were for.
type noQueue struct{}

func (noQueue) EnqueueDelivery(context.Context, string, int) error { return nil }
