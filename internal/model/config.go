package model

import (
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// Without names the parts of the protocol that can be taken away.
type Without uint8

// The parts.
const (
	// WithoutJournal: nothing survives a process but what is in the store.
	WithoutJournal Without = 1 << iota
	// WithoutDurableBegin: a process begins although the store fell back to an
	// earlier state, and others have not put back what they know.
	WithoutDurableBegin
	// WithoutStickyAttempt: an attempt ends by itself at its deadline.
	WithoutStickyAttempt
	// WithoutProofOfDeath: an attempt is taken over from an owner who is only
	// slow.
	WithoutProofOfDeath
	// WithoutNonce: attempts are told apart by a counter in the store, which
	// falls back with it, in place of a random number.
	WithoutNonce
)

// Config bounds one exploration.
type Config struct {
	Policy credential.Policy // the provider's, as the service was told
	Bounds Bounds
	Take   Without // parts taken away
}

// Bounds says how much can happen on one way through the model.
type Bounds struct {
	Rotations uint8 // refresh tokens issued by refreshes
	Crashes   uint8
	Faults    uint8 // requests lost, replies lost, answers to a begin lost
	Losses    uint8 // 0 or 1: the store falls back to an earlier state
	Logins    uint8
	Logouts   uint8
	Troubles  uint8 // crashes, faults and losses together
	Delays    uint8 // times that a process is so slow that it is too late to send
}

// The clock of the model stands at one of a few moments. Between two of them
// more time passes than a request may be under way.
const (
	fresh   = iota // nothing is due
	due            // a refresh is due
	inGrace        // a minute later: past an attempt's deadline, inside the grace
	outside        // four minutes later: the grace is over
	last           // a minute before the access token expires
	expired        // the access token is dead
)

const (
	start = credential.Millis(1_800_000_000_000)
	life  = time.Hour
	// graceOf is the grace of a provider that grants one.
	graceOf = 2 * time.Minute
	// later is how far the moments beyond the last named one are apart.
	later = 10 * time.Minute
)

func moment(i uint8) credential.Millis {
	switch i {
	case fresh:
		return start
	case due:
		return start.Add(life * 2 / 3)
	case inGrace:
		return moment(due).Add(time.Minute)
	case outside:
		return moment(due).Add(4 * time.Minute)
	case last:
		return start.Add(life - time.Minute)
	default:
		return start.Add(life + later*time.Duration(i-expired))
	}
}

// expiryOf returns when an access token dies that was issued at a moment. Those
// of the first hour die together, so that one row of moments serves for each of
// them; later ones live from one moment to the next.
func expiryOf(i uint8) credential.Millis {
	if i < last {
		return start.Add(life)
	}
	return moment(i).Add(later)
}

// Strict returns the policy for a provider that revokes the whole grant when a
// spent refresh token is presented again.
func Strict() credential.Policy {
	return credential.Policy{RefreshAt: 2.0 / 3, Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0)}
}

// Graceful returns the policy for one that accepts it for a while.
func Graceful() credential.Policy {
	p := Strict()
	p.Grace = graceOf
	return p
}

// Steady returns the policy for one whose refresh tokens stay the same.
func Steady() credential.Policy {
	p := Strict()
	p.Rotates = credential.RotatesNo
	return p
}
