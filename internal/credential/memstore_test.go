package credential_test

import (
	"crypto/sha256"
	"maps"
	"slices"

	"github.com/refreshd/refreshd/internal/credential"
)

// memStore keeps one credential the way the real store does: it compares and
// replaces, and knows no rules. Like that one it hands out copies and keeps
// none of what it is given.
type memStore struct {
	held *credential.Held  // nil: nothing is stored
	used credential.Millis // the last touch, beside the record
	due  credential.Millis
	log  []credential.Event
}

// load returns what is stored, nil if nothing is.
func (s *memStore) load() *credential.Held {
	if s.held == nil {
		return nil
	}
	h := copyHeld(*s.held)
	h.Record = h.Record.Touched(s.used)
	return &h
}

// touch moves only the clock and the score.
func (s *memStore) touch(now credential.Millis) {
	s.used = now
	s.due = credential.NextDue(s.load().Record, s.held.Attempt)
}

// begin grants or refuses an attempt, and puts right when the credential is
// due next. Whose received token waits to be installed keeps its moment.
func (s *memStore) begin(ask credential.Begin, now credential.Millis) credential.Begun {
	if s.held == nil {
		refusal, _ := credential.Grant(credential.Held{}, ask, now)
		return credential.Begun{ID: ask.ID, Refusal: refusal, Now: now}
	}
	refusal, open := credential.Grant(*s.load(), ask, now)
	if refusal == credential.RefusedNot {
		s.held.Attempt = open
	}
	if refusal != credential.RefusedAlternate {
		s.due = credential.NextDue(s.load().Record, s.held.Attempt)
	}
	return credential.Begun{ID: ask.ID, Refusal: refusal, Held: *s.load(), Now: now}
}

// done reports whether w is what was written last.
func (s *memStore) done(w credential.Write) bool {
	return s.held != nil && s.held.Record.LastWrite == w.Nonce && s.held.Record.Revision == w.Record.Revision
}

// apply stores a write that finds what it expects.
func (s *memStore) apply(w credential.Write) credential.Status {
	if s.done(w) {
		return credential.StatusWritten
	}
	var open credential.Nonce
	var before credential.Held
	if s.held != nil {
		before = *s.held
	}
	if before.Attempt != nil {
		open = before.Attempt.Nonce
	}
	if before.Record.Revision != w.Revision || (!w.Attempt.IsZero() && open != w.Attempt) || (w.Alone && !open.IsZero()) {
		return credential.StatusMoved
	}
	after := copyHeld(w.Result(before))
	if !w.Spent.IsZero() {
		after.Record.Remember(macOf(w.Spent))
	}
	if after.Record.Grant != before.Record.Grant || after.Record.Generation != before.Record.Generation {
		s.used = 0 // it was of another session
	}
	s.held, s.due = &after, w.Due
	if touched := after.Record.Touched(s.used); touched.IssuedAt != after.Record.IssuedAt {
		s.due = credential.NextDue(touched, after.Attempt) // a touch that the write did not know of
	}
	for _, e := range w.Events {
		e.Labels, e.Last = maps.Clone(e.Labels), maps.Clone(e.Last)
		s.log = append(s.log, e)
	}
	return credential.StatusWritten
}

// spentBefore reports whether a refresh token is remembered as presented or replaced.
func (s *memStore) spentBefore(refresh credential.Secret) bool {
	return slices.Contains(s.held.Record.Spent, macOf(refresh))
}

func macOf(s credential.Secret) credential.MAC {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return credential.MAC(sum[:16])
}
