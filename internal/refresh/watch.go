package refresh

import (
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// watch follows the heartbeats of the others. A heartbeat is a counter; what
// counts is for how long it has stood still by this machine's clock, while this
// process reached the store.
type watch struct {
	silence time.Duration

	mu    sync.Mutex
	beats map[string]beat
	last  time.Duration // boot time of the last look
}

// beat is an owner's heartbeat.
type beat struct {
	count uint64
	since time.Duration // boot time since when it has not changed
	place string        // of its journal, as far as is known
}

func newWatch(silence time.Duration) *watch {
	return &watch{silence: silence, beats: map[string]beat{}}
}

// look notes the heartbeats as they are now. A look that comes late says
// nothing about the time in between: this machine slept, or the store was away,
// and the others may have fared the same.
func (w *watch) look(roster credential.Roster, now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	late := now-w.last > max(w.silence, 3*tickEvery)
	w.last = now
	beats := make(map[string]beat, len(roster.Members))
	for owner, m := range roster.Members {
		b, known := w.beats[owner]
		if late || !known || b.count != m.Beat {
			b = beat{count: m.Beat, since: now}
		}
		b.place = m.Place
		beats[owner] = b
	}
	for owner, b := range w.beats {
		if _, listed := roster.Members[owner]; !listed && !late && now-b.since < unlistedFor {
			beats[owner] = b
		}
	}
	w.beats = beats
}

// unlistedFor is how long an owner is remembered that is not on the roster.
const unlistedFor = 24 * time.Hour

// also follows an owner that left attempts open and is not on the roster: it
// has no heartbeat, and so is silent from now on.
func (w *watch) also(owner string, now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.beats[owner]; !known {
		w.beats[owner] = beat{since: now}
	}
}

// forget starts anew: the store was away, which makes nobody dead.
func (w *watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.beats)
}

// silent returns for how long the owner's heartbeat has stood still.
func (w *watch) silent(owner string, now time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, known := w.beats[owner]
	if !known {
		return 0
	}
	return now - b.since
}

// deserted returns for how long every heartbeat has stood still whose owner has
// its journal where this one has its own, this one's included.
func (w *watch) deserted(owner string, now time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, known := w.beats[owner]
	if !known {
		return 0
	}
	since := b.since
	for _, other := range w.beats {
		if b.place != "" && other.place == b.place {
			since = max(since, other.since)
		}
	}
	return now - since
}

// seen returns for how long the owner's heartbeat, and those of its neighbours,
// were seen to stand still, up to the last look: nothing is known of the time
// since.
func (w *watch) seen(owner string) credential.Standing {
	w.mu.Lock()
	last := w.last
	w.mu.Unlock()
	return credential.Standing{Silent: max(w.silent(owner, last), 0), Deserted: max(w.deserted(owner, last), 0)}
}
