package credential

// Evidence is what is known of an open attempt that its owner does not settle.
type Evidence uint8

// The kinds of evidence.
const (
	EvidenceLiving Evidence = iota // somebody works on it
	EvidenceUnsent                 // it is certain that nothing was sent
	EvidenceSent                   // it may have been sent, and no reply is known
	EvidenceSilent                 // nothing is heard of its owner, which proves nothing
)

// EvidenceOfDead tells what the journal of an owner who is proven dead says of
// an attempt that he left open. An intent is synced before anything is sent:
// where there is none, nothing was, unless a part of the journal is damaged.
func EvidenceOfDead(intended, damaged bool) Evidence {
	if intended || damaged {
		return EvidenceSent
	}
	return EvidenceUnsent
}

// EvidenceOfOwn tells what a process knows of an attempt that is open in its
// own name. It holds those that it works on; for one that it has settled
// already, and the store fell back behind that, its journal still has the
// record. Of any other the answer to its begin was lost, and an intent is
// noted only after the answer.
func EvidenceOfOwn(held, journaled bool) Evidence {
	switch {
	case held:
		return EvidenceLiving
	case journaled:
		return EvidenceSent
	default:
		return EvidenceUnsent
	}
}

// Inherit settles an attempt that its owner does not settle, on the evidence
// there is: what was not sent is closed, what may have been sent is in doubt
// from now on. An owner's silence is enough past the deadline of what
// [SpendsNothing]. It reports false if there is nothing to do: somebody works on
// it, or may, or it is open no longer, or in doubt already.
func Inherit(h Held, a Attempt, e Evidence, p Policy, now Millis) (Write, bool) {
	if h.Attempt == nil || h.Attempt.Nonce != a.Nonce || h.Attempt.Doubt {
		return Write{}, false
	}
	switch e {
	case EvidenceLiving:
	case EvidenceUnsent:
		return Abandon(h, *h.Attempt, BySchedule, now), true
	case EvidenceSent:
		return Doubt(h, *h.Attempt, p, now), true
	case EvidenceSilent:
		if SpendsNothing(h) && h.Attempt.Deadline <= now {
			return Doubt(h, *h.Attempt, p, now), true
		}
	}
	return Write{}, false
}

// SpendsNothing reports whether the open attempt of h, which is not in doubt, can
// have presented no refresh token, whatever the settings were by which it was
// begun: none is held. Done once more, it is an extension or a login too many.
func SpendsNothing(h Held) bool {
	return h.Attempt != nil && !h.Attempt.Doubt && !h.Record.HasRefresh
}

// Missing reports whether the store lacks the generation that a presents, or
// its login: it fell back behind the write that brought them, and whoever made
// that has not put it back yet. Until then nothing can be said about a.
func Missing(h Held, a Attempt) bool {
	r := h.Record
	return r.Grant < a.Grant || r.Grant == a.Grant && r.Generation < a.Generation
}
