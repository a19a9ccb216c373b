package client

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
)

const (
	// spare is how long a token has to be valid at the very least to be handed
	// out: it still has to travel.
	spare = time.Second
	// aheadPart is the part of the time for which a token is good after which
	// the next one is fetched, so that nobody waits for it. refreshd refreshes at
	// two thirds of a token's life, and has the next one by then.
	aheadPart = 0.8
	// aheadLeast is the least time between two fetches ahead.
	aheadLeast = time.Second
	// askAgain is when refreshd is asked again for a token that is still valid
	// if it could not replace it and did not say when to come back; twice as
	// late each time, up to askAgainMost.
	askAgain     = 5 * time.Second
	askAgainMost = time.Minute
)

// held is a token in hand. It never changes: another takes its place.
type held struct {
	token Token
	oauth *oauth2.Token

	// until is when it is not good enough any more, and somebody has to wait
	// for the next. It may be valid for longer than that, until dead.
	until, dead instant
	// ahead is when the next one is fetched in the background, and asked is
	// set by whoever begins that.
	ahead instant
	asked atomic.Bool
	// next is the earlier of until and ahead: before that there is nothing to
	// do but to hand the token out.
	next instant
	// patience is how long it was postponed last.
	patience time.Duration
}

// hold returns a token that was asked for at sent and had life left then. It is
// good while at least minTTL of that is left, or to its end where it never had
// that much.
func hold(token Token, sent time.Time, life, minTTL time.Duration) *held {
	good := life - spare
	if life-minTTL > aheadLeast {
		good = life - max(minTTL, spare)
	}
	wait := jittered(time.Duration(aheadPart * float64(good)))
	return (&held{token: token, oauth: token.oauth2(), dead: instantOf(sent.Add(life - spare))}).
		timed(sent.Add(good), sent.Add(max(wait, aheadLeast)))
}

// timed returns the same token, good until then, with the next one fetched
// ahead at that time.
func (h *held) timed(until, ahead time.Time) *held {
	next := until
	if ahead.Before(until) {
		next = ahead
	}
	return &held{
		token: h.token, oauth: h.oauth, patience: h.patience,
		until: instantOf(until), ahead: instantOf(ahead), next: instantOf(next), dead: h.dead,
	}
}

// postponed returns the same token, good to its end: it could not be replaced,
// and nobody asks again before wait has passed, or twice as long as the last
// time where wait is 0.
func (h *held) postponed(now time.Time, wait time.Duration) *held {
	patience := min(max(2*h.patience, askAgain), askAgainMost)
	if wait == 0 {
		wait = jittered(patience)
	}
	later := h.timed(h.dead.mono, now.Add(wait))
	later.patience = patience
	return later
}

// left returns the same token, to be asked about again soon.
func (h *held) left(now time.Time) *held {
	return h.timed(h.until.mono, now.Add(aheadLeast))
}

// doubted returns the same token, which is only good if refreshd cannot be
// asked.
func (h *held) doubted(now time.Time) *held {
	return h.timed(now, now)
}

// jittered spreads a wait by ± 10 %, so that programs that began together ask
// one after the other.
func jittered(wait time.Duration) time.Duration {
	return time.Duration(float64(wait) * (0.9 + 0.2*rand.Float64())) //nolint:gosec // spreads load, decides nothing
}

// instant is a moment by both of the machine's clocks: the monotonic one may
// stand still while the machine sleeps, and the wall clock can be set. What has
// passed by either has passed.
type instant struct {
	mono time.Time // with a monotonic reading, which comparisons use
	wall int64     // nanoseconds since 1970
}

// instantOf returns a moment that was reckoned from time.Now.
func instantOf(at time.Time) instant { return instant{mono: at, wall: at.UnixNano()} }

// passed reports whether the moment has come. now is from time.Now.
func (i instant) passed(now time.Time) bool { return now.UnixNano() >= i.wall || !now.Before(i.mono) }
