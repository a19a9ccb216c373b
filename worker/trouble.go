package worker

import (
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const (
	// calm is how long no task of a kind has failed when the trouble is over: while
	// some still do, others may succeed.
	calm = 10 * time.Second
	// mostCauses bounds how many causes of one trouble are told.
	mostCauses = 16
)

// subject is what tasks are for: their type, and the provider or the subscription;
// "" for single credentials.
type subject struct{ kind, about string }

// troubles tells of tasks that fail, once for each cause and not for each task: an
// outage of the store fails several a second.
type troubles struct {
	log zerolog.Logger

	mu   sync.Mutex
	open map[subject]*trouble
}

// trouble is a time in which tasks for one thing fail.
type trouble struct {
	failed int
	last   time.Time
	causes map[string]bool // that were told
}

func newTroubles(log zerolog.Logger) *troubles {
	return &troubles{log: log, open: map[subject]*trouble{}}
}

// failed notes that a task did not do what it was for.
func (t *troubles) failed(of subject, id string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.open[of]
	if now == nil {
		now = &trouble{causes: map[string]bool{}}
		t.open[of] = now
	}
	now.failed++
	now.last = time.Now()
	level, cause := zerolog.DebugLevel, causeOf(err)
	if !now.causes[cause] && len(now.causes) < mostCauses {
		now.causes[cause] = true
		level = zerolog.WarnLevel
	}
	t.log.WithLevel(level).Err(err).Str("type", of.kind).Str("about", of.about).Str("task", id).
		Msg("a task did not do what it was for; said once for each cause until such tasks succeed again")
}

// succeeded notes that a task did what it was for, and tells how many have not, if
// the trouble is over with it.
func (t *troubles) succeeded(of subject) {
	t.mu.Lock()
	defer t.mu.Unlock()
	over := t.open[of]
	if over == nil || time.Since(over.last) < calm {
		return
	}
	delete(t.open, of)
	t.log.Info().Str("type", of.kind).Str("about", of.about).Int("failed", over.failed).Time("last", over.last).
		Msg("tasks do what they are for again")
}

// causeOf is what is behind a task's error, without its numbers: another
// credential, port or count makes no other cause.
func causeOf(err error) string {
	if behind := errors.Unwrap(err); behind != nil {
		err = behind
	}
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, err.Error())
}
