package refresh

import (
	"context"

	"github.com/refreshd/refreshd/internal/credential"
)

// arrival is a login that is to be stored.
type arrival struct {
	login   credential.Login
	expect  Expect
	target  *Target
	byOwner bool // user data were brought with it, and not told by the backend
	nonce   credential.Nonce

	// Of one that was made at the backend:
	signedIn bool
	was      credential.Record // what was stored before; zero if nothing was
	sentAt   credential.Millis // when the backend was asked; 0 if it was not
	later    *LoginPutOffError // why it brought no token for now; nil if it did
	gone     func() error      // why nobody waits for it any more; nil while somebody does
}

// began reports whether a session was begun at the backend for it.
func (a arrival) began() bool { return a.signedIn && !a.login.Token.Access.IsZero() }

// outdone reports whether what is stored stands before a login that was given up.
//
// That is whatever its owner has done since, also where it changed nothing. It is
// also a session that refreshd itself has begun, if the backend was asked for it
// after it had been asked for this one, and it works: where a backend has one
// session for a user, the older one is over. One that was only extended or renamed
// meanwhile stands before nothing, for such a backend would have refused that after
// it had begun this one. An owner who waits is never outdone: he may have brought a
// new password, and what he takes the place of is left to expire, as ever.
func (a arrival) outdone(by credential.Record, now credential.Millis) bool {
	if by.Grant != a.was.Grant || by.Repeated != a.was.Repeated {
		return true
	}
	return by.GrantedAt != a.was.GrantedAt && by.IssuedAt >= a.sentAt && by.ValidAt(now, 0)
}

// admit decides whether a login is to be stored on top of what is stored now, nil
// if nothing is. It reports whether that is the same login.
func (e *Engine) admit(a arrival, before *credential.Held, now credential.Millis) (same bool, err error) {
	if err := a.expect.met(before); err != nil {
		return false, err
	}
	if a.signedIn && before != nil && a.outdone(before.Record, now) {
		if why := a.gone(); why != nil {
			return false, why
		}
	}
	if a.login.ExpiresAt != 0 && a.login.ExpiresAt <= now && a.login.Token.Refresh.IsZero() {
		if a.signedIn {
			return false, ErrDeadLogin
		}
		return false, ErrDeadOnArrival
	}
	if before == nil {
		return false, nil
	}
	return e.repeated(*before, a.login)
}

// disown ends the session that was begun for a login which is not stored. stored is
// what is stored instead, nil if nothing is: its session is left alone, for a backend
// may have one for both.
func (e *Engine) disown(ctx context.Context, a arrival, stored *credential.Held) {
	if !a.began() || stored != nil && a.login.Token.Access.Equal(stored.Token.Access) {
		return
	}
	e.revoke(ctx, a.target, a.login.Token)
}

// tellOrphan logs that a login was made whose token was not stored. Its owner may
// not wait for the answer any more, and the session before it may have ended.
func (e *Engine) tellOrphan(a arrival, err error) {
	if a.began() {
		e.log.Warn().Err(err).Str("credential", string(a.login.ID)).Str("provider", a.target.Name).
			Msg("the backend has taken a login that was not stored")
	}
}

// noteRepeat notes that an owner brought, or ended, what was so already, where a login
// may be on its way that was given up before, in any process. It reports whether the
// record was still h.
func (e *Engine) noteRepeat(ctx context.Context, t *Target, h credential.Held, now credential.Millis) (credential.Held, bool, error) {
	if !t.Policy.CanLogin {
		return h, true, nil
	}
	after, done, err := e.replace(ctx, h, credential.Repeat(h, newNonce(), now))
	if err != nil {
		return credential.Held{}, false, e.unavailable(err)
	}
	return after, done, nil
}
