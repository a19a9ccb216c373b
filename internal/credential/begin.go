package credential

// Grant decides on one [Begin] at now, by the store's clock: it returns the
// attempt that is open from then on, or says why there is none. h is what is
// stored, the zero Held if nothing is.
//
// A request that is repeated with its nonce gets the attempt that it got
// before. A doubt whose moment has come is taken over as its recovery, and
// keeps the moment at which its generation was first presented.
//
// The store decides this in one script together with the write; it is tested
// to decide the same.
func Grant(h Held, b Begin, now Millis) (Refusal, *Attempt) {
	r, open := h.Record, h.Attempt
	_, spent, _ := NextAlternate(h)
	recovery := open != nil && open.Doubt && open.RecoverAt != 0 && open.RecoverAt <= now
	switch {
	case r.Revision == 0:
		return RefusedUnknown, nil
	case open != nil && open.Nonce == b.Nonce:
		return RefusedNot, new(*open)
	case r.State.Terminal():
		return RefusedTerminal, nil
	case spent && (open == nil || open.Doubt):
		return RefusedAlternate, nil
	case open != nil && !recovery:
		return RefusedOpen, nil
	case !r.presentable():
		return RefusedNoRefresh, nil
	case open == nil && r.over(now):
		return RefusedOver, nil
	case b.Generation != 0 && b.Generation != r.Generation:
		return RefusedMoved, nil
	case !b.Force && open == nil && !r.refreshDue(now):
		return RefusedNotDue, nil
	}
	granted := &Attempt{
		Nonce: b.Nonce, Owner: b.Owner, Generation: r.Generation, Grant: r.Grant,
		BegunAt: now, Deadline: now.Add(b.Lasts), Recovery: recovery,
	}
	if recovery {
		granted.FirstSent = open.FirstSent
	}
	return RefusedNot, granted
}
