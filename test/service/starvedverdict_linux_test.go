package service

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/oracle"
)

// task is a thread as the kernel shows it at one moment.
type task struct {
	state string
	ran   time.Duration
}

// seenAt writes what the kernel shows of a process, and has it looked at.
func (s *starvation) seenAt(t *testing.T, now time.Time, threads map[string]task) {
	t.Helper()
	dir := t.TempDir()
	for name, one := range threads {
		folder := filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(folder, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(folder, "schedstat"), fmt.Appendf(nil, "%d 77 5\n", one.ran), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(folder, "stat"), fmt.Appendf(nil, "%s (a) S b) %s 1 1\n", name, one.state), 0o600))
	}
	s.look(dir, now)
}

// What counts is the time in which a thread could have run and did not: neither
// that in which it slept, nor that in which it ran, nor what was before.
func TestStarvation(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	begin := time.Unix(1_700_000_000, 0)
	s := &starvation{}
	assert.Zero(t, s.since(begin), "nothing was seen")
	for _, look := range []struct {
		at      time.Duration
		threads map[string]task
	}{
		{0, map[string]task{"1": {"R", 0}, "2": {"S", 0}}},
		{10 * ms, map[string]task{"1": {"R", 10 * ms}, "2": {"S", 0}}},          // the first ran all the time
		{30 * ms, map[string]task{"1": {"R", 12 * ms}, "2": {"R", 0}}},          // it waited for 18 ms; the other slept, for all that is known
		{40 * ms, map[string]task{"1": {"S", 12 * ms}, "2": {"R", 1 * ms}}},     // the other waited for 9 ms
		{60 * ms, map[string]task{"1": {"R", 12 * ms}, "2": {"R", 11 * ms}}},    // and for 10 ms
		{70 * ms, map[string]task{"1": {"R", 12 * ms}, "3": {"R", 1000 * ms}}},  // the first waited for 10 ms; a new thread says nothing yet
		{80 * ms, map[string]task{"1": {"R", 300 * ms}, "3": {"R", 1001 * ms}}}, // more than there was time for is no waiting
	} {
		s.seenAt(t, begin.Add(look.at), look.threads)
	}
	assert.Equal(t, 28*ms, s.since(begin))
	assert.Equal(t, 28*ms, s.since(begin.Add(10*ms)))
	assert.Equal(t, 28*ms, s.since(begin.Add(29*ms)), "by the look before it")
	assert.Equal(t, 10*ms, s.since(begin.Add(30*ms)))
	assert.Equal(t, 9*ms, s.since(begin.Add(70*ms)))
	assert.Zero(t, s.since(begin.Add(time.Second)))

	s.look(filepath.Join(t.TempDir(), "gone"), begin.Add(time.Hour))
	assert.Len(t, s.seen, 7, "a process that is gone is not looked at")
}

// A machine that is busy all the time excuses no more than it ever took.
func TestStarvationExcusesLittle(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_700_000_000, 0)
	busy, idle, little := &starvation{}, &starvation{}, &starvation{}
	for n := range 1001 { // 10 s
		at := begin.Add(time.Duration(n) * 10 * time.Millisecond)
		busy.seen = append(busy.seen, glance{at: at, waited: map[string]time.Duration{"1": at.Sub(begin)}})
		idle.seen = append(idle.seen, glance{at: at, waited: map[string]time.Duration{"1": 0}})
		little.seen = append(little.seen, glance{at: at, waited: map[string]time.Duration{"1": at.Sub(begin) / 10}})
	}
	killed := begin.Add(10 * time.Second)
	for _, c := range []struct {
		name    string
		starved *starvation
		age     time.Duration
		died    bool
	}{
		{"not watched", nil, oracle.Dying - time.Millisecond, true},
		{"not watched, older", nil, oracle.Dying + time.Millisecond, false},
		{"idle", idle, oracle.Dying - time.Millisecond, true},
		{"idle, older", idle, oracle.Dying + time.Millisecond, false},
		{"a tenth of the time", little, oracle.Dying + 5*time.Millisecond, true},
		{"a tenth of the time, older", little, oracle.Dying + 15*time.Millisecond, false},
		{"all the time", busy, oracle.Dying + starvedAtMost - time.Millisecond, true},
		{"all the time, older", busy, oracle.Dying + starvedAtMost + time.Millisecond, false},
		{"all the time, long ago", busy, 5 * time.Second, false},
	} {
		reply := practice.Entry{Delivered: true, RepliedAt: killed.Add(-c.age).UnixNano()}
		k := kill{before: killed, after: killed.Add(time.Millisecond), starved: c.starved}
		assert.Equal(t, c.died, died([]kill{k}, reply), c.name)
		reply.Delivered = false
		assert.False(t, died([]kill{k}, reply), "%s: one that was not delivered", c.name)
	}
}
