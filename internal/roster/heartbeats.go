package roster

import (
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// lookEvery is how often heartbeats are looked at, and how often each counts
// on.
const lookEvery = time.Second

// Heartbeats knows for how long each process's heartbeat has stood still. Its
// methods may be called concurrently.
type Heartbeats struct {
	silence time.Duration

	mu    sync.Mutex
	beats map[string]beat
	last  time.Duration // boot time of the last look
}

type beat struct {
	count uint64
	since time.Duration // boot time since when it has not changed
}

// NewHeartbeats returns one that knows no heartbeat yet. A process is still
// once its heartbeat has not moved for silence.
func NewHeartbeats(silence time.Duration) *Heartbeats {
	return &Heartbeats{silence: silence, beats: map[string]beat{}}
}

// Look notes the heartbeats as they are now, by the time since boot. A look
// that comes late says nothing about the time in between: this machine slept,
// or Redis was away, and the others may have fared the same.
func (h *Heartbeats) Look(r credential.Roster, now time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	late := now-h.last > max(h.silence, 3*lookEvery)
	h.last = now
	beats := make(map[string]beat, len(r.Members))
	for owner, m := range r.Members {
		b, known := h.beats[owner]
		if late || !known || b.count != m.Beat {
			b = beat{count: m.Beat, since: now}
		}
		beats[owner] = b
	}
	h.beats = beats
}

// silent returns for how long the owner's heartbeat had stood still at the last
// look, and whether that is long enough to call it still.
func (h *Heartbeats) silent(owner string) (silence time.Duration, still bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, known := h.beats[owner]
	if !known {
		return 0, false
	}
	silence = h.last - b.since
	return silence, silence >= h.silence
}
