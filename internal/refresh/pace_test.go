package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A provider that answers in 20 ms lets each of its 16 permits through five
// times in 100 ms, also while all of them are in use.
func TestTurnover(t *testing.T) {
	t.Parallel()
	p := newPace()
	limits := Limits{Concurrency: 16}
	assert.Zero(t, p.turnover("acme", limits, time.Second), "nothing is known yet")
	p.saw("acme", 20*time.Millisecond)
	assert.Equal(t, 80, p.turnover("acme", limits, 100*time.Millisecond))
	assert.Zero(t, p.turnover("other", limits, time.Second))
	assert.Zero(t, p.turnover("acme", Limits{PerSecond: 50}, time.Second), "the rate alone is told by the store")

	for range 100 {
		p.saw("acme", 2*time.Second)
	}
	assert.Equal(t, 8, p.turnover("acme", Limits{Concurrency: 16}, time.Second), "it follows a provider that has become slow")
	p.saw("quick", 0)
	assert.Equal(t, 3200, p.turnover("quick", Limits{Concurrency: 16}, time.Second), "no reply is taken to be instant")
}

func TestCrewRunsEverything(t *testing.T) {
	t.Parallel()
	c := newCrew()
	const n = 200
	ran := make(chan int, n)
	release := make(chan struct{})
	for i := range n {
		c.run(func() {
			<-release
			ran <- i
		})
	}
	close(release)
	seen := map[int]bool{}
	for range n {
		seen[<-ran] = true
	}
	assert.Len(t, seen, n, "all ran at once: nobody waited for another to end")
	c.run(func() { ran <- 1 })
	c.stop()
	c.stop()
	assert.Len(t, ran, 1, "stop waits for what runs")
}
