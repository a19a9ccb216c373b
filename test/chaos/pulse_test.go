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

const pulseEvery = 20 * time.Millisecond

// pulse measures how long the machine's own disk takes to sync a few bytes,
// beside the replicas whose journals are on it. It is shown with the outcome,
// to compare runs by. It excuses nothing: a received token does not wait for
// the disk to be the kernel's.
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

	p = &pulse{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.measure(ctx, t.TempDir()) }()
	require.Eventually(t, func() bool { return p.longest() > 0 }, 20*time.Second, pulseEvery)
	cancel()
	require.NoError(t, <-done)
}
