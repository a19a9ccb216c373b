package credential

import (
	"maps"
	"slices"
)

// Restoration is what is to be done about a write that was acknowledged and
// that the store may have lost since.
type Restoration uint8

// The restorations.
const (
	RestoreNone  Restoration = iota // the store has it, or something that came after it
	RestoreAgain                    // the write has to be made
	RestoreLater                    // a write of somebody else that came before it is missing
)

// Restore decides how a write is put back into a store that fell back to an
// earlier state. after is what the write led to, stored what is there now; nil
// if nothing is.
//
// Written again as it was, it brings back the same version under the same
// event IDs, so that a subscriber who has seen them sees duplicates. Where a
// write that came before it is missing, it waits for whoever made that one.
// force ends the waiting: its maker is gone, and the record is put back as a
// whole.
func Restore(stored *Held, w Write, after Held, force bool) (Write, Restoration) {
	var have Record
	if stored != nil {
		have = stored.Record
	}
	want := w.Record
	settled := w.Attempt
	w = w.beside(nil)
	if stored != nil {
		w = w.beside(stored.Attempt)
	}
	switch {
	case newer(have, want) && have.Version < want.Version:
		return told(*stored, w), RestoreAgain
	case have.Revision >= want.Revision && !behind(have, want):
		if have.lacksPlans(want) || have.lacksSubject(want) && (have.Subject == "" || len(w.claims()) > 0) {
			return wordsAlone(*stored, w), RestoreAgain
		}
		return Write{}, RestoreNone
	case have.Revision == w.Revision:
		return w.leaving(stored, settled, after.Attempt, true), RestoreAgain
	case have.Revision < w.Revision && !force:
		return Write{}, RestoreLater
	}
	return whole(stored, w, after).leaving(stored, settled, after.Attempt, false), RestoreAgain
}

// leaving decides which attempt is open once w, which settled one and left after
// open, is put back. One that was begun later stays: its owner, or his journal,
// put it back before. One that somebody held is left to him; a doubt is
// nobody's, and comes back with the write.
//
// Where w is the next of the stored writes, whatever is open beside it was begun
// later: an attempt ends with a write, so none that ended before w is open where w
// is still to come. But for a doubt, which may be the one that an attempt took over
// that w ended: a doubt that w left takes its place. Otherwise writes are missing
// that may have ended it, and the store's clock, which may have fallen back as
// well, is all that is left to tell:
// the maker of those writes is gone, or somebody has gone on without them, and
// whoever holds the attempt puts it back in his next pass.
func (w Write) leaving(stored *Held, settled Nonce, after *Attempt, next bool) Write {
	var open *Attempt
	if stored != nil && stored.Attempt != nil && stored.Attempt.Grant == w.Record.Grant && stored.Attempt.Generation == w.Record.Generation {
		open = stored.Attempt
	}
	switch {
	case w.Record.State.Terminal():
		open = nil
	case next && open != nil && open.Doubt && after != nil && after.Doubt:
		open = after
	case open != nil && open.Nonce != settled && (next || open.BegunAt >= w.Record.UpdatedAt):
	case after == nil:
		open = nil
	case after.Doubt:
		open = after
	}
	w.Close, w.Open = open == nil, nil
	if open != nil {
		w.Open = new(*open)
	}
	w.Due = NextDue(w.Record, open)
	return w
}

// behind reports whether have, although it was written as often as want, comes
// from before it: somebody has gone on from what the store fell back to. A
// newer login wins, and a newer generation within the same login.
func behind(have, want Record) bool {
	if have.Grant != want.Grant {
		return have.Grant < want.Grant
	}
	if have.Generation != want.Generation {
		return have.Generation < want.Generation
	}
	return have.Version < want.Version
}

// newer reports whether have has a later login or generation than want.
func newer(have, want Record) bool {
	return have.Grant > want.Grant || have.Grant == want.Grant && have.Generation > want.Generation
}

// wordsAlone returns the write that puts nothing back of w but what the owner has said
// in it: the record has gone on from before it. A user's UID comes with its event, whose
// version somebody else may have taken since.
func wordsAlone(stored Held, w Write) Write {
	have, words := stored.Record, w.Record
	var claims []Event
	if have.lacksSubject(words) {
		claims = w.claims()
	}
	if len(claims) == 0 && have.Subject != "" {
		words.Subject = have.Subject
	}
	r := have.clone().WithWords(words)
	r.LastWrite = w.Nonce
	r.Revision++
	for i := range claims {
		claims[i].State, claims[i].Reason, claims[i].ExpiresAt = r.State, r.Reason, r.ExpiresAt
	}
	alone := Write{Nonce: w.Nonce, Revision: have.Revision, Record: r, Events: claims, Due: NextDue(r, stored.Attempt)}
	return alone.countedOnFrom(have).beside(stored.Attempt)
}

// claims returns the events of w that tell whose the credential is.
func (w Write) claims() []Event {
	return slices.DeleteFunc(slices.Clone(w.Events), func(e Event) bool { return e.Type != EventClaimsChanged })
}

// told returns the write that puts nothing back of w but its events: what they
// tell was seen, and the record has gone on from before it.
func told(stored Held, w Write) Write {
	r := stored.Record.clone().WithWords(w.Record)
	r.Version, r.LastWrite = w.Record.Version, w.Nonce
	r.Revision++
	var events []Event
	for _, e := range w.Events {
		if e.Version > stored.Record.Version {
			events = append(events, e)
			r.LastEvents[e.Type] = e.Version
		}
	}
	return Write{
		Nonce: w.Nonce, Revision: stored.Record.Revision, Record: r, Events: events, Due: NextDue(r, stored.Attempt),
	}
}

// whole returns the write that puts the record of w in place of have, whatever
// that is. No version is used twice: where have's is as high, those of w are
// counted on from there. What an owner was told since w was decided is not undone:
// w may be one that was never answered, and what is stored a pause that came after
// it.
func whole(stored *Held, w Write, after Held) Write {
	var have Record
	if stored != nil {
		have = stored.Record
	}
	w.Revision = have.Revision
	w.Record.Revision = max(have.Revision+1, w.Record.Revision)
	w = w.belonging(have)
	w.Record.Acts = max(have.Acts, w.Record.Acts)
	if !w.Erase {
		w.Record.follow(have)
	}
	if n := uint64(len(w.Events)); have.Version > w.Record.Version-min(n, w.Record.Version) {
		w = w.countedOnFrom(have)
	}
	alternates := slices.Clone(after.Alternates)
	if stored != nil && have.Grant == w.Record.Grant && !w.Erase {
		for _, alt := range stored.Alternates {
			if !slices.ContainsFunc(alternates, func(other Alternate) bool { return other.Nonce == alt.Nonce }) {
				alternates = append(alternates, alt)
			}
		}
	}
	w.Alternates = &alternates
	if !w.Erase && after.opened() {
		// Else it leaves what is stored: only a write that erases may erase.
		w.Token, w.SignIn, w.UserData = &after.Token, &after.SignIn, &after.UserData
	}
	return w
}

// belonging returns w with the user's UID that the owner of have has told since w was
// decided: its events go to those who may read the credential now. A login that w ends
// is that of have all the same; one that it deletes is nobody's.
func (w Write) belonging(have Record) Write {
	r := w.Record
	if w.Erase {
		if r.Subject == "" {
			return w
		}
		r.Grant--
	}
	if !r.lacksSubject(have) {
		return w
	}
	w.Record.Subject = have.Subject
	w.Events = slices.Clone(w.Events)
	for i := range w.Events {
		w.Events[i].Subject = have.Subject
	}
	return w
}

// opened reports whether the secrets are there that the record tells of.
func (h Held) opened() bool {
	return h.Token != (Token{}) || !h.SignIn.IsZero() || h.UserData != nil
}

// countedOnFrom gives the events of w the versions after have's, as if they had
// been decided on have: each tells of the state and of the events before it.
func (w Write) countedOnFrom(have Record) Write {
	w.Record = w.Record.clone()
	last := maps.Clone(have.LastEvents)
	if last == nil {
		last = make(map[EventType]uint64)
	}
	state, version := have.State, have.Version
	events := make([]Event, len(w.Events))
	for i, e := range w.Events {
		version++
		e.Version, e.PreviousState, e.Last = version, state, maps.Clone(last)
		state, last[e.Type] = e.State, version
		events[i] = e
	}
	w.Record.Version, w.Record.LastEvents, w.Events = version, last, events
	return w
}

// Reopen puts an attempt back that its owner still holds and the store has
// lost. It reports false if there is no room for it: its generation is not the
// current one any more, or another attempt for it was begun later.
//
// No clock tells that: the store's may have fallen back as well. Whatever else is
// open had ended before this one was begun, unless its owner was taken for dead.
// That left a doubt, which stays until the generation is over, so whoever follows
// is a doubt or a recovery; and one that is held and recovers nothing was begun
// before there was any. Of two recoveries the stored one was begun later, unless it
// is missing that it ended, for which [Contested] waits.
func Reopen(h Held, a Attempt) (Write, bool) {
	r := h.Record
	if r.State.Terminal() || r.Grant != a.Grant || r.Generation != a.Generation {
		return Write{}, false
	}
	if open := h.Attempt; open != nil && (open.Nonce == a.Nonce || open.presented() && !a.Recovery) || Contested(h, a) {
		return Write{}, false
	}
	w := Write{Nonce: r.LastWrite, Revision: r.Revision, Record: r, Open: &a, Due: NextDue(r, &a)}
	return w.beside(h.Attempt), true
}

// Contested reports whether a, which its owner still holds, and the open attempt
// are two recoveries of one generation. The open one ended in a doubt before a was
// begun, and that write is still to be put back; or a's owner was taken for dead,
// and the open one was begun since.
func Contested(h Held, a Attempt) bool {
	open := h.Attempt
	return open != nil && open.Nonce != a.Nonce && open.Recovery && !open.Doubt && a.Recovery
}

// Recall decides about a presentation that the journal of a dead owner tells of
// and the store knows nothing of: neither is the attempt open, nor was its end
// the last that was written, nor has it brought a token. The store has lost it,
// and with it the right to present that generation's refresh token, which is in
// doubt from now on. It reports false if there is nothing to put back.
//
// Where another attempt is open for that generation, it matters which of the two
// came first. No clock tells: the store's may have fallen back as well. If the
// generation is known to have been presented before, as it is by a doubt and by
// a recovery, it stays so whatever becomes of them, and nothing is missing.
// Otherwise one of the two ended before anything was sent. later says that it was
// not the open one: its owner has put back what it knows, and would have ended it.
func Recall(h Held, a Attempt, later bool, p Policy, now Millis) (Write, bool) {
	r, open := h.Record, h.Attempt
	if r.State.Terminal() || r.Grant != a.Grant || r.Generation != a.Generation || open == nil && a.ended(r.LastWrite) {
		return Write{}, false
	}
	if p.presented(h) != MethodRefresh || !p.MayRotate(r.Rotations) {
		return Write{}, false // whatever it was, it can be done again
	}
	if open != nil && (open.Nonce == a.Nonce || later || open.presented()) {
		return Write{}, false
	}
	h.Attempt = &a
	return Doubt(h, a, p, now).beside(open), true
}

// presented reports whether the store knows that the generation of an open
// attempt was presented before, or may have been.
func (a Attempt) presented() bool { return a.Doubt || a.Recovery }

// Unordered reports whether [Recall] has to be told which of two came first: a,
// or the attempt that is open.
func Unordered(h Held, a Attempt) bool {
	open := h.Attempt
	return open != nil && open.Nonce != a.Nonce && !open.presented()
}
