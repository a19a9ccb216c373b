package refresh

import (
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// readMargin is added to what a caller asks for: the token has to reach
	// the resource alive.
	readMargin = time.Second
	// longestPart is the part of an issued life that can be asked for.
	longestPart = 0.9
	// tooBrief is the life of a token that can hardly be handed out before it is
	// over.
	tooBrief = 2 * readMargin
)

// enough reports whether held answers a request for minTTL, with the token or
// with an error.
func (e *Engine) enough(held credential.Held, minTTL time.Duration) (bool, error) {
	r := held.Record
	if r.ValidAt(e.clock.Now(), minTTL+readMargin) {
		return true, nil
	}
	if r.State.Terminal() {
		return true, &StateError{State: r.State, Reason: r.Reason, Since: r.Since}
	}
	longest := min(time.Duration(longestPart*float64(r.Lifetime)), r.Lifetime-readMargin)
	if longest = max(longest, 0); r.Lifetime > 0 && minTTL > longest {
		return true, &MinTTLError{Asked: minTTL, Longest: longest}
	}
	if e.wayless(r) {
		return true, ErrNotRefreshable
	}
	if r.Paused {
		return true, paused()
	}
	return false, nil
}

// inVain says why a call that is made now would bring no token that lives for
// minTTL: the last one brought one that was as good as dead, as the next will, or
// all that is left to be extended is the session's last moments before its limit.
// It is nil if the call may help, or if the session's clock has run out: whoever
// goes on finds it over, and whether there is another way.
func (e *Engine) inVain(held credential.Held, minTTL time.Duration) error {
	r := held.Record
	t, err := e.target(r.Provider)
	if err != nil {
		return nil //nolint:nilerr // whoever makes the call tells of it
	}
	now := e.clock.Now()
	if again := r.LastAttempt.SucceededAt.Add(t.Policy.MinInterval); r.LastAttempt.SucceededAt != 0 && r.Lifetime > 0 && r.Lifetime <= tooBrief && now < again {
		return &UnavailableError{Reason: credential.ReasonMalformedReply, RetryAfter: max(again.Sub(now), time.Second)}
	}
	left := r.LimitAt.Sub(now) - readMargin
	if !r.Session.Sliding() || r.LimitAt == 0 || r.ExpiresAt <= now || left > minTTL || t.Policy.MethodAt(r, now) != credential.MethodExtend {
		return nil
	}
	if left > 0 && r.Session.Successor.At == 0 && r.ValidAt(now, readMargin) {
		return &MinTTLError{Asked: minTTL, Longest: left}
	}
	unavailable := e.notNow(held)
	if unavailable.Reason == credential.ReasonUnavailable && r.LastAttempt.Failure == credential.ReasonNone {
		unavailable.Reason = credential.ReasonAbsoluteTimeout
	}
	return unavailable
}

// withoutAccess says when to ask again where the last refresh token came without an
// access token; it is nil if a call may be made. The next reply will be read like that
// one as long as the place of the access token is declared wrongly, and no doubt is open
// that would hold anybody back: until the backoff has passed nobody gets a call, not
// even who insists.
func (e *Engine) withoutAccess(held credential.Held) error {
	r := held.Record
	t, err := e.target(r.Provider)
	if err != nil || r.RefreshOnly == 0 {
		return nil //nolint:nilerr // whoever makes the call tells of it
	}
	if again := t.Policy.Again(r); again > e.clock.Now() {
		return &UnavailableError{Reason: r.LastAttempt.Failure, RetryAfter: max(again.Sub(e.clock.Now()), time.Second)}
	}
	return nil
}
