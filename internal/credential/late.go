package credential

import "slices"

// Late is a token that was received under an attempt which may not be the open
// one any more: its owner was slow, or died and left it in his journal, or the
// store fell back behind the attempt or behind what became of it.
type Late struct {
	Nonce      Nonce  // of the attempt
	Generation uint64 // that was presented
	Grant      uint64 // under which it was begun
	Received   Received
}

// LateVerdict says what is to be done with a [Late] token.
type LateVerdict uint8

// The verdicts.
const (
	// LateKnown: it brings nothing that is not stored. Nothing is written.
	LateKnown LateVerdict = iota
	// LateInstalled: the write makes it the current token.
	LateInstalled
	// LateKept: the write keeps it as an alternate.
	LateKept
	// LateRevoke: its login is over. Nothing is written; it is revoked where
	// that can be done, and erased.
	LateRevoke
	// LateAwaits: it belongs to a login that the store has lost. Nothing is
	// written, and it must not be dropped: that login has to be put back first.
	LateAwaits
)

// TakeLate decides what becomes of a received token. known says that its
// refresh token is the record's, or was, or is that of an alternate. nonce is
// that of the write if the token is kept as an alternate; one that is installed
// is written with its attempt's own, so that it is recognised when it comes
// again, and its events keep their IDs.
//
// A token that was got with the current generation, or a later one that the
// store has lost, replaces the current one as soon as nobody can be presenting
// that: the current refresh token is spent. While another attempt is under way
// it waits as an alternate.
func TakeLate(h Held, late Late, known bool, p Policy, nonce Nonce, by Initiator, now Millis) (Write, LateVerdict) {
	r, open := h.Record, h.Attempt
	switch {
	case late.Grant < r.Grant:
		return Write{}, LateRevoke
	case late.Grant > r.Grant:
		return Write{}, LateAwaits
	case r.LastWrite == late.Nonce:
		return Write{}, LateKnown
	case open != nil && open.Nonce == late.Nonce:
		if open.Generation != late.Generation {
			return Write{}, LateKnown // the readable part of its reply was installed, the rest is in doubt
		}
		return Install(h, *open, late.Received, p, by, now), LateInstalled
	case late.plain(h, p):
		if late.Generation < r.Generation || late.dead(p, now) || late.Received.Token.Access.Equal(h.Token.Access) || keptAside(h, late.Nonce) {
			return Write{}, LateKnown
		}
	case known, late.Received.Token.Refresh.IsZero(), outlived(late.Generation, r.Generation):
		return Write{}, LateKnown
	}
	if late.Generation >= r.Generation && (open == nil || open.Doubt) {
		return installLate(h, late, p, by, now), LateInstalled
	}
	return KeepAlternate(h, Alternate{
		Nonce: late.Nonce, Generation: late.Generation, Token: late.Received.Token, IssuedAt: late.Received.SentAt,
		Lifetime: p.Lifetime(late.Received.ExpiresIn, late.Received.ExpiresAt, late.Received.SentAt),
	}, nonce, now), LateKept
}

// plain reports whether it is an access token alone that no refresh token brought:
// that of a session, whose predecessor may be dead since, or of a login. There is
// no other way to it than the one that it took.
func (late Late) plain(h Held, p Policy) bool {
	if token := late.Received.Token; !token.Refresh.IsZero() || token.Access.IsZero() {
		return false
	}
	method := late.Received.method(h, p)
	return method == MethodExtend || method == MethodLogin
}

// dead reports whether the access token's time is over.
func (late Late) dead(p Policy, now Millis) bool {
	got := late.Received
	life := p.Lifetime(got.ExpiresIn, got.ExpiresAt, got.SentAt)
	if p.Sessions.Idle > 0 {
		life = p.Sessions.Idle
	}
	return got.SentAt.Add(life) <= now
}

// keptAside reports whether the token of an attempt waits as an alternate.
func keptAside(h Held, attempt Nonce) bool {
	return slices.ContainsFunc(h.Alternates, func(alt Alternate) bool { return alt.Nonce == attempt })
}

// outlived reports whether a token that was got with a generation is not worth
// keeping aside: the refreshes since then proved the tokens that were installed
// in its place, and its own may have been among those that are not remembered as
// spent any more.
func outlived(got, current uint64) bool { return got+2 < current }

// installLate installs a token whose attempt is gone. Its generation counts
// from the one that was presented: a token of a generation in between, which
// the store has lost as well and which comes after this one, is older.
//
// So does the generation of the access token that is kept where it brings none: who
// has one of those in between has no older one than that.
func installLate(h Held, late Late, p Policy, by Initiator, now Millis) Write {
	h.Record.RefreshOnly += late.Generation - h.Record.Generation // which is not above it; an access token ends the count
	h.Record.Generation = late.Generation
	a := Attempt{
		Nonce: late.Nonce, Generation: late.Generation, Grant: late.Grant,
		BegunAt: late.Received.SentAt, FirstSent: late.Received.SentAt,
	}
	if open := h.Attempt; open != nil && late.plain(h, p) { // what is in doubt is a refresh token, and stays so
		a.Recovery, a.FirstSent, a.Deadline = true, open.FirstSent, open.Deadline
	}
	return Install(h, a, late.Received, p, by, now).beside(h.Attempt)
}
