package credential

import (
	"hash/fnv"
	"strconv"
	"time"
)

// Bounds that no provider can move.
const (
	// FallbackLifetime is assumed where nothing tells how long an access
	// token lives. RFC 6749 section 5.1 only recommends expires_in.
	FallbackLifetime = time.Hour
	// MaxLifetime caps what a provider claims: "for ever" is never believed.
	MaxLifetime = 366 * 24 * time.Hour
	// MaxRefreshLifetime caps what is believed of a refresh token.
	MaxRefreshLifetime = 10 * MaxLifetime
	// MaxRetryAfter caps what a provider asks for: a wrong number must not
	// end a credential for years.
	MaxRetryAfter = 24 * time.Hour
	// minLifeLeft is the part of a life that a planned refresh leaves.
	minLifeLeft = 0.1

	firstBackoff = 2 * time.Second
	maxBackoff   = 5 * time.Minute
	minBackoff   = time.Second

	// retryJitter spreads those that were told the same, as a part of it.
	retryJitter = 0.1
)

// Rotates says whether a provider issues a new refresh token with each use.
type Rotates string

// What is known of a provider's rotation. RotatesAuto counts as rotating
// until two replies in a row brought no new refresh token.
const (
	RotatesAuto Rotates = "auto"
	RotatesYes  Rotates = "yes"
	RotatesNo   Rotates = "no"
)

// Policy is what a provider's settings say about time and rotation.
type Policy struct {
	RefreshAt       float64       // part of the life after which a refresh is due, 0 to 1
	Jitter          float64       // spread around it, as a part of the life
	MinInterval     time.Duration // from one issued token to the next planned refresh, at least; 0: none
	DefaultLifetime time.Duration // of an access token whose reply tells none; 0 means FallbackLifetime
	Rotates         Rotates
	Grace           time.Duration // how long a spent refresh token still works; 0 is strict or unknown
	RefreshIdle     time.Duration // a refresh token unused for this long dies; 0 unknown
	RefreshAbsolute time.Duration // a refresh token dies this long after the login; 0 unknown
	WarnBefore      time.Duration // how long before that end it is announced
	NoRefresh       bool          // there is no call that a refresh token could be presented with
	CanLogin        bool          // there is a call that logs in with a name and a password
	AsksUserData    bool          // there is a call for user data, made after each sign-in and each refresh
	Sessions        SessionPolicy
	Times           Times
}

// Times are the allowances of one attempt.
type Times struct {
	Send     time.Duration // from begin to the first byte sent; later the attempt is abandoned
	Exchange time.Duration // the provider's whole answer
	Commit   time.Duration // from the reply to the stored token
	Margin   time.Duration
}

// DefaultTimes returns the allowances for a provider whose own timeout is
// exchange, 20 s if 0.
func DefaultTimes(exchange time.Duration) Times {
	if exchange == 0 {
		exchange = 20 * time.Second
	}
	return Times{Send: 5 * time.Second, Exchange: exchange, Commit: 5 * time.Second, Margin: 5 * time.Second}
}

// Attempt returns how long an attempt may take before others ask about it.
func (t Times) Attempt() time.Duration { return t.Send + t.Exchange + t.Commit + t.Margin }

// UsableGrace returns the provider's grace if a recovery fits into it, else 0:
// a second presentation that may arrive after the grace counts as a reuse.
func (p Policy) UsableGrace() time.Duration {
	if p.Grace > p.Times.Exchange+p.Times.Margin {
		return p.Grace
	}
	return 0
}

// RecoverWithin returns for how long after its first presentation a refresh token
// can be presented safely once more: until then its answer comes inside the
// provider's grace. 0 if the provider grants no usable grace.
func (p Policy) RecoverWithin() time.Duration {
	if grace := p.UsableGrace(); grace != 0 {
		return grace - p.Times.Exchange - p.Times.Margin
	}
	return 0
}

// MayRotate reports whether presenting the same refresh token twice has to be
// feared. What is not known counts as rotating.
func (p Policy) MayRotate(seen Rotated) bool {
	switch p.Rotates {
	case RotatesNo:
		return false
	case RotatesYes:
		return true
	case RotatesAuto:
		return seen.Seen || seen.Kept < 2
	}
	return true
}

// Lifetime resolves how long an access token lives that was sent for at sent:
// what the reply told, else the expiry in the token itself (RFC 7519 section
// 4.1.4), else the provider's default, else an hour. Never zero, never for
// ever.
func (p Policy) Lifetime(told time.Duration, exp, sent Millis) time.Duration {
	switch {
	case told > 0:
		return min(told, MaxLifetime)
	case exp > sent:
		return min(exp.Sub(sent), MaxLifetime)
	case p.DefaultLifetime > 0:
		return p.DefaultLifetime
	default:
		return FallbackLifetime
	}
}

// PlanRefresh returns when a token that was issued at issued and lives for
// life is to be refreshed: after RefreshAt of its life, give or take Jitter of
// it, leaving at least a tenth. The place within the jitter is a hash of ID
// and version, so every replica computes the same moment and credentials that
// were stored together spread out.
func (p Policy) PlanRefresh(id ID, version uint64, issued Millis, life time.Duration) Millis {
	part := p.RefreshAt + p.Jitter*(2*spread(id, version)-1)
	part = min(max(part, 0), 1-minLifeLeft)
	at := issued.Add(time.Duration(part * float64(life)))
	if p.RefreshIdle > 0 {
		at = min(at, issued.Add(p.RefreshIdle/2))
	}
	return at
}

// space puts the planned refresh of a token that was issued just now off, so that
// one that is told to live for a moment is not replaced every moment: it lives
// longer than was read, or the provider is at fault, and is asked for more than
// anybody means to. A token that lives for MinInterval or longer is still replaced
// before its end, and so is a refresh token.
func (p Policy) space(r *Record) {
	if r.RefreshAt == 0 || r.Session.Sliding() {
		return
	}
	wait := p.apart(r.Lifetime)
	if p.RefreshIdle > 0 {
		wait = min(wait, p.RefreshIdle/2)
	}
	r.RefreshAt = max(r.RefreshAt, r.IssuedAt.Add(wait))
}

// apart returns how long after a token was issued that lives for life it is
// replaced by plan at the earliest.
func (p Policy) apart(life time.Duration) time.Duration {
	if life < p.MinInterval {
		return p.MinInterval
	}
	return min(p.MinInterval, time.Duration((1-minLifeLeft)*float64(life)))
}

// Backoff returns how long to wait after the given number of failures in a
// row: it doubles from 2 s to 5 min, never takes more than a quarter of the
// token's life, so that a short one is attempted again before it ends, and
// varies by a tenth either way.
func (p Policy) Backoff(id ID, failures int, life time.Duration) time.Duration {
	wait := firstBackoff << min(max(failures-1, 0), 10)
	wait = min(wait, maxBackoff)
	if life > 0 {
		wait = max(min(wait, max(life, p.MinInterval)/4), minBackoff)
	}
	return time.Duration(float64(wait) * (0.9 + 0.2*spread(id, uint64(max(failures, 0)))))
}

// lastMoment returns when a token in doubt is presented as the last resort:
// shortly before the access token that is still being served expires.
func lastMoment(r Record) Millis {
	lead := min(max(r.Lifetime/10, time.Second), time.Minute)
	return r.ExpiresAt.Add(-lead)
}

// spread maps an ID and a number evenly and repeatably into [0, 1).
func spread(id ID, n uint64) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // a hash never fails
	_, _ = h.Write(strconv.AppendUint(nil, n, 10))
	return float64(mix(h.Sum64())>>11) / (1 << 53)
}

// mix scatters the bits of x: FNV alone leaves the high bits of short, similar
// inputs close together. The constants are those of the SplitMix64 finaliser.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
