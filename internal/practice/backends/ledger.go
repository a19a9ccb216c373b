package backends

import (
	"slices"
	"time"
)

// Call is what a call is for.
type Call string

// The calls.
const (
	CallLogin   Call = "login"
	CallRefresh Call = "refresh"
	CallUse     Call = "use" // of a session, or a look at whether a token is taken
	CallLogout  Call = "logout"
)

// Entry is one call.
type Entry struct {
	Seq      int // from 1, in order of arrival
	Call     Call
	User     string    // whose; "" if that was not to be seen
	Token    int       // number of the session or refresh token that came; 0 if none did that is known
	Nth      int       // how often that refresh token had come, this time included
	Received time.Time // whole
	Replied  time.Time // right before the reply's first byte; zero: in the air, or there was none
	Status   int       // of the reply
	Done     bool      // what was asked for was done, whatever became of the reply
	Faulty   bool      // a fault shaped it

	InAir       int // calls that were being answered when it arrived, itself included
	InAirOfUser int // those of its user
}

// Ledger returns every call so far.
func (b *Backend) Ledger() []Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.ledger)
}

// Calls returns a user's calls of a kind; "" is any user, or any kind.
func (b *Backend) Calls(call Call, user string) []Entry {
	return slices.DeleteFunc(b.Ledger(), func(e Entry) bool {
		return call != "" && e.Call != call || user != "" && e.User != user
	})
}

// InAir is how many calls are being answered.
func (b *Backend) InAir() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inAir
}

// arrive notes a call and returns its number.
func (b *Backend) arrive(q request) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := Entry{Seq: len(b.ledger) + 1, Call: q.call, User: q.username, Received: time.Now()}
	if a, ok := b.access[q.token]; ok {
		e.User, e.Token = a.user.name, a.number
	}
	if r, ok := b.refresh[q.refresh]; ok && q.call == CallRefresh {
		r.presented++
		e.User, e.Token, e.Nth = r.user.name, r.number, r.presented
	}
	b.inAir++
	b.ofUser[e.User]++
	e.InAir, e.InAirOfUser = b.inAir, b.ofUser[e.User]
	b.ledger = append(b.ledger, e)
	return e.Seq
}

// note changes an entry.
func (b *Backend) note(seq int, change func(e *Entry)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.ledger[seq-1])
}

// leave counts a call as answered.
func (b *Backend) leave(seq int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inAir--
	b.ofUser[b.ledger[seq-1].User]--
}
