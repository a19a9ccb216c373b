package credential

import (
	"slices"
	"strings"
	"time"
)

// clientPrefix starts the IDs of the pseudo-records of providers' clients.
const clientPrefix = "client:"

// ProbeEvery is how often one exchange is let through to find out whether a
// client's settings have been put right.
const ProbeEvery = time.Minute

// StandBack is for how long after a probe became due it is left to those with whose
// calls the client was not refused. Whoever is due behind an open breaker comes to
// the probe at that moment.
const StandBack = 15 * time.Second

// MaxRefused is how many credentials a client's record remembers with whose calls
// the client was refused.
const MaxRefused = 64

// ClientID returns the ID of the pseudo-record that stands for refreshd's own
// client at a provider. It carries the client's events and its breaker: while
// the provider refuses the client itself, whoever asks, no credential is to blame
// and no call is made but one probe a minute at the most.
func ClientID(provider string) ID { return ID(clientPrefix + provider) }

// IsClient reports whether id is that of a pseudo-record; owners cannot use
// such an ID.
func (id ID) IsClient() bool { return strings.HasPrefix(string(id), clientPrefix) }

// AllClients stands for every provider where a whole service is paused.
const AllClients = "*"

// ParseRecordID is [ParseID] for everything that has a record, and so for the
// pseudo-record of [AllClients] as well, whose name no owner can write.
func ParseRecordID(s string) (ID, error) {
	if all := ClientID(AllClients); s == string(all) {
		return all, nil
	}
	return ParseID(s)
}

// Breaker is the state of a client's breaker.
type Breaker struct {
	Open    bool
	Paused  bool // the operator holds it back
	Reason  Reason
	Since   Millis
	ProbeAt Millis // when the next probe may go out
	Refused []ID   // as in [Record]
}

// BreakerOf reads the breaker from a client's pseudo-record. A record that
// does not exist is a closed breaker.
func BreakerOf(r Record) Breaker {
	return Breaker{Open: r.State == StateDegraded, Paused: r.Paused, Reason: r.Reason, Since: r.Since, ProbeAt: r.RefreshAt, Refused: r.Refused}
}

// Blames reports whether the client was refused with a call for id, and not
// accepted with one since. While the breaker is closed it was accepted with
// another's, so a further refusal is that credential's own trouble.
func (b Breaker) Blames(id ID) bool { return slices.Contains(b.Refused, id) }

// ProbeAtFor returns from when on id may take the next probe of an open breaker.
// Whoever the client was refused with lets others go first: one whose own token is
// at fault would be first each time, for nobody is due longer.
func (b Breaker) ProbeAtFor(id ID) Millis {
	if b.Blames(id) {
		return b.ProbeAt.Add(StandBack)
	}
	return b.ProbeAt
}

// Trip opens the breaker of a client that the provider refused with a call for id.
// One that is open already only has its next probe moved, without an event.
func Trip(before *Held, provider string, id ID, o Outcome, nonce Nonce, now Millis) Write {
	c := clientChange(before, provider, nonce, now)
	r := &c.write.Record
	c.noteFailure(o)
	r.RefreshAt = now.Add(ProbeEvery)
	r.absolve(id)
	r.Refused = append([]ID{id}, r.Refused...)
	r.Refused = r.Refused[:min(len(r.Refused), MaxRefused)]
	if r.State != StateDegraded {
		c.event(EventClientMisconfigured, StateDegraded, ReasonClientMisconfigured)
	}
	return c.write
}

// absolve takes id off those with whose calls the client was refused.
func (r *Record) absolve(id ID) {
	r.Refused = slices.DeleteFunc(r.Refused, func(other ID) bool { return other == id })
	if len(r.Refused) == 0 {
		r.Refused = nil
	}
}

// Accept stores that an exchange for id showed the client to be accepted: it closes
// the breaker if that is open. It reports false if there is nothing to store.
func Accept(h Held, id ID, nonce Nonce, now Millis) (Write, bool) {
	b := BreakerOf(h.Record)
	if !b.Open && !b.Blames(id) {
		return Write{}, false
	}
	c := clientChange(&h, h.Record.Provider, nonce, now)
	r := &c.write.Record
	r.absolve(id)
	r.RefreshAt = 0
	r.Failures = 0
	r.LastAttempt.SucceededAt = now
	if b.Open {
		c.event(EventClientRecovered, StateActive, ReasonNone)
	}
	return c.write, true
}

// Probe takes the probe that is due at now and plans the next one. The store
// lets one of several callers through, for all expect the same revision.
func Probe(h Held, nonce Nonce, now Millis) Write {
	c := clientChange(&h, h.Record.Provider, nonce, now)
	c.write.Record.RefreshAt = now.Add(ProbeEvery)
	return c.write
}

// Retune makes the next probe due at once, for anybody: the client's settings
// changed, and earlier refusals say nothing of the new ones. It reports false if
// there was none.
func Retune(h Held, nonce Nonce, now Millis) (Write, bool) {
	b := BreakerOf(h.Record)
	if !b.Open && len(b.Refused) == 0 {
		return Write{}, false
	}
	c := clientChange(&h, h.Record.Provider, nonce, now)
	c.write.Record.Refused = nil
	if b.Open {
		c.write.Record.RefreshAt = now
	}
	return c.write, true
}

// SetClientPaused holds a provider's client back, or lets it go on: nothing is
// presented meanwhile. It reports false if there is nothing to do.
func SetClientPaused(before *Held, provider string, paused bool, nonce Nonce, now Millis) (Write, bool) {
	if was := before != nil && before.Record.Paused; was == paused {
		return Write{}, false
	}
	c := clientChange(before, provider, nonce, now)
	c.write.Record.Paused = paused
	c.write.Record.hear(now)
	return c.write, true
}

// AffirmClientPaused is [AffirmPaused] for a provider's client.
func AffirmClientPaused(before *Held, provider string, nonce Nonce, now Millis) Write {
	c := clientChange(before, provider, nonce, now)
	c.write.Record.hear(now)
	return c.write
}

func clientChange(before *Held, provider string, nonce Nonce, now Millis) *change {
	h := Held{Record: Record{ID: ClientID(provider), Provider: provider, State: StateActive, CreatedAt: now, Since: now}}
	if before != nil {
		h = *before
	}
	return beginChange(h, nonce, BySchedule, now)
}
