package backends

import (
	"slices"
	"time"
)

// Fault makes a backend answer some calls wrongly, or late. What is not set fits
// any call, or does nothing.
type Fault struct {
	Call  Call
	User  string
	Count int // calls that it is for; 0: until it is removed

	Wait  time.Duration // before anything is done
	Reply *Reply        // in place of what would be done and answered
	Hold  time.Duration // after it was done, before the reply
	Cut   bool          // the connection ends in place of the reply
	Reset bool          // likewise, and the other side is told so (RFC 9293 section 3.5.2)
}

// Reply is an answer as it is.
type Reply struct {
	Status int
	Header map[string]string
	Body   string
}

// Add makes calls from now on go wrong; of several faults that fit, the first
// counts. It returns what removes it.
func (b *Backend) Add(f Fault) (remove func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := &f
	if f.Count == 0 {
		one.Count = -1
	}
	b.faults = append(b.faults, one)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.faults = slices.DeleteFunc(b.faults, func(other *Fault) bool { return other == one })
	}
}

// fault takes the fault for a call.
func (b *Backend) fault(seq int) Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := &b.ledger[seq-1]
	for _, f := range b.faults {
		if f.Count == 0 || f.Call != "" && f.Call != e.Call || f.User != "" && f.User != e.User {
			continue
		}
		if f.Count > 0 {
			f.Count--
		}
		e.Faulty = true
		return *f
	}
	return Fault{}
}
