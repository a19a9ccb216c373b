package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

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
	ends     uint64            // what [signIns.begin] returned
	later    *LoginPutOffError // why it brought no token for now; nil if it did
	gone     func() error      // why nobody waits for it any more; nil while somebody does
}

// began reports whether a session was begun at the backend for it.
func (a arrival) began() bool { return a.signedIn && !a.login.Token.Access.IsZero() }

// outdone reports whether what is stored stands before a login that was given up.
//
// What its owner has done since that is no login at the backend always does: a
// log-out, a deletion, a token that he brought, also where it changed nothing. Such
// acts are counted on the record, and no moments are compared, for they were made at
// another clock.
//
// Of two logins of the owner's the one stands that was asked for later, whichever was
// answered first and whatever has become of it: it may have brought a new password.
//
// A session that refreshd itself has begun with the same name and password stands if
// it was asked for later and works: where a backend has one session for a user, the
// older one is over. One that was begun with what the owner had brought before stands
// before nothing, nor does one that was only extended or renamed meanwhile, for such a
// backend would have refused that after it had begun this one.
//
// An owner who waits yields to nothing but another login of his that was asked for later
// (see overtaken): what he takes the place of is left to expire, as ever.
func (a arrival) outdone(by credential.Held, now credential.Millis) bool {
	r := by.Record
	switch {
	case r.Acts != a.was.Acts:
		return true
	case r.AskedAt != a.was.AskedAt && r.AskedAt >= a.login.AskedAt:
		return true
	default:
		own := r.GrantedAt != r.AskedAt && r.GrantedAt >= a.login.AskedAt
		return own && r.ValidAt(now, 0) && a.login.SameUser(by) && a.login.SignIn.Password.Equal(by.SignIn.Password)
	}
}

// overtaken reports whether a login that its owner has made, and that was asked for
// later, stands before one that he waits for. The answer that comes last need not be
// the one with today's password: stored on top of the other, an older one would be
// refused at the next silent login, and end the credential.
func (a arrival) overtaken(by credential.Record) bool {
	return by.Acts == a.was.Acts && by.AskedAt != a.was.AskedAt && by.AskedAt > a.login.AskedAt && !by.State.Terminal()
}

// errOvertaken says that a login was stored which its owner asked for later, so that
// this one is not: it is as if it had come before.
var errOvertaken = errors.New("a login that was asked for later is stored")

// admit decides whether a login is to be stored on top of what is stored now, nil
// if nothing is. It reports whether that is the same login.
func (e *Engine) admit(a arrival, before *credential.Held, now credential.Millis) (same bool, err error) {
	if err := a.expect.met(before); err != nil {
		return false, err
	}
	if a.signedIn && (e.signIns.ends(a.login.ID) != a.ends || before != nil && a.outdone(*before, now)) {
		if why := a.gone(); why != nil {
			return false, why
		}
	}
	if a.signedIn && before != nil && a.overtaken(before.Record) {
		if !a.login.SameUser(*before) {
			return false, fmt.Errorf("%w: a login of another user is stored, which was asked for later", ErrConflict)
		}
		return false, errOvertaken
	}
	if a.login.ExpiresAt != 0 && a.login.ExpiresAt <= now && a.login.Token.Refresh.IsZero() {
		if a.signedIn {
			return false, ErrDeadLogin
		}
		return false, ErrDeadOnArrival
	}
	if before != nil {
		if same, err = e.repeated(*before, a.login); err != nil {
			return false, err
		}
	}
	if a.signedIn {
		return same, nil // what it brought was looked at before it was made
	}
	login := a.login
	if same {
		login.Subject = cmp.Or(login.Subject, before.Record.Subject)
		login.Token, login.SignIn = before.Token, before.SignIn
	}
	return same, a.target.check(login)
}

// check reports why what a login brings could never be presented.
func (t *Target) check(login credential.Login) error {
	if t.CheckLogin == nil {
		return nil
	}
	return t.CheckLogin(login)
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

// tellUnstored logs that a login whose caller has hung up was not stored, and why: nobody
// else is told.
func (e *Engine) tellUnstored(a arrival, why error) {
	if !a.signedIn || a.gone() == nil {
		return
	}
	e.log.Info().AnErr("why", why).Bool("session_begun", a.began()).Str("credential", string(a.login.ID)).Str("provider", a.target.Name).
		Msg("a login whose caller has hung up is not stored: its owner has done something since, a later login stands, or what is stored is not what he expects")
}

// tellOrphan logs that a login was made whose token was not stored. Its owner may
// not wait for the answer any more, and the session before it may have ended.
func (e *Engine) tellOrphan(a arrival, err error) {
	if a.began() {
		e.log.Warn().Err(err).Str("credential", string(a.login.ID)).Str("provider", a.target.Name).
			Msg("the backend has taken a login that was not stored")
	}
}

// takeRepeat stores what an owner has brought anew beside a login that is stored: the
// user's UID; "" is none. It reports whether the record was still h.
func (e *Engine) takeRepeat(ctx context.Context, t *Target, h credential.Held, subject string, now credential.Millis) (put Put, done bool, err error) {
	if subject == "" || subject == h.Record.Subject {
		held, noted, err := e.noteRepeat(ctx, h, now)
		return Put{Held: held, Unchanged: noted}, noted, err
	}
	after, done, err := e.replace(ctx, h, credential.TakeSubject(h, subject, newNonce(), now))
	if err != nil {
		return Put{}, false, e.unavailable(err)
	}
	if done {
		e.tellDue(after)
		e.meetUser(ctx, t, after)
	}
	return Put{Held: after}, done, nil
}

// noteRepeat notes that an owner brought, or ended, what was so already, where a login
// may be on its way that was given up before, in any process. It reports whether the
// record was still h.
func (e *Engine) noteRepeat(ctx context.Context, h credential.Held, now credential.Millis) (credential.Held, bool, error) {
	if !e.mayBeSignedIn(h.Record) {
		return h, true, nil
	}
	after, done, err := e.replace(ctx, h, credential.Repeat(h, newNonce(), now))
	if err != nil {
		return credential.Held{}, false, e.unavailable(err)
	}
	return after, done, nil
}

// mayBeSignedIn reports whether a login at a backend can be stored on top of r. On top
// of a tombstone that of any provider can.
func (e *Engine) mayBeSignedIn(r credential.Record) bool {
	if r.State == credential.StateDeleted {
		for _, t := range *e.targets.Load() {
			if t.Policy.CanLogin {
				return true
			}
		}
		return false
	}
	t, err := e.target(r.Provider)
	return err == nil && t.Policy.CanLogin
}

// signIns are the logins of owners at their backends that this process has under way.
// Where nothing is stored under an ID there is no record on which an end could be
// counted, so it is counted here, as far as it matters to one of them. Whoever asks
// another process to end what is not there does not reach them.
type signIns struct {
	mu  sync.Mutex
	now map[credential.ID]*signingIn
}

// signingIn is what signIns know of one ID.
type signingIn struct {
	logins int    // under way
	ends   uint64 // of what was not there, since the first of them
}

func newSignIns() *signIns { return &signIns{now: map[credential.ID]*signingIn{}} }

// begin counts a login in, and returns how often its ID was ended before. Whoever
// calls it calls [signIns.done] once the login is stored, or will not be.
func (s *signIns) begin(id credential.ID) (ends uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.now[id]
	if one == nil {
		one = new(signingIn)
		s.now[id] = one
	}
	one.logins++
	return one.ends
}

// done counts a login out.
func (s *signIns) done(id credential.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.now[id]; one.logins > 1 {
		one.logins--
	} else {
		delete(s.now, id)
	}
}

// end notes that an owner ended what is not there.
func (s *signIns) end(id credential.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.now[id]; one != nil {
		one.ends++
	}
}

// ends returns how often an ID was ended, as [signIns.begin] counts it.
func (s *signIns) ends(id credential.ID) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.now[id]; one != nil {
		return one.ends
	}
	return 0
}
