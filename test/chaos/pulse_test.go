package chaos

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	pulseEvery = 20 * time.Millisecond
	// pulseWindow is how long before a kill the disk is looked at: what was
	// waiting for it by then may have been held up as long.
	pulseWindow = time.Second
	// pulseLimit bounds what a slow disk excuses.
	pulseLimit = 2 * time.Second
)

// pulse measures how long the machine's own disk takes to sync a few bytes,
// beside the replicas whose journals are on it. A process that is killed while
// it waits for that loses what it has read, as it does within the moment that
// every kill is granted.
type pulse struct {
	mu    sync.Mutex
	syncs []diskSync
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
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		one := diskSync{began: time.Now()}
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

// before is the longest sync that was under way within a second before a
// moment, or was still under way at it.
func (p *pulse) before(at time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var longest time.Duration
	for _, one := range p.syncs {
		if one.ended.After(at.Add(-pulseWindow)) && one.began.Before(at) {
			longest = max(longest, one.ended.Sub(one.began))
		}
	}
	return min(longest, pulseLimit)
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
	p := &pulse{syncs: []diskSync{
		{ms(-5000), ms(-4000)}, {ms(-1200), ms(-995)}, {ms(-300), ms(-290)}, {ms(-60), ms(40)}, {ms(10), ms(900)},
	}}
	assert.Equal(t, 205*time.Millisecond, p.before(at))
	assert.Equal(t, 100*time.Millisecond, p.before(ms(8)), "the one that was under way")
	assert.Equal(t, 890*time.Millisecond, p.before(ms(950)))
	assert.Zero(t, p.before(ms(3000)))
	p.syncs = append(p.syncs, diskSync{ms(-100), ms(9000)})
	assert.Equal(t, pulseLimit, p.before(at))

	assert.Equal(t, 9100*time.Millisecond, p.longest())

	p = &pulse{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.measure(ctx, t.TempDir()) }()
	require.Eventually(t, func() bool { return p.before(time.Now()) > 0 }, 20*time.Second, pulseEvery)
	cancel()
	require.NoError(t, <-done)
}
