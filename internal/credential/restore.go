package credential

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
	w.Attempt = Nonce{}
	switch {
	case have.Revision >= want.Revision && !behind(have, want):
		return Write{}, RestoreNone
	case have.Revision == w.Revision:
		return w, RestoreAgain
	case have.Revision < w.Revision && !force:
		return Write{}, RestoreLater
	}
	return whole(have, w, after), RestoreAgain
}

// behind reports whether have, although it was written as often as want, comes
// from before it: somebody has gone on from what the store fell back to. A
// newer login wins, and a newer generation within the same login.
func behind(have, want Record) bool {
	if have.LastWrite == want.LastWrite {
		return false
	}
	if have.Grant != want.Grant {
		return have.Grant < want.Grant
	}
	return have.Generation < want.Generation
}

// whole returns the write that puts the record of w in place of have, whatever
// that is. No version is used twice: where have's is as high, those of w are
// counted on from there.
func whole(have Record, w Write, after Held) Write {
	w.Revision = have.Revision
	w.Record.Revision = max(have.Revision+1, w.Record.Revision)
	if n := uint64(len(w.Events)); have.Version > w.Record.Version-min(n, w.Record.Version) {
		shift := have.Version + n - w.Record.Version
		w.Record = w.Record.clone()
		w.Record.Version += shift
		events := make([]Event, len(w.Events))
		for i, e := range w.Events {
			e.Version += shift
			w.Record.LastEvents[e.Type] = e.Version
			events[i] = e
		}
		w.Events = events
	}
	w.Close, w.Open = after.Attempt == nil, after.Attempt
	w.Alternates = &after.Alternates
	switch {
	case w.Erase:
	case after.Token == (Token{}):
		w.Erase = true
	default:
		w.Token = &after.Token
	}
	return w
}

// Reopen puts an attempt back that its owner still holds and the store has
// lost. It reports false if there is no room for it: its generation is not the
// current one any more, or another attempt for it was begun later.
func Reopen(h Held, a Attempt) (Write, bool) {
	r := h.Record
	if r.State.Terminal() || r.Grant != a.Grant || r.Generation != a.Generation {
		return Write{}, false
	}
	if open := h.Attempt; open != nil && (open.Nonce == a.Nonce || open.BegunAt > a.BegunAt) {
		return Write{}, false
	}
	return Write{
		Nonce: r.LastWrite, Revision: r.Revision, Record: r, Open: &a, Due: NextDue(r, &a),
	}, true
}

// Recall decides about a presentation that the journal of a dead owner tells of
// and the store knows nothing of: neither is the attempt open, nor has it
// failed, nor brought a token. The store has lost it, and with it the right to
// present that generation; it is in doubt from now on. It reports false if
// there is nothing to put back.
func Recall(h Held, a Attempt, p Policy, now Millis) (Write, bool) {
	r := h.Record
	if h.Attempt != nil || r.State.Terminal() || r.Grant != a.Grant || r.Generation != a.Generation ||
		r.LastAttempt.FailedAt >= a.BegunAt {
		return Write{}, false
	}
	h.Attempt = &a
	write := Doubt(h, a, p, now)
	write.Attempt = Nonce{}
	return write, true
}
