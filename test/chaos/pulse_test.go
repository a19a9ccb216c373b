package chaos

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const pulseEvery = 20 * time.Millisecond

// pulse measures how long the machine's own disk takes to sync a few bytes,
// beside the replicas whose journals are on it, and by how much later than it
// should somebody gets a processor who has slept. Both are shown with the outcome,
// to compare runs by. They excuse nothing: a received token does not wait for the
// disk to be the kernel's, and whoever judges a run on a machine that has no
// processor to spare has to know that.
type pulse struct {
	mu    sync.Mutex
	syncs []diskSync
	late  []time.Duration
}

// diskSync is one sync of the disk.
type diskSync struct{ began, ended time.Time }

// measure syncs again and again until ctx ends.
func (p *pulse) measure(ctx context.Context, dir string) error {
	file, err := os.Create(filepath.Join(dir, "pulse"))
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // nothing in it is worth anything
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	some := make([]byte, 512)
	for {
		slept := time.Now()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		one := diskSync{began: time.Now()}
		p.woke(slept, one.began)
		if _, err := file.WriteAt(some, 0); err != nil {
			return err
		}
		if err := file.Sync(); err != nil {
			return err
		}
		one.ended = time.Now()
		p.mu.Lock()
		p.syncs = append(p.syncs, one)
		p.mu.Unlock()
	}
}

// woke notes a sleep that was to take one period at the most.
func (p *pulse) woke(slept, woke time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late = append(p.late, max(0, woke.Sub(slept)-pulseEvery))
}

// waits returns how late the latest in a thousand woke, and the latest of all.
func (p *pulse) waits() (most, longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.late) == 0 {
		return 0, 0
	}
	late := slices.Sorted(slices.Values(p.late))
	return late[len(late)-1-len(late)/1000], late[len(late)-1]
}

// longest is the longest sync of all.
func (p *pulse) longest() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var longest time.Duration
	for _, one := range p.syncs {
		longest = max(longest, one.ended.Sub(one.began))
	}
	return longest
}

func TestPulse(t *testing.T) {
	t.Parallel()
	at := time.Now()
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	p := &pulse{syncs: []diskSync{{ms(-300), ms(-290)}, {ms(-60), ms(40)}, {ms(10), ms(20)}}}
	assert.Equal(t, 100*time.Millisecond, p.longest())
	p.woke(ms(0), ms(10)) // the tick was due
	for range 1998 {
		p.woke(ms(0), ms(21))
	}
	p.woke(ms(0), ms(23))
	p.woke(ms(0), ms(320))
	p.woke(ms(0), ms(220))
	most, longest := p.waits()
	assert.Equal(t, 3*time.Millisecond, most)
	assert.Equal(t, 300*time.Millisecond, longest)

	p = &pulse{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.measure(ctx, t.TempDir()) }()
	require.Eventually(t, func() bool { return p.longest() > 0 }, 20*time.Second, pulseEvery)
	cancel()
	require.NoError(t, <-done)
}
