package credential

import (
	"strings"
	"time"
)

// clientPrefix starts the IDs of the pseudo-records of providers' clients.
const clientPrefix = "client:"

// ProbeEvery is how often one exchange is let through to find out whether a
// client's settings have been put right.
const ProbeEvery = time.Minute

// ClientID returns the ID of the pseudo-record that stands for refreshd's own
// client at a provider. It carries the client's events and its breaker: while
// the provider refuses the client itself, no credential is to blame and no
// call is made but one probe a minute.
func ClientID(provider string) ID { return ID(clientPrefix + provider) }

// IsClient reports whether id is that of a pseudo-record; owners cannot use
// such an ID.
func (id ID) IsClient() bool { return strings.HasPrefix(string(id), clientPrefix) }

// AllClients stands for every provider where a whole service is paused.
const AllClients = "*"

// Breaker is the state of a client's breaker.
type Breaker struct {
	Open    bool
	Paused  bool // the operator holds it back
	Reason  Reason
	Since   Millis
	ProbeAt Millis // when the next probe may go out
}

// BreakerOf reads the breaker from a client's pseudo-record. A record that
// does not exist is a closed breaker.
func BreakerOf(r Record) Breaker {
	return Breaker{Open: r.State == StateDegraded, Paused: r.Paused, Reason: r.Reason, Since: r.Since, ProbeAt: r.RefreshAt}
}

// Trip opens the breaker of a client that the provider refused. One that is
// open already only has its next probe moved, without an event.
func Trip(before *Held, provider string, o Outcome, nonce Nonce, now Millis) Write {
	c := clientChange(before, provider, nonce, now)
	r := &c.write.Record
	c.noteFailure(o)
	r.RefreshAt = now.Add(ProbeEvery)
	if r.State != StateDegraded {
		c.event(EventClientMisconfigured, StateDegraded, ReasonClientMisconfigured)
	}
	return c.write
}

// Reset closes the breaker after an exchange showed that the client is
// accepted.
func Reset(h Held, nonce Nonce, now Millis) Write {
	c := clientChange(&h, h.Record.Provider, nonce, now)
	r := &c.write.Record
	r.RefreshAt = 0
	r.Failures = 0
	r.LastAttempt.SucceededAt = now
	c.event(EventClientRecovered, StateActive, ReasonNone)
	return c.write
}

// Probe takes the probe that is due at now and plans the next one. The store
// lets one of several callers through, for all expect the same revision.
func Probe(h Held, nonce Nonce, now Millis) Write {
	c := clientChange(&h, h.Record.Provider, nonce, now)
	c.write.Record.RefreshAt = now.Add(ProbeEvery)
	return c.write
}

// Retune makes the next probe due at once: the client's settings changed.
func Retune(h Held, nonce Nonce, now Millis) Write {
	c := clientChange(&h, h.Record.Provider, nonce, now)
	c.write.Record.RefreshAt = now
	return c.write
}

// SetClientPaused holds a provider's client back, or lets it go on: nothing is
// presented meanwhile. It reports false if there is nothing to do.
func SetClientPaused(before *Held, provider string, paused bool, nonce Nonce, now Millis) (Write, bool) {
	if was := before != nil && before.Record.Paused; was == paused {
		return Write{}, false
	}
	c := clientChange(before, provider, nonce, now)
	c.write.Record.Paused = paused
	return c.write, true
}

func clientChange(before *Held, provider string, nonce Nonce, now Millis) *change {
	h := Held{Record: Record{ID: ClientID(provider), Provider: provider, State: StateActive, CreatedAt: now, Since: now}}
	if before != nil {
		h = *before
	}
	return beginChange(h, nonce, BySchedule, now)
}
